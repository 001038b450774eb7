"""Would the token move a budget now? Simulated before anything is reserved or sent.

The transfer to the vault is simulated at the newest block, as the vault would call it. That covers
balance, pause and blocklist; with an ERC-3009 authorization also its signature, window and state.
"""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode

from workbench.core.errors import (
    AuthorizationUsed,
    BadSignature,
    InsufficientFunds,
    TokenRefused,
    WorkbenchError,
)
from workbench.core.money import EURC, Amount
from workbench.core.ports import PrecedingCall
from workbench.core.x402 import Payment
from workbench.evm.codec import abi, reverts
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.codec.fast_abi import UnsupportedByFastAbi, encode_plain, keccak
from workbench.evm.rpc.client import NodeRevert

TAKES = ("address", "address", "uint256", "uint256", "uint256", "bytes32", "bytes")
RECEIVE = f"receiveWithAuthorization({','.join(TAKES)})"
"""ERC-3009 as in FiatToken 2.2: the signature is bytes, so that contract wallets can sign."""
SELECTOR = keccak(RECEIVE.encode())[:4]
STATE = keccak(b"authorizationState(address,bytes32)")[:4]
ERC20 = "MockUSDC"


def pull(eurc: str, vault: str, payment: Payment, digest: bytes) -> PrecedingCall:
    """Return the transfer of the budget to the vault. `digest`: the settlement id, which is the
    nonce.

    With a permit the buyer is the sender, because its allowance comes with the permit.
    """
    terms, given = payment.terms, payment.authorization
    if given is None:
        data = abi.encode_call(ERC20, "transfer", vault, terms.max_eurc)
        return PrecedingCall(terms.buyer, eurc, data)
    window = (given.valid_after, given.valid_before)
    signed = hex_bytes(given.signature)
    values = (terms.buyer, vault, terms.max_eurc, *window, digest, signed)
    try:
        data = encode_plain(TAKES, values)
    except UnsupportedByFastAbi:
        data = encode(TAKES, values)
    return PrecedingCall(vault, eurc, SELECTOR + data)


async def refusal(chain: Any, payment: Payment, pulled: PrecedingCall) -> WorkbenchError | None:
    """Return the reason why the token refuses the `pull` of this payment, or None.

    `chain`: the EvmChain to ask. Raises RpcUnreachable and RpcFault.
    """
    request = {"from": pulled.sender, "to": pulled.to, "data": to_hex(pulled.data)}
    try:
        answer = await chain.rpc.call("eth_call", request, "latest")
    except NodeRevert as why:
        told = reverts.explain_revert(hex_bytes(why.data))
        return await _named(chain, payment, told.message)
    if isinstance(answer, str) and answer[2:] and not int(answer, 16):
        return await _named(chain, payment, "transfer answered false.")
    return None


async def _named(chain: Any, payment: Payment, said: str) -> WorkbenchError:
    """Return the token's refusal by its cause. Tokens differ in their errors."""
    terms, given = payment.terms, payment.authorization
    held = await chain.balance(chain.addresses.eurc, terms.buyer)
    if held < terms.max_eurc:
        return InsufficientFunds(
            f"the budget is {Amount(terms.max_eurc, EURC)}; {terms.buyer} holds "
            f"{Amount(held, EURC)}.",
            hint="The buyer needs its whole EURC budget.",
        )
    if given is not None:
        digest = chain.terms_digest(terms)
        if await _is_used(chain, terms.buyer, digest):
            return AuthorizationUsed(
                "the authorization was used or cancelled before.", hint="Ask for a new offer."
            )
        window = given.valid_after, given.valid_before
        signed = await chain.authorization_digest(terms, *window)
        if not await chain.valid_signature(terms.buyer, signed, given.signature):
            return BadSignature(
                "authorization is not the client's ERC-3009 signature of its budget to the vault.",
                hint="ReceiveWithAuthorization of maxEurc to the vault; the nonce is the "
                "settlement id, the EIP-712 digest of the terms.",
            )
    return TokenRefused(
        f"EURC would refuse the payment: {said}", hint="Look at the token, and at the buyer there."
    )


async def _is_used(chain: Any, buyer: str, nonce: bytes) -> bool:
    """Return True if the token reports the authorization as used."""
    data = STATE + encode(["address", "bytes32"], [buyer, nonce])
    asked = {"to": chain.addresses.eurc, "data": to_hex(data)}
    try:
        raw = await chain.rpc.call("eth_call", asked, "latest")
    except NodeRevert:
        return False
    return isinstance(raw, str) and raw[2:] != "" and int(raw, 16) != 0

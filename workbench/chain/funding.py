"""Whether a payment could be taken now: asked of the contracts before anything is reserved or sent.

Two calls are simulated on the newest block: `createSettlement` as its seller would send it, and the
token's own transfer of the budget as the vault would cause it. The second one covers balance, pause
and blocklist; with an ERC-3009 authorization also its signature, window and state.
"""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode

from workbench.chain import abi
from workbench.chain.abi import hex_bytes, to_hex
from workbench.chain.rpc import NodeRevert
from workbench.chain.words import NotPlain, encode_plain, keccak
from workbench.core.errors import (
    AuthorizationUsed,
    BadSignature,
    InsufficientFunds,
    StateMoved,
    TokenRefused,
    WorkbenchError,
)
from workbench.core.money import EURC, Amount
from workbench.core.ports import Addresses, Call
from workbench.core.x402 import Payment

TAKES = ("address", "address", "uint256", "uint256", "uint256", "bytes32", "bytes")
RECEIVE = f"receiveWithAuthorization({','.join(TAKES)})"
"""ERC-3009 as FiatToken 2.2 has it: the signature as bytes, so that contract wallets can sign."""
SELECTOR = keccak(RECEIVE.encode())[:4]
STATE = keccak(b"authorizationState(address,bytes32)")[:4]
ERC20 = "MockUSDC"


def creation(call: Call, seller: str) -> dict[str, Any]:
    """`createSettlement` as its seller sends it."""
    return {"from": seller, "to": call.to, "data": to_hex(call.data)}


def pull(addresses: Addresses, payment: Payment, digest: bytes) -> dict[str, Any]:
    """The transfer of the budget to the vault. `digest`: the settlement id, which is the nonce.

    With a permit the buyer itself is the sender: its allowance comes only with the permit.
    """
    terms, given = payment.terms, payment.authorization
    if given is None:
        data = abi.encode_call(ERC20, "transfer", addresses.vault, terms.max_eurc)
        return {"from": terms.buyer, "to": addresses.eurc, "data": to_hex(data)}
    window = (given.valid_after, given.valid_before)
    signed = hex_bytes(given.signature)
    values = (terms.buyer, addresses.vault, terms.max_eurc, *window, digest, signed)
    try:
        data = encode_plain(TAKES, values)
    except NotPlain:
        data = encode(TAKES, values)
    return {"from": addresses.vault, "to": addresses.eurc, "data": to_hex(SELECTOR + data)}


def refused(answer: Any) -> WorkbenchError | None:
    """What a simulated call was refused with. Raises the node's own faults."""
    if isinstance(answer, NodeRevert):
        return abi.explain_revert(hex_bytes(answer.data))
    if isinstance(answer, WorkbenchError):
        raise answer
    return None


async def refusal(chain: Any, payment: Payment, answers: list[Any]) -> WorkbenchError | None:
    """Why the payment cannot be taken, by the answers to `creation` and `pull`; None if it can.

    `chain`: the EvmChain that was asked. Raises RpcUnreachable and RpcFault.
    """
    created, pulled = answers
    why = refused(created)
    if why is not None and not isinstance(why, StateMoved):  # It may be there already.
        return why
    why = refused(pulled)
    is_false = why is None and isinstance(pulled, str) and pulled[2:] and not int(pulled, 16)
    if why is None and not is_false:
        return None
    return await _named(chain, payment, why.message if why else "it answered false.")


async def _named(chain: Any, payment: Payment, said: str) -> WorkbenchError:
    """The token's refusal by its cause: tokens differ in what they say."""
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
    data = STATE + encode(["address", "bytes32"], [buyer, nonce])
    asked = {"to": chain.addresses.eurc, "data": to_hex(data)}
    try:
        raw = await chain.rpc.call("eth_call", asked, "latest")
    except NodeRevert:
        return False
    return isinstance(raw, str) and raw[2:] != "" and int(raw, 16) != 0

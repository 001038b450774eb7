"""A wallet that pays one asset, native currency or a token: checks, payment calls, balances."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak

from workbench.core.errors import (
    ContractNotFound,
    InvalidAddress,
    InvalidSetting,
    RpcFault,
    RpcUnanswered,
    TokenRefused,
    WrongChain,
)
from workbench.core.payout import ACT, Payout
from workbench.core.ports import (
    ContractCall,
    Wallet,
    WalletTransfer,
)
from workbench.core.x402 import ZERO_ADDRESS
from workbench.evm.codec.abi import hex_bytes, number_of, to_hex
from workbench.evm.codec.eip712 import typed_digest
from workbench.evm.codec.fast_abi import WORD
from workbench.evm.codec.reverts import explain_revert
from workbench.evm.contracts.settlement import checksum
from workbench.evm.payments.guard import (
    AUTHORIZED,
    AUTHORIZED_TYPES,
    TRANSFER,
    authorization_nonce,
)
from workbench.evm.payments.judge import PaymentJudge
from workbench.evm.payments.tokens import (
    TRANSFERRED,
    amount_of,
    ask_token,
    symbol_of,
    token_decimals,
)
from workbench.evm.rpc.client import NodeRevert

VALIDITY_S = 3_600
"""Lifetime of an ERC-3009 authorization. A failed payment is refunded only after it."""
STRUCT = (
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce)"
)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
EXPLORERS = {
    1: "https://etherscan.io",
    137: "https://polygonscan.com",
    8453: "https://basescan.org",
    80002: "https://amoy.polygonscan.com",
    11155111: "https://sepolia.etherscan.io",
}


class EvmPayments(PaymentJudge):
    """See `core.ports.Payments`. `token`: an ERC-20 address in lower case; None: native currency.

    `batcher`: address of the PayoutBatcher, or None. `most`: payouts in one of its transactions.
    """

    def receiver(self, text: str) -> str:
        """Return the receiver's address in lower case. Raises InvalidAddress."""
        if not _ADDRESS.fullmatch(text):
            raise InvalidAddress(
                f"{text[:60]!r} is not an address.",
                hint="0x and 40 hex digits; a name (ENS) is not looked up.",
            )
        plain = text.lower()
        if text[2:] not in (plain[2:], plain[2:].upper()) and text != checksum(plain):
            raise InvalidAddress(
                "the address has a wrong checksum: a letter is wrong somewhere.",
                hint="Copy it again, or write it in lower case if you are sure.",
            )
        for bad, name in (
            (ZERO_ADDRESS, "the zero address: it would be burnt"),
            (self.token, "the token's own contract: it would be stuck there"),
            (self.address, "the account that pays"),
            (self.batcher and self.batcher.address, "the contract that pays"),
        ):
            if plain == bad:
                raise InvalidAddress(f"this is {name}.", hint="Give your own address.")
        return plain

    def checksum(self, address: str) -> str:
        return checksum(address)

    def explorer(self, tx: str) -> str:
        site = EXPLORERS.get(self._chain_id)
        return f"{site}/tx/{tx}" if site and tx else ""

    async def check(self) -> None:
        """Raise WrongChain, InvalidSetting or ContractNotFound before payouts are accepted."""
        chain_id = int(await self._rpc.call("eth_chainId"), 16)
        if chain_id != self._chain_id:
            raise WrongChain(
                f"the node is on chain {chain_id}, CHAIN_ID says {self._chain_id}.",
                hint="Correct CHAIN_ID or WEB3_PROVIDER_URL.",
            )
        if await self._rpc.call("eth_getCode", self.address, "latest") not in ("0x", None):
            raise InvalidSetting(
                f"the paying account {self.address} has code: it is delegated (EIP-7702).",
                hint="Others may use its nonces. Pay from a plain account.",
            )
        if self.token is not None:
            await self._check_token(self.token)
        if self.batcher is not None:
            await self.batcher.check()

    async def _check_token(self, token: str) -> None:
        """Read decimals, symbol and ERC-3009 support of the token."""
        if await self._rpc.call("eth_getCode", token, "latest") in ("0x", None):
            raise ContractNotFound(
                f"Contract not found: no code at {token} (TOKEN_ADDRESS).",
                hint="Correct TOKEN_ADDRESS, or leave it empty to pay native currency.",
            )
        self.decimals = await token_decimals(self._rpc, token, self._given_decimals)
        self.symbol = symbol_of(await ask_token(self._rpc, token, "symbol()")) or "tokens"
        self._separator = await self._find_separator(token)

    async def _find_separator(self, token: str) -> bytes | None:
        """Return the EIP-712 domain separator of a token with ERC-3009, else None.

        An unknown function reverts without data. An expired authorization reverts with a reason.
        """
        separator = await ask_token(self._rpc, token, "DOMAIN_SEPARATOR()")
        state = await self._state_of(b"\0" * 32, "latest")
        arguments = [self.address, self.address, 0, 0, 0, b"\0" * 32, 27, b"\0" * 32, b"\0" * 32]
        data = to_hex(AUTHORIZED + encode(AUTHORIZED_TYPES, arguments))
        try:
            await self._rpc.call("eth_call", {"to": token, "data": data}, "latest")
        except NodeRevert as why:
            knows = why.data not in ("0x", "")
        else:
            knows = False
        return separator if len(separator) == 32 and state is not None and knows else None

    def authorize_signing(self, payout: Payout) -> None:
        self._signer.authorize_signing(payout.id, payout.address, payout.units)

    def revoke_signing(self, payout: Payout) -> None:
        self._signer.revoke_signing(payout.id)

    async def call(self, payout: Payout) -> ContractCall:
        """Return the call that pays a payout. Raises TokenRefused if it would not pay exactly."""
        self.authorize_signing(payout)
        if self.token is None:
            return ContractCall(ACT, payout.address, b"", payout.units)
        # Anybody can submit an authorization for an hour, so a batch must not pay as well.
        if self._separator is not None and self.batcher is None:
            data = await self._authorized(payout, self._separator)
        else:
            data = TRANSFER + encode(["address", "uint256"], [payout.address, payout.units])
        await self._try(payout, self.token, data)
        return ContractCall(ACT, self.token, data)

    async def _authorized(self, payout: Payout, separator: bytes) -> bytes:
        """Return the calldata of a signed ERC-3009 transfer."""
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        before, nonce = int(block["timestamp"], 16) + VALIDITY_S, authorization_nonce(payout.id)
        kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
        values = [self.address, payout.address, payout.units, 0, before, nonce]
        digest = typed_digest(separator, STRUCT, kinds, values)
        sign = self._signer.sign_authorization
        signed = hex_bytes(sign(payout.id, payout.address, payout.units, digest))
        arguments = [*values, signed[64], signed[:32], signed[32:64]]
        return AUTHORIZED + encode(AUTHORIZED_TYPES, arguments)

    async def _try(self, payout: Payout, token: str, data: bytes) -> None:
        """Simulate the transfer. Some tokens return false, or keep a fee, and do not revert.

        Raises TokenRefused, or the error of the revert.
        """
        request = {"from": self.address, "to": token, "data": to_hex(data)}
        try:
            done = await self._simulated(request)
        except NodeRevert as why:
            raise explain_revert(hex_bytes(why.data)) from why
        said = hex_bytes(done["returnData"])
        if said and not int.from_bytes(said, "big"):
            raise TokenRefused("the token answers false: it would not pay.")
        if "logs" in done and not self._is_owed(payout, done["logs"]):
            raise TokenRefused(
                "the token would move another amount (a fee on transfers, say).",
                hint="Payouts are of exact amounts: such a token cannot be paid out.",
            )

    async def _simulated(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return answer and, if the node can, logs of a simulated call. Raises NodeRevert."""
        asked = {"blockStateCalls": [{"calls": [request]}]}
        try:
            blocks = await self._rpc.call("eth_simulateV1", asked, "latest")
            done: dict[str, Any] = blocks[0]["calls"][0]
        except (NodeRevert, RpcUnanswered):
            raise
        except RpcFault:  # Not every node can simulate.
            return {"returnData": await self._rpc.call("eth_call", request, "latest")}
        if int(done["status"], 16) != 1:
            raise NodeRevert("simulated", done["returnData"])
        return done

    async def wallet(self, final: bool = True) -> Wallet:
        """Return the balances of the wallet, at the final or at the newest block."""
        number = int(await self._rpc.call("eth_blockNumber"), 16)
        number = max(0, number - self._finality.depth) if final else number
        block = hex(number)
        native = int(await self._rpc.call("eth_getBalance", self.address, block), 16)
        asset = native
        if self.token is not None:
            data = keccak(b"balanceOf(address)")[:4] + encode(["address"], [self.address])
            request = {"to": self.token, "data": to_hex(data)}
            said = await self._rpc.call("eth_call", request, block)
            if said == "0x" and await self._rpc.call("eth_getCode", self.token, block) == "0x":
                said = to_hex(bytes(WORD))  # The token was not there yet.
            asset = number_of(said)
        return Wallet(number, asset, native, await self._used(block))

    async def movements(self, after: int, upto: int) -> Sequence[WalletTransfer]:
        """Return the token transfers of the wallet in blocks `after` + 1 to `upto`."""
        if self.token is None:
            return []
        own = "0x" + self.address[2:].rjust(64, "0")
        found = []
        for incoming, topics in ((False, [TRANSFERRED, own]), (True, [TRANSFERRED, None, own])):
            query = {"address": self.token, "topics": topics}
            logs = await self._ranges.between(query, after + 1, upto)
            found += [_movement(log, incoming) for log in logs]
        return found


def _movement(log: dict[str, Any], incoming: bool) -> WalletTransfer:
    """Return a Transfer log as a transfer of the wallet."""
    return WalletTransfer(
        tx=log["transactionHash"],
        log_index=int(log["logIndex"], 16),
        block=int(log["blockNumber"], 16),
        incoming=incoming,
        amount=amount_of(log),
    )

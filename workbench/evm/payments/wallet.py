"""One wallet that pays one asset: native currency or a token. Calls to pay, and what came of them.

A payment is judged at a final block alone: the nonce is used there, one of our attempts has a
receipt in a block of that very chain, and status, transfer and amount are what was owed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from workbench.core.errors import (
    ContractNotFound,
    InvalidAddress,
    InvalidSetting,
    RpcFault,
    RpcUnanswered,
    TokenRefused,
    WorkbenchError,
    WrongChain,
)
from workbench.core.facts import BlockRef
from workbench.core.finality import FinalityPolicy
from workbench.core.payout import ACT, Payout, PayoutOutcome, PayoutVerdict
from workbench.core.ports import (
    Attempt,
    BatchContract,
    CheckReports,
    ContractCall,
    Slot,
    Wallet,
    WalletTransfer,
)
from workbench.core.records import replace
from workbench.core.x402 import ZERO_ADDRESS
from workbench.evm.codec.abi import DECODING_ERRORS, hex_bytes, number_of, to_hex
from workbench.evm.codec.eip712 import typed_digest
from workbench.evm.codec.fast_abi import WORD
from workbench.evm.codec.receipts import inclusion_of, require_within
from workbench.evm.codec.reverts import explain_revert
from workbench.evm.contracts.settlement import checksum
from workbench.evm.payments import batch
from workbench.evm.payments.batch import Batch
from workbench.evm.payments.guard import (
    AUTHORIZED,
    AUTHORIZED_TYPES,
    TRANSFER,
    DecodedPayment,
    PaymentSigner,
    authorization_nonce,
    decoded,
    fields_of,
)
from workbench.evm.rpc.client import NodeRevert, Rpc, receipts_in
from workbench.evm.rpc.log_ranges import LogRanges

ItemOutcomes = dict[bytes, tuple[PayoutOutcome, str]]
"""What came of each payment of a batch, by its id, and why."""
VALIDITY_S = 3_600
"""How long a token's authorisation holds. A payment that failed is refunded only after that."""
STRUCT = (
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce)"
)
TRANSFERRED = to_hex(keccak(b"Transfer(address,address,uint256)"))
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
EXPLORERS = {
    1: "https://etherscan.io",
    137: "https://polygonscan.com",
    8453: "https://basescan.org",
    80002: "https://amoy.polygonscan.com",
    11155111: "https://sepolia.etherscan.io",
}


class EvmPayments:
    """See `core.ports.Payments`. `token`: an ERC-20 in lower case, None for native currency.

    `batcher`: where a PayoutBatcher is, None for none; `most`: payouts in one transaction of it.
    """

    def __init__(
        self,
        rpc: Rpc,
        signer: PaymentSigner,
        *,
        chain_id: int,
        token: str | None,
        decimals: int | None,
        finality: FinalityPolicy,
        batcher: str | None = None,
        most: int = 1,
        reports: CheckReports | None = None,
    ) -> None:
        self._rpc, self._signer, self._finality = rpc, signer, finality
        self._chain_id, self._given_decimals = chain_id, decimals
        self.token, self.address = token, signer.address
        self.native = f"eip155:{chain_id}/native"
        self.asset = f"eip155:{chain_id}/erc20:{token}" if token else self.native
        self.symbol, self.decimals = "ETH", 18
        self.batcher: BatchContract | None = None
        if batcher is not None and most > 1:
            payer = self.address
            self.batcher = batch.EvmBatchContract(
                rpc, payer=payer, token=token, address=batcher, most=most
            )
        self._ranges = LogRanges(rpc, reports)
        self._separator: bytes | None = None
        """The token's EIP-712 domain, where it knows ERC-3009."""

    def receiver(self, text: str) -> str:
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

    # --- Before anything is promised ---

    async def check(self) -> None:
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
        if await self._rpc.call("eth_getCode", token, "latest") in ("0x", None):
            raise ContractNotFound(
                f"Contract not found: no code at {token} (TOKEN_ADDRESS).",
                hint="Correct TOKEN_ADDRESS, or leave it empty to pay native currency.",
            )
        self.decimals = await token_decimals(self._rpc, token, self._given_decimals)
        self.symbol = _text(await ask_token(self._rpc, token, "symbol()")) or "tokens"
        self._separator = await self._find_separator(token)

    async def _find_separator(self, token: str) -> bytes | None:
        """The EIP-712 domain of a token that knows ERC-3009, else None.

        An unknown function reverts without a word; this one with its reason (it has expired).
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

    # --- Paying ---

    def authorize_signing(self, payout: Payout) -> None:
        self._signer.authorize_signing(payout.id, payout.address, payout.units)

    def revoke_signing(self, payout: Payout) -> None:
        self._signer.revoke_signing(payout.id)

    async def call(self, payout: Payout) -> ContractCall:
        self.authorize_signing(payout)
        if self.token is None:
            return ContractCall(ACT, payout.address, b"", payout.units)
        # An authorisation is good for an hour, whoever brings it: a batch must not pay besides.
        if self._separator is not None and self.batcher is None:
            data = await self._authorized(payout, self._separator)
        else:
            data = TRANSFER + encode(["address", "uint256"], [payout.address, payout.units])
        await self._try(payout, self.token, data)
        return ContractCall(ACT, self.token, data)

    async def _authorized(self, payout: Payout, separator: bytes) -> bytes:
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
        """Ask the token first: some say no by an answer, or keep a part, and do not revert."""
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
        """What a call would answer, and log, where the node can tell. Raises NodeRevert."""
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

    # --- What came of it ---

    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[PayoutVerdict]:
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        number = max(0, head - self._finality.depth)
        final = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        if final is None:
            return [PayoutVerdict(PayoutOutcome.WAIT) for _ in cases]
        used = await self._used(hex(number))
        mined = await self._mined([slot for _, slot in cases], number, used)
        batches: dict[str, tuple[Batch, ItemOutcomes]] = {}
        verdicts = []
        for payout, slot in cases:
            if slot.nonce not in mined:
                verdicts.append(PayoutVerdict(PayoutOutcome.WAIT))
                continue
            attempt, receipt = mined[slot.nonce]
            if payout.batch:
                if attempt.tx not in batches:
                    batches[attempt.tx] = self._outcomes(slot, attempt, receipt)
                verdicts.append(self._of_batch(payout, *batches[attempt.tx], receipt))
                continue
            verdict = self._verdict(payout, decoded(fields_of(attempt.raw)), receipt)
            if self._separator and verdict.outcome in (
                PayoutOutcome.REFUSED,
                PayoutOutcome.CANCELLED,
            ):
                before = max(decoded(fields_of(each.raw)).before for each in slot.attempts)
                verdict = await self._unless_authorized(payout, verdict, before, final)
            verdicts.append(verdict)
        return verdicts

    async def cost(self, slot: Slot) -> PayoutVerdict | None:
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        number = max(0, head - self._finality.depth)
        mined = await self._mined([slot], number, await self._used(hex(number)))
        if slot.nonce not in mined:
            return None
        _, receipt = mined[slot.nonce]
        done = int(receipt["status"], 16) == 1
        return _said(receipt, PayoutOutcome.PAID if done else PayoutOutcome.REFUSED)

    async def _mined(
        self, slots: Sequence[Slot], final: int, used: int
    ) -> dict[int, tuple[Attempt, dict[str, Any]]]:
        """By nonce: the attempt that stands in the chain up to the final block, and its receipt.

        Where none does, or two do, no single chain has said so.
        """
        seen = {each.tx: _height(slot) for slot in slots for each in slot.attempts}
        receipts = await receipts_in(self._rpc, list(seen.items()))
        standing = await self._standing(receipts.values(), final)
        mined = {}
        for slot in slots:
            found = [(each, receipts[each.tx]) for each in slot.attempts if each.tx in standing]
            for attempt, receipt in found:
                landing = inclusion_of(receipt)
                require_within(attempt.raw, landing.gas_used, landing.gas_price)
            if slot.nonce < used and len(found) == 1:
                mined[slot.nonce] = found[0]
        return mined

    def _outcomes(
        self, slot: Slot, attempt: Attempt, receipt: dict[str, Any]
    ) -> tuple[Batch, ItemOutcomes]:
        """The batch that a slot stands for, and what came of each of its payments."""
        mined = batch.read(fields_of(attempt.raw))
        if mined is not None:
            moved = self._transfers(receipt["logs"])
            return mined, batch.outcomes(mined, self.address, receipt, moved)
        meant = batch.read(fields_of(slot.attempts[0].raw))
        assert meant is not None, "what is marked as a batch was signed as one"
        return meant, {item.id: (PayoutOutcome.CANCELLED, "cancelled") for item in meant.items}

    def _of_batch(
        self, payout: Payout, together: Batch, outcomes: ItemOutcomes, receipt: dict[str, Any]
    ) -> PayoutVerdict:
        identity = batch.payment_id(payout.id)
        owed = batch.BatchItem(identity, payout.address, payout.units)
        if owed not in together.items or together.token != self.token:
            verdict = _said(
                receipt, PayoutOutcome.WRONG, "the batch that was mined does not pay this"
            )
            return replace(verdict, gas_wei=0, moved=0)  # Its cost and payments are the others'.
        outcome, reason = outcomes[identity]
        verdict = _said(receipt, outcome, reason)
        return replace(verdict, gas_wei=together.share(identity, verdict.gas_wei))

    async def _used(self, block: str) -> int:
        return int(await self._rpc.call("eth_getTransactionCount", self.address, block), 16)

    async def _standing(self, receipts: Iterable[dict[str, Any]], final: int) -> set[str]:
        """Transactions whose receipt is of a block of the chain, not above the final one."""
        places = {
            r["transactionHash"]: (int(r["blockNumber"], 16), r["blockHash"]) for r in receipts
        }
        numbers = sorted({number for number, _ in places.values() if number <= final})
        blocks = await self._rpc.many([("eth_getBlockByNumber", hex(n), False) for n in numbers])
        known = {}
        for number, block in zip(numbers, blocks, strict=True):
            if isinstance(block, WorkbenchError):
                raise block
            known[number] = block["hash"] if block else None
        return {tx for tx, (number, seen) in places.items() if known.get(number) == seen}

    def _verdict(
        self, payout: Payout, sent: DecodedPayment, receipt: dict[str, Any]
    ) -> PayoutVerdict:
        def says(outcome: PayoutOutcome, reason: str = "") -> PayoutVerdict:
            return _said(receipt, outcome, reason)

        def wrong(reason: str) -> PayoutVerdict:
            return replace(says(PayoutOutcome.WRONG, reason), moved=self._left(sent, receipt))

        owed = (payout.address, payout.units)
        if sent == DecodedPayment(None, self.address, 0):
            return says(PayoutOutcome.CANCELLED, "cancelled")
        if (sent.receiver.lower(), sent.amount, sent.token) != (*owed, self.token):
            return wrong("the bytes that were mined are not this payment")
        if int(receipt["status"], 16) != 1:
            return says(PayoutOutcome.REFUSED, "the transaction reverted")
        if self.token is None or self._is_owed(payout, receipt["logs"]):
            return says(PayoutOutcome.PAID)
        if self._transfers(receipt["logs"]):
            return wrong("the token moved something else than what was owed")
        return says(PayoutOutcome.REFUSED, "the token did not pay, and did not revert")

    def _left(self, sent: DecodedPayment, receipt: dict[str, Any]) -> int:
        """Base units of the asset that a mined transaction took from the wallet."""
        if self.token is None:
            return sent.amount if int(receipt["status"], 16) == 1 else 0
        moved = self._transfers(receipt["logs"])
        out = sum(amount for sender, _, amount in moved if sender == self.address)
        return max(0, out - sum(amount for _, to, amount in moved if to == self.address))

    def _is_owed(self, payout: Payout, logs: Sequence[dict[str, Any]]) -> bool:
        """Whether exactly this left us, and exactly this stayed with the receiver."""
        moved = self._transfers(logs)
        out = [(to, amount) for sender, to, amount in moved if sender == self.address]
        came = sum(amount for _, to, amount in moved if to == payout.address)
        came -= sum(amount for sender, _, amount in moved if sender == payout.address)
        return out == [(payout.address, payout.units)] and came == payout.units

    def _transfers(self, logs: Sequence[dict[str, Any]]) -> list[tuple[str, str, int]]:
        """The token's own Transfer events: from, to, amount."""
        return [
            ("0x" + topics[1][-40:].lower(), "0x" + topics[2][-40:].lower(), _amount(log))
            for log in logs
            if log["address"].lower() == self.token
            and (topics := log["topics"])[:1] == [TRANSFERRED]
            and len(topics) == 3
        ]

    async def _unless_authorized(
        self, payout: Payout, verdict: PayoutVerdict, before: int, final: dict[str, Any]
    ) -> PayoutVerdict:
        """Nothing was moved by us. But what was signed for the token, anybody may bring to it."""
        used = await self._state_of(authorization_nonce(payout.id), final["number"])
        if used is None:
            raise RpcFault("the token does not say whether the authorisation was used.")
        if used:
            return PayoutVerdict(PayoutOutcome.PAID, verdict.tx, verdict.block, verdict.gas_wei)
        return (
            PayoutVerdict(PayoutOutcome.WAIT) if int(final["timestamp"], 16) < before else verdict
        )

    async def _state_of(self, nonce: bytes, block: str) -> bool | None:
        """ERC-3009: whether the authorisation was used; None where the token does not know."""
        data = keccak(b"authorizationState(address,bytes32)")[:4]
        data += encode(["address", "bytes32"], [self.address, nonce])
        request = {"to": self.token, "data": to_hex(data)}
        try:
            said = hex_bytes(await self._rpc.call("eth_call", request, block))
        except NodeRevert:
            return None
        return bool(int.from_bytes(said, "big")) if len(said) == 32 else None

    # --- The wallet ---

    async def wallet(self, final: bool = True) -> Wallet:
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
        if self.token is None:
            return []
        own = "0x" + self.address[2:].rjust(64, "0")
        found = []
        for incoming, topics in ((False, [TRANSFERRED, own]), (True, [TRANSFERRED, None, own])):
            query = {"address": self.token, "topics": topics}
            logs = await self._ranges.between(query, after + 1, upto)
            found += [_movement(log, incoming) for log in logs]
        return found


async def ask_token(rpc: Rpc, token: str, function: str) -> bytes:
    """What a token answers to a function without arguments; nothing where it does not know it."""
    data = to_hex(keccak(function.encode())[:4])
    try:
        return hex_bytes(await rpc.call("eth_call", {"to": token, "data": data}, "latest"))
    except NodeRevert:
        return b""


async def token_decimals(rpc: Rpc, token: str, given: int | None) -> int:
    """A token's decimals. `given`: what TOKEN_DECIMALS says, None if nothing.

    Raises InvalidSetting where the token does not say them and nobody else does, or where the two
    differ: amounts would be shown wrongly to those who approve them.
    """
    said = await ask_token(rpc, token, "decimals()")
    known = int.from_bytes(said, "big") if len(said) == 32 else None
    if known is None or known > 36:
        if given is None:
            raise InvalidSetting(
                "the token does not say its decimals.",
                hint="Set TOKEN_DECIMALS.",
                setting="TOKEN_DECIMALS",
            )
        return given
    if given not in (None, known):
        raise InvalidSetting(
            f"TOKEN_DECIMALS is {given}, and the token says {known}: amounts would be shown "
            "wrongly.",
            hint="Leave TOKEN_DECIMALS empty, or correct TOKEN_ADDRESS.",
            setting="TOKEN_DECIMALS",
        )
    return known


def _said(receipt: dict[str, Any], outcome: PayoutOutcome, reason: str = "") -> PayoutVerdict:
    """A verdict by a receipt, with all that the transaction has cost."""
    tx = receipt["transactionHash"]
    block = BlockRef(int(receipt["blockNumber"], 16), receipt["blockHash"], tx, -1)
    gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    gas += int(receipt.get("l1Fee") or "0x0", 16)
    return PayoutVerdict(outcome, tx, block, gas, reason)


def _height(slot: Slot) -> int:
    """The block where it was seen; a height that no block has, if nowhere."""
    return slot.block.number if slot.block else -1


def _movement(log: dict[str, Any], incoming: bool) -> WalletTransfer:
    return WalletTransfer(
        tx=log["transactionHash"],
        log_index=int(log["logIndex"], 16),
        block=int(log["blockNumber"], 16),
        incoming=incoming,
        amount=_amount(log),
    )


def _amount(log: dict[str, Any]) -> int:
    """Of an ERC-20 transfer. Raises RpcAnswerInvalid."""
    return number_of(log["data"], "eth_getLogs")


def _text(said: bytes) -> str:
    """A token's symbol: text, or 32 bytes in the old way; only what can be shown."""
    try:
        text = decode(["string"], said)[0] if len(said) != 32 else said.rstrip(b"\0").decode()
    except DECODING_ERRORS:
        return ""
    return "".join(c for c in text if c.isalnum() or c in ".-_$")[:20]

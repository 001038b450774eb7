"""Judge payments: compare what was signed and mined with what was owed, at a final block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak

from workbench.core.errors import (
    RpcFault,
    WorkbenchError,
)
from workbench.core.facts import BlockRef
from workbench.core.finality import FinalityPolicy
from workbench.core.payout import Payout, PayoutOutcome, PayoutVerdict
from workbench.core.ports import (
    Attempt,
    BatchContract,
    CheckReports,
    Slot,
)
from workbench.core.records import replace
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.codec.receipts import inclusion_of, require_within
from workbench.evm.payments import batch
from workbench.evm.payments.batch import Batch
from workbench.evm.payments.guard import (
    DecodedPayment,
    PaymentSigner,
    authorization_nonce,
    decoded,
    fields_of,
)
from workbench.evm.payments.tokens import TRANSFERRED, amount_of
from workbench.evm.rpc.client import NodeRevert, Rpc, receipts_in
from workbench.evm.rpc.log_ranges import LogRanges

ItemOutcomes = dict[bytes, tuple[PayoutOutcome, str]]
"""The outcome of each payment of a batch, and its reason, by payment id."""


class PaymentJudge:
    """The state of a paying wallet, and its verdicts. `EvmPayments` describes the arguments."""

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

    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[PayoutVerdict]:
        """Return a verdict for each payout and slot, at the present final block."""
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
        """Return the gas cost of a slot at finality, or None before."""
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        number = max(0, head - self._finality.depth)
        mined = await self._mined([slot], number, await self._used(hex(number)))
        if slot.nonce not in mined:
            return None
        _, receipt = mined[slot.nonce]
        done = int(receipt["status"], 16) == 1
        return _verdict_of(receipt, PayoutOutcome.PAID if done else PayoutOutcome.REFUSED)

    async def _mined(
        self, slots: Sequence[Slot], final: int, used: int
    ) -> dict[int, tuple[Attempt, dict[str, Any]]]:
        """Return for each nonce the attempt that is in the chain up to the final block.

        `final`: number of the final block. `used`: nonces that the account has used there. A nonce
        with no such attempt, or with two, is left out: the answers are not of one chain.
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
        """Return the batch of a slot, and the outcome of each of its payments."""
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
        """Return the verdict of one payout of a mined batch."""
        identity = batch.payment_id(payout.id)
        owed = batch.BatchItem(identity, payout.address, payout.units)
        if owed not in together.items or together.token != self.token:
            verdict = _verdict_of(
                receipt, PayoutOutcome.WRONG, "the batch that was mined does not pay this"
            )
            # The gas belongs to the payments of the mined batch.
            return replace(verdict, gas_wei=0, moved=0)
        outcome, reason = outcomes[identity]
        verdict = _verdict_of(receipt, outcome, reason)
        return replace(verdict, gas_wei=together.share(identity, verdict.gas_wei))

    async def _used(self, block: str) -> int:
        return int(await self._rpc.call("eth_getTransactionCount", self.address, block), 16)

    async def _standing(self, receipts: Iterable[dict[str, Any]], final: int) -> set[str]:
        """Return the transactions whose block is in the chain and not above the final block."""
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
        """Return the verdict of a single payment from its mined bytes and its receipt."""

        def says(outcome: PayoutOutcome, reason: str = "") -> PayoutVerdict:
            return _verdict_of(receipt, outcome, reason)

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
        """Return the base units of the asset that a mined transaction took from the wallet."""
        if self.token is None:
            return sent.amount if int(receipt["status"], 16) == 1 else 0
        moved = self._transfers(receipt["logs"])
        out = sum(amount for sender, _, amount in moved if sender == self.address)
        return max(0, out - sum(amount for _, to, amount in moved if to == self.address))

    def _is_owed(self, payout: Payout, logs: Sequence[dict[str, Any]]) -> bool:
        """Return True if exactly the payout left the wallet and stayed with the receiver."""
        moved = self._transfers(logs)
        out = [(to, amount) for sender, to, amount in moved if sender == self.address]
        came = sum(amount for _, to, amount in moved if to == payout.address)
        came -= sum(amount for sender, _, amount in moved if sender == payout.address)
        return out == [(payout.address, payout.units)] and came == payout.units

    def _transfers(self, logs: Sequence[dict[str, Any]]) -> list[tuple[str, str, int]]:
        """Return the Transfer events of the token: sender, receiver, amount in base units."""
        return [
            ("0x" + topics[1][-40:].lower(), "0x" + topics[2][-40:].lower(), amount_of(log))
            for log in logs
            if log["address"].lower() == self.token
            and (topics := log["topics"])[:1] == [TRANSFERRED]
            and len(topics) == 3
        ]

    async def _unless_authorized(
        self, payout: Payout, verdict: PayoutVerdict, before: int, final: dict[str, Any]
    ) -> PayoutVerdict:
        """Return the verdict after a failed payment by ERC-3009.

        Anybody may submit the signed authorization to the token until it expires. So a failure is
        final only after `before` (Unix seconds), and an authorization that was used is a payment.
        """
        used = await self._state_of(authorization_nonce(payout.id), final["number"])
        if used is None:
            raise RpcFault("the token does not say whether the authorisation was used.")
        if used:
            return PayoutVerdict(PayoutOutcome.PAID, verdict.tx, verdict.block, verdict.gas_wei)
        return (
            PayoutVerdict(PayoutOutcome.WAIT) if int(final["timestamp"], 16) < before else verdict
        )

    async def _state_of(self, nonce: bytes, block: str) -> bool | None:
        """Return whether an authorization was used (ERC-3009); None without ERC-3009."""
        data = keccak(b"authorizationState(address,bytes32)")[:4]
        data += encode(["address", "bytes32"], [self.address, nonce])
        request = {"to": self.token, "data": to_hex(data)}
        try:
            said = hex_bytes(await self._rpc.call("eth_call", request, block))
        except NodeRevert:
            return None
        return bool(int.from_bytes(said, "big")) if len(said) == 32 else None


def _verdict_of(receipt: dict[str, Any], outcome: PayoutOutcome, reason: str = "") -> PayoutVerdict:
    """Return a verdict with the block and the gas cost of a receipt, in wei."""
    tx = receipt["transactionHash"]
    block = BlockRef(int(receipt["blockNumber"], 16), receipt["blockHash"], tx, -1)
    gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    gas += int(receipt.get("l1Fee") or "0x0", 16)
    return PayoutVerdict(outcome, tx, block, gas, reason)


def _height(slot: Slot) -> int:
    """Return the number of the block of a slot, or -1."""
    return slot.block.number if slot.block else -1

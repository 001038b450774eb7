"""Reconciliation: the treasury accounts of the ledger against the wallet at a final block.

A difference needs two equal readings, some seconds apart. Each transfer out of the wallet must
belong to one payout. A surplus is booked as funding. A deficit is booked to `suspense` and stops
the signer until a person has checked it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.core import facts as ev
from workbench.core.confirmed_readings import AGAIN_MS, ConfirmedReadings
from workbench.core.errors import Quarantined, RpcFault
from workbench.core.ledger import LedgerTransfer, TransferKind
from workbench.core.payout import PayoutState
from workbench.core.ports import (
    OPEN_SLOTS,
    CheckReports,
    Clock,
    Ledger,
    LedgerStorePort,
    Payments,
    PayoutSender,
    Wallet,
    WalletTransfer,
)
from workbench.services.payouts import accounts
from workbench.services.payouts.batches import PayoutBatches

READINGS = 3
"""Most readings of one `conclude`."""
UNSETTLED = "the signer stands still, or what the final block holds is not judged to its end."


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """The result. `is_settled`: everything up to `block` was judged; only then ledger and chain
    compare.

    `chain` and `ledger`: base units by asset. `booked`: funding (above 0) or suspense (below).
    `unsure`: findings of a first reading, as text; nothing is booked or settled then. `strange`:
    transfers out of the wallet that belong to no payout.
    """

    block: int
    is_settled: bool
    chain: dict[str, int] = field(default_factory=dict)
    ledger: dict[str, int] = field(default_factory=dict)
    booked: dict[str, int] = field(default_factory=dict)
    strange: tuple[str, ...] = ()
    unsure: str = ""

    @property
    def is_right(self) -> bool:
        return self.is_settled and not self.strange and all(n >= 0 for n in self.booked.values())

    def to_json(self) -> dict[str, Any]:
        """Return the report for JSON. Amounts are text, because a JSON reader may not represent
        them."""
        sums = {name: _texts(getattr(self, name)) for name in ("chain", "ledger", "booked")}
        return {
            "block": self.block,
            "settled": self.is_settled,
            "right": self.is_right,
            **sums,
            "strange": list(self.strange),
        }


def _texts(amounts: dict[str, int]) -> dict[str, str]:
    return {asset: str(amount) for asset, amount in amounts.items()}


class Reconciler:
    """Reconcile one wallet. Each block is booked at most once."""

    def __init__(
        self,
        store: LedgerStorePort,
        sender: PayoutSender,
        payments: Payments,
        clock: Clock,
        chain_id: int,
        batches: PayoutBatches,
        reports: CheckReports,
    ) -> None:
        self._store, self._sender, self._payments = store, sender, payments
        self._clock, self._chain_id, self._batches = clock, chain_id, batches
        self._reports = reports
        self._done_ms: int | None = None
        self._readings, self._unsure_ms = ConfirmedReadings(), -AGAIN_MS

    async def on_timer(self, every_s: float) -> None:
        """Call `run` when it is due. A failure is reported and retried later."""
        now, done = self._clock.now_ms(), self._done_ms
        if done is not None and done <= now < done + int(every_s * 1000):
            return
        if self._unsure_ms <= now < self._unsure_ms + AGAIN_MS:
            return
        try:
            report = await self.run()
        except RpcFault as why:
            # The node has dropped this block, or does not have it yet: next round.
            self._reports.fails("reconciliation", why.message)
            return
        if report.is_settled:
            self._done_ms = now
            self._reports.ok("reconciliation")
            self._reports.ok("wallet_differs")
        elif report.unsure:
            self._unsure_ms = now
            self._reports.fails("reconciliation", report.unsure)
        else:
            self._reports.fails("reconciliation", UNSETTLED)

    async def conclude(self) -> ReconcileReport:
        """Call `run` until its findings are confirmed by a second reading."""
        report = await self.run()
        for _ in range(READINGS):
            if not report.unsure:
                break
            await self._clock.sleep(AGAIN_MS / 1000)
            report = await self.run()
        return report

    async def run(self) -> ReconcileReport:
        """Compare once, and book a confirmed difference. Raises RpcUnreachable or RpcFault."""
        wallet = await self._payments.wallet()
        try:
            await self._sender.check()
        except Quarantined:
            return ReconcileReport(wallet.block, is_settled=False)
        async with self._store.unit() as unit:
            known = await unit.reconciled()
            is_settled = await self._judged(unit) == wallet.nonce
        after = known[0] if known else wallet.block
        if not is_settled or wallet.block < after:
            return ReconcileReport(wallet.block, is_settled=False)
        moved = await self._payments.movements(after, wallet.block)
        async with self._store.unit() as unit:
            if await self._judged(unit) != wallet.nonce:
                return ReconcileReport(wallet.block, is_settled=False)
            report = await self._compare(unit, wallet, moved)
            if not self._is_sure(report):
                return self._first_reading(report)
            for asset, difference in report.booked.items():
                await self._book(unit, asset, difference, report.block)
            await unit.reconcile(report.block, self._clock.now_ms(), json.dumps(report.to_json()))
        if not report.is_right:
            text = f"reconciliation at block {report.block}: {_wrong(report)}"
            await self._sender.stop(wallet.nonce, text)
        return report

    async def _judged(self, unit: Ledger) -> int:
        """Return the lowest nonce without a verdict."""
        address = self._payments.address
        standing = await unit.signer(self._chain_id, address)
        nonce = await unit.next_nonce(self._chain_id, address)
        if standing is None:
            return -1  # Nothing was signed here, and the sender has not read the chain.
        nonce = max(nonce, standing.first_nonce)
        sent = await unit.payouts(PayoutState.SENT)
        for key in dict.fromkeys(payout.act_key for payout in sent):
            slot = await unit.slot(self._chain_id, address, key)
            nonce = min(nonce, slot.nonce) if slot else nonce
        unbooked = await self._batches.unbooked(unit)
        nonce = min(nonce, unbooked.nonce) if unbooked else nonce
        for slot in await unit.slots(self._chain_id, address, *OPEN_SLOTS):
            nonce = min(nonce, slot.nonce)  # Also slots of ended payouts that a reorg removed.
        return nonce

    def _is_sure(self, report: ReconcileReport) -> bool:
        """Return True if an earlier reading found the same."""
        found = (tuple(sorted(report.booked.items())), report.strange)
        if found == ((), ()):
            self._readings.forget(())
            return True
        if not self._readings.confirms((), found, self._clock.now_ms()):
            return False
        self._readings.forget(())
        return True

    def _first_reading(self, report: ReconcileReport) -> ReconcileReport:
        """Return a report that holds only what a second reading must confirm."""
        came = [f"{n} of {asset} came in" for asset, n in report.booked.items() if n > 0]
        found = "; ".join(filter(None, [_wrong(report), *came]))
        text = f"first reading at block {report.block}: {found}; a second reading follows."
        if not report.is_right:
            self._reports.fails("wallet_differs", text)
        return ReconcileReport(report.block, False, report.chain, report.ledger, unsure=text)

    async def _compare(self, unit: Ledger, wallet: Wallet, moved: Any) -> ReconcileReport:
        """Return the report of ledger and wallet at one block."""
        await accounts.open_house(unit, self._payments)
        chain = {self._payments.native: wallet.native, self._payments.asset: wallet.asset}
        ledger, booked = {}, {}
        for asset, held in chain.items():
            account = await unit.account(accounts.treasury(self._payments.address, asset))
            ledger[asset] = account.balance if account else 0
            if difference := held - ledger[asset]:
                booked[asset] = difference
        strange = tuple(await self._strange(unit, moved))
        return ReconcileReport(wallet.block, True, chain, ledger, booked, strange)

    async def _book(self, unit: Ledger, asset: str, difference: int, block: int) -> None:
        """Book a difference as funding or suspense."""
        wallet = accounts.treasury(self._payments.address, asset)
        came = difference > 0
        other = f"funding:{asset}" if came else f"suspense:{asset}"
        debit, credit = (other, wallet) if came else (wallet, other)
        now = self._clock.now_ms()
        await unit.transfer(
            LedgerTransfer(
                id=f"reconciliation/{block}/{asset}/{now}",
                kind=TransferKind.POSTED,
                debit=debit,
                credit=credit,
                amount=abs(difference),
                reason="funding" if came else "suspense",
                ref=str(block),
                at_ms=now,
            )
        )

    async def _strange(self, unit: Ledger, moved: Sequence[WalletTransfer]) -> list[str]:
        """Return outgoing transfers that no payout explains. Each payout explains one."""
        strange: list[str] = []
        by_tx: dict[str, list[WalletTransfer]] = {}
        for movement in moved:
            by_tx.setdefault(movement.tx, []).append(movement)
        for tx, some in by_tx.items():
            out = Counter(movement.amount for movement in some if not movement.incoming)
            paid = await unit.payouts(PayoutState.PAID, tx=tx) if out else ()
            if not out <= Counter(payout.units for payout in paid):
                came = sum(movement.amount for movement in some if movement.incoming)
                strange += await _unexplained(unit, tx, out, came)
        return strange


async def _unexplained(unit: Ledger, tx: str, out: Counter[int], came: int) -> list[str]:
    """Return the amounts that left in one transaction and belong to no payout.

    A payout that a person resolved explains the amount that its transaction moved: all that left,
    minus `came`, the amount that came back.
    """
    owed, moved = Counter[int](), 0
    for payout in await unit.payouts(PayoutState.PAID, PayoutState.REFUNDED, tx=tx):
        facts = await unit.standing(payout.id)
        found = [fact.moved for fact in facts if isinstance(fact, ev.PayoutMismatched)]
        if any(isinstance(fact, ev.PayoutResolved) for fact in facts) and found:
            moved += found[-1] + came
            came = 0
        elif payout.state is PayoutState.PAID:
            owed[payout.units] += 1
    left = out - owed
    is_explained = sum(amount * times for amount, times in left.items()) <= moved
    return [] if is_explained else [f"{amount} in {tx}" for amount in left.elements()]


def _wrong(report: ReconcileReport) -> str:
    missing = [f"{-n} of {asset} is missing" for asset, n in report.booked.items() if n < 0]
    return "; ".join([*missing, *(f"{told} is no payout of ours" for told in report.strange)])

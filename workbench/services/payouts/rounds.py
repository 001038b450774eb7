"""The payout service: users earn credits and are paid on chain, exactly once.

A request is accepted in one transaction: key, hold, payout and facts. A round reserves a nonce slot
for it and, once the slot is final, judges it. No error and no time-out takes another nonce or gives
credits back; only a final block does.
"""

from __future__ import annotations

from workbench.core.payout import (
    PayoutState,
)
from workbench.core.ports import (
    NodeState,
)
from workbench.services.common.vitals import reserve_wei, shortfall
from workbench.services.payouts.decisions import PayoutDecisions
from workbench.services.payouts.requests import PayoutRequests
from workbench.services.payouts.signing import PayoutSigning

OF_THE_LEASE = ("reconciliation", "wallet_differs", "orphans", "fees", "reorg")
"""Names of the checks that only the lease holder performs."""
MOST_NAMED = 3
"""Most examples of one kind in an alarm."""
SPARE = 20
"""The wallet should hold gas for this many transactions beyond those that wait."""
GAS_EACH = {False: 30_000, True: 150_000}
"""Gas of a single payout: False for native currency, True for a token."""


class Payouts(PayoutRequests, PayoutDecisions, PayoutSigning):
    """The payout service. `services.payouts.http` gives it an HTTP interface."""

    async def run(self) -> None:
        """Run rounds until cancelled."""
        await self.loop.rounds(self.name, self.tick, self.rules.poll_s)

    async def tick(self) -> None:
        """One round: track slots, judge final ones, sign the next payouts, reconcile.

        Several processes sign in parallel; the lease holder does the rest. Two lease holders are
        harmless: slots move by compare-and-set, and a hold ends once.
        """
        self.has_lease = self.store.lease()
        self.health.ok("lease")
        self.is_sender = self.has_lease or self.store.is_shared
        if not self.has_lease:
            self.returned.rest()
            for name in OF_THE_LEASE:
                self.health.rest(name)
        if not self.is_sender:
            return
        if not self._is_checked:
            await self.check()
        if self.has_lease:
            await self._look_after()
        with self.loop.part("signing"):
            await self._sign_next()
        if self.has_lease:
            with self.loop.part("orphans"):
                await self.returned.on_timer(self.rules.reconcile_s)
            if not self.returned.open:
                with self.loop.part("reconciliation"):
                    await self.reconciler.on_timer(self.rules.reconcile_s)
            self.health.set("reorg", self.returned.report())

    async def _look_after(self) -> None:
        """Track slots, judge final payouts, and book allowances, as the lease holder."""
        async with self.store.unit() as unit:
            count = await unit.count_nonces()
            # The signers of other processes, and of an earlier run, authorized these payments.
            anew = self.store.is_shared or not self._is_announced
            sent = await unit.payouts(PayoutState.SENT) if anew else ()
            unbooked = await self.batches.unbooked(unit)
        for payout in (*sent, *self.returned.open.values()):
            self.payments.authorize_signing(payout)
        self._is_announced = True
        if count or self.returned.open or unbooked:
            with self.loop.part("transactions"):
                await self._sender.pump()
            with self.loop.part("verdicts"):
                await self._judge()
            with self.loop.part("returned payouts"):
                await self.returned.settle()
        if unbooked:
            with self.loop.part("allowance"):
                await self.batches.book(unbooked)
        self.health.set("fees", "; ".join(self._sender.capped()[:MOST_NAMED]) if count else "")

    async def look_at_node(self, state: NodeState) -> None:
        """Report whether the wallet has enough money, and the age of the oldest open payout."""
        async with self.store.unit() as unit:
            waiting = await unit.backlog(PayoutState.APPROVED)
            open_ = await unit.backlog(PayoutState.APPROVED, PayoutState.SENT)
        self.oldest_s = open_.age_s(self.clock.now_ms())
        limit = self.rules.oldest_s
        told = f"an open payout has waited for {self.oldest_s} s (OLDEST_PAYOUT_S is {limit})."
        self.health.set("oldest_payout", told if self.oldest_s > limit else "")
        wallet = await self.payments.wallet(final=False)
        units = waiting.credits * self.rules.units_per_credit
        is_token = self.payments.token is not None
        gas = reserve_wei(state.base_fee or 0, waiting.count + SPARE, GAS_EACH[is_token])
        told = shortfall(self.payments.address, state, gas + (0 if is_token else units))
        if not told and is_token and wallet.asset < units:
            told = (
                f"{self.payments.address} holds {self._shown(wallet.asset)}, and the payouts that "
                f"wait come to {self._shown(units)}."
            )
        self.health.set("wallet_short", told, "reserve")

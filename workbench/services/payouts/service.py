"""What all parts of the payout service share: ports, rules, state, and the JSON of a payout."""

from __future__ import annotations

from typing import Any

from workbench.core.errors import (
    InvalidSetting,
    Quarantined,
    UnknownPayout,
)
from workbench.core.money import format_units
from workbench.core.payout import (
    Payout,
    PayoutState,
)
from workbench.core.ports import (
    Clock,
    Ledger,
    LedgerStorePort,
    Payments,
    PayoutSender,
    Randomness,
)
from workbench.services.common.loop import ServiceLoop
from workbench.services.payouts import accounts
from workbench.services.payouts.batches import PayoutBatches
from workbench.services.payouts.confirmed_verdicts import ConfirmedVerdicts
from workbench.services.payouts.reconciler import Reconciler
from workbench.services.payouts.reorgs import PayoutReorgs
from workbench.services.payouts.rules import PayoutRules


class PayoutService:
    """The ports and the state of a payout service. One instance for each wallet."""

    name = "payouts"

    def __init__(
        self,
        *,
        store: LedgerStorePort,
        sender: PayoutSender,
        payments: Payments,
        clock: Clock,
        loop: ServiceLoop,
        random: Randomness,
        rules: PayoutRules,
    ) -> None:
        self.store, self.payments, self.rules, self.clock = store, payments, rules, clock
        self._sender, self._random = sender, random
        self.loop, self.health = loop, loop.health
        self.batches = PayoutBatches(store, sender, payments, clock, rules.chain_id, self.name)
        self.reconciler = Reconciler(
            store, sender, payments, clock, rules.chain_id, self.batches, loop.health
        )
        self.sure = ConfirmedVerdicts(clock)
        self.returned = PayoutReorgs(
            store, sender, payments, clock, rules.chain_id, self.name, loop.health, self.sure
        )
        self.stuck: dict[str, str] = {}
        """Payouts that the chain would refuse now, with the reason."""
        self.oldest_s = 0
        """Age of the oldest open payout in seconds, at the last reading."""
        self.is_sender = self.has_lease = False
        self.waiting, self.is_ending = 0, False
        """The number of requests that wait for a payout, and whether they must be answered at once.
        """
        self.signed = 0
        """Number of payouts that this process has signed."""
        self._is_checked = self._is_announced = False

    async def check(self) -> None:
        """Check node, token, settings and open payouts before requests are accepted. Raises the
        first error."""
        payments = self.payments
        await payments.check()
        if payments.token is not None and not self.rules.are_units_meant:
            raise InvalidSetting(
                "UNITS_PER_CREDIT is not set: with its default, which is made for wei, one credit "
                f"would cost {self.worth(1)}.",
                hint=f"Set it: {10**payments.decimals} pays 1 {payments.symbol} for a credit.",
                setting="UNITS_PER_CREDIT",
            )
        async with self.store.unit() as unit:
            await accounts.open_house(unit, self.payments)
            open_ = await unit.payouts(PayoutState.HELD, PayoutState.APPROVED, PayoutState.SENT)
        foreign = [payout for payout in open_ if payout.asset != self.payments.asset]
        if foreign:
            raise InvalidSetting(
                f"{len(foreign)} open payouts in this database are of {foreign[0].asset}, "
                f"and the settings say {self.payments.asset}.",
                hint="Correct CHAIN_ID and TOKEN_ADDRESS, or take another database (DB_PATH).",
            )
        try:
            await self._sender.check()
        except Quarantined as why:  # Accepted payouts can still be shown and cancelled.
            self.health.fails(why.code, str(why))
        self._is_checked = True

    def known(self, subject: str) -> dict[str, Any]:
        return {"subject": subject, "at_ms": self.clock.now_ms(), "source": self.name}

    async def payout(self, unit: Ledger, payout_id: str) -> Payout:
        payout = await unit.payout(payout_id)
        if payout is None:
            raise UnknownPayout(f"there is no payout {payout_id[:80]}.")
        return payout

    async def free_nonces(self, unit: Ledger) -> int:
        """Return how many more transactions may be unmined. Public nodes keep 16 of one account."""
        unmined = await unit.count_unmined(self.rules.chain_id, self.payments.address)
        return self.rules.in_flight - unmined

    def new_key(self) -> str:
        """Return a new idempotency key, for forms and for requests without one."""
        return self._random.token()[2:34]

    def user_named(self, name: str) -> str:
        """Return the id of a user's account. Ids older than the NFC rule are kept under an
        alias."""
        return self.store.aliases.get(name, name)

    def view(self, payout: Payout) -> dict[str, Any]:
        """Return the JSON of a payout. `units` is text, because a JSON reader may not
        represent it."""
        shown = {
            "id": payout.id,
            "idempotency_key": payout.key,
            "state": payout.state.value,
            "user_id": payout.user_id,
            "address": self.payments.checksum(payout.address),
            "credits": payout.credits,
            "tx": payout.tx or None,
            "units": str(payout.units),
            "amount": self._shown(payout.units),
            "asset": payout.asset,
            "requested_at_ms": payout.at_ms,
        }
        if payout.batch:
            shown["batch"] = payout.batch
        is_waiting = payout.state is PayoutState.APPROVED
        reason = payout.reason or (self.stuck.get(payout.id, "") if is_waiting else "")
        if reason:
            shown["reason"] = reason
        if explorer := self.payments.explorer(payout.tx):
            shown["explorer"] = explorer
        return shown

    def worth(self, credits_: int) -> str:
        """Return the value of credits in the asset, as text for people."""
        return self._shown(credits_ * self.rules.units_per_credit)

    def _shown(self, units: int) -> str:
        return f"{format_units(units, self.payments.decimals)} {self.payments.symbol}"

"""Accept requests for credits and for payouts, each once for its idempotency key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    InsufficientCredits,
    KeyReused,
    OverLimit,
    WorkbenchError,
)
from workbench.core.ledger import LedgerTransfer, TransferKind
from workbench.core.payout import (
    Payout,
    apply,
)
from workbench.core.ports import (
    IdempotentAnswer,
    Ledger,
)
from workbench.core.records import replace
from workbench.services.payouts import accounts
from workbench.services.payouts.input import PayoutInput
from workbench.services.payouts.service import PayoutService

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class RequestResult:
    """An answer. `is_replay`: it is the stored answer to an earlier request with the same key."""

    status: int
    body: dict[str, Any]
    is_replay: bool = False


class PayoutRequests(PayoutService):
    """Accept requests, each once for its idempotency key."""

    async def earn(self, asked: PayoutInput) -> RequestResult:
        """Credit a user, once for each key. Raises KeyReused."""
        asked = self._keyed(asked)
        now = self.clock.now_ms()
        async with self.store.unit() as unit:
            given = await self._replay(unit, "earn", asked)
            if given is not None:
                return given
            await accounts.open_user(unit, asked.user_id)
            transfer = LedgerTransfer(
                id=self._random.token(),
                kind=TransferKind.POSTED,
                debit=accounts.ISSUANCE,
                credit=accounts.user_account(asked.user_id),
                amount=asked.credits,
                reason="earned",
                ref=asked.key,
                at_ms=now,
            )
            await unit.transfer(transfer)
            known = self.known(transfer.id)
            fact = ev.CreditsEarned(user_id=asked.user_id, credits=asked.credits, **known)
            await unit.record(fact)
            account = await accounts.open_user(unit, asked.user_id)
            body = {
                "user_id": asked.user_id,
                "earned": asked.credits,
                "credits": account.available,
                "idempotency_key": asked.key,
            }
            return await self._answer(unit, "earn", asked, 200, body)

    async def request(self, asked: PayoutInput) -> RequestResult:
        """Accept or refuse a payout. The same key always gets the same answer. Raises KeyReused."""
        asked = self._keyed(asked)
        payout_id = self._random.token()
        async with self.store.unit() as unit:
            given = await self._replay(unit, "payout", asked)
            if given is not None:
                return given
            why = await self._refusal(unit, asked)
            if why is not None:
                return await self._answer(unit, "payout", asked, why.status, why.to_json())
            payout = await self._accept(unit, payout_id, asked)
            return await self._answer(unit, "payout", asked, 202, self.view(payout))

    def _keyed(self, asked: PayoutInput) -> PayoutInput:
        asked = replace(asked, user_id=self.user_named(asked.user_id))
        return asked if asked.key else replace(asked, key=self.new_key())

    async def _replay(self, unit: Ledger, scope: str, asked: PayoutInput) -> RequestResult | None:
        """Return the stored answer of the key, or None. Raises KeyReused."""
        known = await unit.answered(scope, asked.key)
        if known is None:
            return None
        if known.fingerprint != asked.fingerprint:
            raise KeyReused(
                "this idempotency key stands for another request.",
                hint="Take a new key for a new request; repeat the old request unchanged.",
                idempotency_key=asked.key,
            )
        return RequestResult(known.status, json.loads(known.body), is_replay=True)

    async def _answer(
        self, unit: Ledger, scope: str, asked: PayoutInput, status: int, body: dict[str, Any]
    ) -> RequestResult:
        """Store the answer under the key, and return it."""
        body = {**body, "idempotency_key": asked.key}
        kept = IdempotentAnswer(asked.fingerprint, status, json.dumps(body))
        await unit.answer(scope, asked.key, kept, self.clock.now_ms())
        return RequestResult(status, body)

    async def _refusal(self, unit: Ledger, asked: PayoutInput) -> WorkbenchError | None:
        """Return the error of a request beyond credits or limits, or None."""
        account = await unit.account(accounts.user_account(asked.user_id))
        free = account.available if account else 0
        if asked.credits > free:
            return InsufficientCredits(
                f"{asked.user_id} has {free} credits that are free; {asked.credits} were asked.",
                hint="Ask for less, or earn some first; with a new idempotency key.",
                credits=free,
            )
        since = self.clock.now_ms() - DAY_MS
        for limit, who, where in (
            (self.rules.daily_user, "this user", {"user_id": asked.user_id}),
            (self.rules.daily_address, "this address", {"address": asked.address}),
            (self.rules.daily_wallet, "all users together", {}),
        ):
            if limit is None:
                continue
            spent = await unit.credits_since(since, **where)
            if spent + asked.credits > limit:
                return OverLimit(
                    f"{who} may be paid {limit} credits in 24 hours; {spent} are on their way.",
                    hint="Ask for less, or tomorrow; with a new idempotency key.",
                    limit=limit,
                    spent=spent,
                )
        return None

    async def _accept(self, unit: Ledger, payout_id: str, asked: PayoutInput) -> Payout:
        """Hold the credits and store the payout with its facts."""
        known = self.known(payout_id)
        facts: list[ev.Event] = [
            ev.PayoutRequested(
                **known,
                user_id=asked.user_id,
                key=asked.key,
                address=asked.address,
                credits=asked.credits,
                units=asked.credits * self.rules.units_per_credit,
                asset=self.payments.asset,
            )
        ]
        payout = apply(None, facts[0])
        await accounts.hold(unit, payout)
        facts.append(ev.PayoutHeld(**known, hold=payout.hold_id))
        above = self.rules.approve_above
        if above is None or asked.credits <= above:
            facts.append(ev.PayoutApproved(**known, by="rules"))
        for fact in facts[1:]:
            payout = apply(payout, fact)
        for fact in facts:
            await unit.record(fact)
        await unit.put_payout(payout)
        return payout

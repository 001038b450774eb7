"""The payouts service: users earn credits, and are paid out on a chain, exactly once.

A request is accepted in one transaction: its key, the hold on the credits, the payout, its facts.
Then rounds ask `next_step` what is owed: a nonce slot, and once that is final, a verdict. Neither
an error nor a time-out ever takes another nonce or gives credits back; only a final block does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    InsufficientAllowance,
    InsufficientCredits,
    InsufficientFunds,
    InvalidSetting,
    KeyReused,
    OverLimit,
    PayoutAltered,
    PayoutEnded,
    Quarantined,
    Reverted,
    RpcFault,
    RpcLimited,
    RpcUnreachable,
    SignerShort,
    SigningRefused,
    StateMoved,
    StoreError,
    TokenRefused,
    UnknownPayout,
    WorkbenchError,
)
from workbench.core.ledger import LedgerTransfer, TransferKind
from workbench.core.money import format_units
from workbench.core.payout import (
    ENDED,
    REQUESTED,
    Payout,
    PayoutOutcome,
    PayoutState,
    PayoutStep,
    PayoutVerdict,
    altered,
    apply,
    next_step,
)
from workbench.core.ports import (
    Clock,
    IdempotentAnswer,
    Ledger,
    LedgerStorePort,
    NodeState,
    Payments,
    PayoutSender,
    Randomness,
    Slot,
    SlotState,
    TransactionIntent,
)
from workbench.core.records import replace
from workbench.services.common.health import brief
from workbench.services.common.loop import ServiceLoop
from workbench.services.common.vitals import reserve_wei, shortfall
from workbench.services.payouts import accounts
from workbench.services.payouts.batches import PayoutBatches, PayoutGroup
from workbench.services.payouts.confirmed_verdicts import ConfirmedVerdicts
from workbench.services.payouts.input import PayoutInput
from workbench.services.payouts.reconciler import Reconciler
from workbench.services.payouts.reorgs import PayoutReorgs
from workbench.services.payouts.resolve import resolve

DAY_MS = 86_400_000
DECIDED = (PayoutOutcome.PAID, PayoutOutcome.REFUSED, PayoutOutcome.CANCELLED)
RETRY_MS = 15_000
"""How long a payout that the chain would refuse now lets others go first."""
OF_THE_LEASE = ("reconciliation", "wallet_differs", "orphans", "fees", "reorg")
"""The checks of the one process that looks after what all have sent."""
JUDGED = 256
"""So many payouts come to their end in one transaction: others wait for it."""
TOLD = 3
"""So many of a kind are named in an alarm."""
CORRECT = "Run `workbench ledger verify`; correct the row, or take the payout back with :cancel."
SPARE = 20
"""The wallet should hold the gas of so many transactions more than wait."""
GAS_EACH = {False: 30_000, True: 150_000}
"""Of a payout in a transaction of its own, by whether it is a token's."""
TAKEN_MS = 15_000
"""How long a process may prepare a payout before another takes it up. Only one can sign it."""


@dataclass(frozen=True, slots=True)
class PayoutRules:
    """`units_per_credit`: base units of the asset; `are_units_meant`: somebody chose them.

    Limits are credits in 24 hours, None for none.
    `api_key`: needed by everybody, None on loopback. `in_flight`: most unmined transactions.
    `approve_above`: credits of one payout from which on a second person must approve.
    `oldest_s`: an open payout that waits for longer is an alarm. `wait_s`: how long the seed's
    `/payout` waits for a transaction, unless its client says otherwise.
    """

    chain_id: int
    units_per_credit: int
    are_units_meant: bool = True
    poll_s: float = 0.5
    api_key: str | None = None
    daily_user: int | None = None
    daily_address: int | None = None
    daily_wallet: int | None = None
    approve_above: int | None = None
    in_flight: int = 16
    reconcile_s: float = 60.0
    oldest_s: int = 1_800
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RequestResult:
    """An answer, and whether it is that of an earlier request with the same key."""

    status: int
    body: dict[str, Any]
    is_replay: bool = False


class SigningBatch:
    """One signing of several groups: see `core.ports.Within`. In the transaction that stores their
    slots all their payouts are marked as sent, or there are no slots."""

    def __init__(self, payouts: Payouts, groups: Sequence[PayoutGroup]) -> None:
        self._payouts = payouts
        self._groups = {group.subject: group for group in groups}
        self._now: dict[str, Payout] = {}

    async def refused(
        self, unit: Ledger, acts: Sequence[TransactionIntent]
    ) -> dict[tuple[str, str, int], WorkbenchError]:
        """Those of which a payout has moved, or is not what the journal says; or for which others
        have taken the last nonce.

        How many transactions may be unmined counts over all processes.
        """
        left = await self._payouts.free_nonces(unit)
        groups = {act.key: self._groups[act.subject].payouts for act in acts}
        ids = [each.id for some in groups.values() for each in some]
        self._now, facts = await unit.payouts_of(ids), await unit.facts_of(ids)
        refused: dict[tuple[str, str, int], WorkbenchError] = {}
        for key, some in groups.items():
            now = [self._now[payout.id] for payout in some]
            moved = next((each for each in now if each.state is not PayoutState.APPROVED), None)
            wrong = self._altered(some, facts)
            if wrong:
                refused[key] = PayoutAltered(wrong, hint=CORRECT)
            elif left <= 0:
                refused[key] = StateMoved("as many transactions as may be are unmined by now.")
            elif moved is not None:
                refused[key] = StateMoved(f"payout {moved.id} is {moved.state.value} by now.")
            else:
                left -= 1
        return refused

    def _altered(self, some: Sequence[Payout], facts: dict[str, list[ev.Event]]) -> str:
        """Which payout is not what the journal says, and in which fields; "" for none."""
        for signed in some:
            row = self._now[signed.id]
            if fields := self._payouts.differences(signed, row, facts[row.id]):
                return f"payout {row.id} differs from the journal in {', '.join(fields)}."
        return ""

    async def mark(self, unit: Ledger, slots: Sequence[Slot]) -> None:
        facts: list[ev.Event] = []
        moves: list[tuple[Payout, Payout]] = []
        for slot in slots:
            group = self._groups[slot.subject]
            for place, asked in enumerate(group.payouts):
                was = now = self._now[asked.id]
                for fact in self._payouts.sent_facts(group, place, slot):
                    now = apply(now, fact)
                    facts.append(fact)
                moves.append((was, now))
        await unit.record_all(facts)
        await unit.move_payouts(moves)


class Payouts:
    """See the module. One instance for each wallet; `services.payout_http` gives it a face."""

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
        """Payouts that the chain would refuse now, and why."""
        self.oldest_s = 0
        """How long the oldest open payout has waited, when last looked at."""
        self.is_sender = self.has_lease = False
        self.waiting, self.is_ending = 0, False
        """Requests that wait for a payout, and whether they are to be answered at once."""
        self.signed = 0
        """Payouts that this process has given a nonce."""
        self._is_checked = self._is_announced = False

    # --- Starting ---

    async def check(self) -> None:
        """Raise what must be put right before anything is promised."""
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
        except Quarantined as why:  # What was accepted is still shown, and can be taken back.
            self.health.fails(why.code, str(why))
        self._is_checked = True

    # --- Accepting ---

    async def earn(self, asked: PayoutInput) -> RequestResult:
        """Give a user credits, once for each key."""
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
        """Accept a payout, or refuse it for good: the same key gets the same answer for ever."""
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

    def user_named(self, name: str) -> str:
        """The id under which a user's account is kept: it may be older than the rule of NFC."""
        return self.store.aliases.get(name, name)

    def new_key(self) -> str:
        """An idempotency key that nobody has: for a form, and for who gave none."""
        return self._random.token()[2:34]

    async def _replay(self, unit: Ledger, scope: str, asked: PayoutInput) -> RequestResult | None:
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
        body = {**body, "idempotency_key": asked.key}
        kept = IdempotentAnswer(asked.fingerprint, status, json.dumps(body))
        await unit.answer(scope, asked.key, kept, self.clock.now_ms())
        return RequestResult(status, body)

    async def _refusal(self, unit: Ledger, asked: PayoutInput) -> WorkbenchError | None:
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

    # --- Taking back, approving ---

    async def cancel(self, payout_id: str) -> Payout:
        """Before it is signed: at once. After: by a no-op of the same nonce, if that one wins."""
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            if payout.state in ENDED:
                raise PayoutEnded(f"the payout is {payout.state.value}.", state=payout.state.value)
            if payout.state is not PayoutState.SENT:
                return await self.end(
                    unit, payout, PayoutVerdict(PayoutOutcome.CANCELLED, reason="cancelled")
                )
        if payout.batch:
            raise PayoutEnded(
                "it is too late: the payout is signed, together with others.",
                hint="A batch is not taken back. What it could not pay is given back by itself.",
            )
        if not self.is_sender:
            raise PayoutEnded(
                "the payout is signed, and another process sends it.",
                hint="Ask that process; /readyz says which one sends.",
            )
        try:
            await self._sender.cancel(*payout.act_key)
        except StateMoved as why:
            raise PayoutEnded("it is too late: the payment is mined, or as good as.") from why
        return payout

    async def approve(self, payout_id: str, by: str) -> Payout:
        """A second person lets a held payout go."""
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            if payout.state is not PayoutState.HELD:
                raise PayoutEnded(f"the payout is {payout.state.value}: nothing to approve.")
            fact = ev.PayoutApproved(**self.known(payout.id), by=by)
            return await self._tell(unit, payout, fact)

    async def refund(self, payout_id: str, by: str) -> Payout:
        """A person gives the credits back where a foreign transaction took the payout's nonce.

        Its own bytes can never be mined any more. Whether the foreign ones paid it (those of a
        database that was lost, say), no program here can know.
        """
        async with self.store.unit() as unit:
            payout = await self.payout(unit, payout_id)
            slot = await unit.slot(self.rules.chain_id, self.payments.address, payout.act_key)
            if (
                payout.state is not PayoutState.SENT
                or slot is None
                or slot.state is not SlotState.LOST
            ):
                raise PayoutEnded(
                    f"the payout is {payout.state.value}, and its nonce is its own.",
                    hint="Only what lost its nonce for good is given back by hand.",
                )
            reason = f"given back by {by}: its nonce went to a foreign transaction"
            return await self.end(unit, payout, PayoutVerdict(PayoutOutcome.REFUSED, reason=reason))

    async def resolve(self, payout_id: str, outcome: str, by: str, why: str) -> Payout:
        """See `services.payout_resolve`."""
        return await resolve(self, payout_id, outcome, by, why)

    async def release(self, by: str, why: str) -> None:
        """A person has looked at a quarantined signer."""
        await self._sender.release(by, why)
        self.health.ok(Quarantined.code)

    async def payout(self, unit: Ledger, payout_id: str) -> Payout:
        payout = await unit.payout(payout_id)
        if payout is None:
            raise UnknownPayout(f"there is no payout {payout_id[:80]}.")
        return payout

    def known(self, subject: str) -> dict[str, Any]:
        return {"subject": subject, "at_ms": self.clock.now_ms(), "source": self.name}

    async def _tell(self, unit: Ledger, payout: Payout, fact: ev.Event) -> Payout:
        changed = apply(payout, fact)
        await unit.record(fact)
        await unit.put_payout(changed)
        return changed

    # --- The rounds ---

    async def run(self) -> None:
        """Pay what was accepted. Until cancelled."""
        await self.loop.rounds(self.name, self.tick, self.rules.poll_s)

    async def tick(self) -> None:
        """One round: look after slots, judge what is final, sign what is next, reconcile.

        Where several processes share the work all sign, and one looks after what all have sent. Two
        that believe to be this one do no harm: slots move from where they were, holds end once.
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
            self.health.set("reorg", self.returned.told())

    async def _look_after(self) -> None:
        async with self.store.unit() as unit:
            count = await unit.count_nonces()
            # Others have announced theirs to their own signers; an earlier life of ours, too.
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
        self.health.set("fees", "; ".join(self._sender.capped()[:TOLD]) if count else "")

    async def _judge(self) -> None:
        """Those whose nonce is used in a final block come to their end."""
        async with self.store.unit() as unit:
            final = await unit.final_payouts(self.rules.chain_id, self.payments.address)
        for first in range(0, len(final), JUDGED):
            await self._judge_some(final[first : first + JUDGED])
        self.health.keep("payout_mismatched", {payout.id for payout, _ in final})

    async def _judge_some(self, cases: Sequence[tuple[Payout, Slot]]) -> None:
        verdicts = self.sure.sure(cases, await self._verdicts(cases))
        async with self.store.unit() as unit:
            ends = []
            for (payout, _), verdict in zip(cases, verdicts, strict=True):
                now = await self.payout(unit, payout.id)
                step = next_step(now, may_sign=False, slot_is_final=True)
                if step is PayoutStep.JUDGE and verdict.outcome in DECIDED:
                    ends.append((now, verdict))
            await self._end_all(unit, ends)
        for (payout, slot), verdict in zip(cases, verdicts, strict=True):
            if verdict.outcome is PayoutOutcome.WRONG:
                await self._stop_for(payout, slot, verdict)
            elif verdict.outcome in DECIDED:
                self.payments.revoke_signing(payout)

    async def _stop_for(self, payout: Payout, slot: Slot, verdict: PayoutVerdict) -> None:
        """A payout whose transaction moved something else stops the signer, once: what a person
        has released stays released."""
        text = f"payout {payout.id}: {verdict.reason} ({verdict.tx})"
        self.health.fails("payout_mismatched", text, payout.id)
        async with self.store.unit() as unit:
            standing = await unit.standing(payout.id)
            if any(isinstance(fact, ev.PayoutMismatched) for fact in standing):
                return
        await self._sender.stop(slot.nonce, text)
        known = self.known(payout.id) | {"block": verdict.block, "tx": verdict.tx}
        async with self.store.unit() as unit:
            moved = verdict.moved or 0
            await unit.record(ev.PayoutMismatched(**known, reason=verdict.reason, moved=moved))

    async def _verdicts(self, cases: Sequence[tuple[Payout, Slot]]) -> Sequence[PayoutVerdict]:
        """One for each; what cannot be judged waits, and keeps nobody else from it."""
        try:
            return await self.payments.judge(cases)
        except Exception as why:
            is_one = len(cases) == 1
            if not self.loop.contains(cases[0][0].id if is_one else "verdicts", why):
                raise
            if is_one:
                return [PayoutVerdict(PayoutOutcome.WAIT)]
        return [verdict for case in cases for verdict in await self._verdicts([case])]

    async def end(self, unit: Ledger, payout: Payout, verdict: PayoutVerdict) -> Payout:
        """The payout's last fact, with all that it moves, in one transaction."""
        (ended,) = await self._end_all(unit, [(payout, verdict)])
        return ended

    async def _end_all(
        self, unit: Ledger, ends: Sequence[tuple[Payout, PayoutVerdict]]
    ) -> Sequence[Payout]:
        """`_end` for each."""
        if not ends:
            return []
        lines: list[LedgerTransfer] = []
        facts = [self._last_fact(payout, verdict) for payout, verdict in ends]
        for payout, verdict in ends:
            lines += accounts.ending(self.payments, payout, verdict, self.clock.now_ms())
        ended = [apply(payout, fact) for (payout, _), fact in zip(ends, facts, strict=True)]
        await unit.transfer_all(lines)
        await unit.record_all(facts)
        moves = [(payout, now) for (payout, _), now in zip(ends, ended, strict=True)]
        await unit.move_payouts(moves)
        return ended

    def _last_fact(self, payout: Payout, verdict: PayoutVerdict) -> ev.Event:
        known = self.known(payout.id) | {"block": verdict.block}
        known |= {"tx": verdict.tx, "gas_wei": verdict.gas_wei}
        if verdict.outcome is PayoutOutcome.PAID:
            return ev.PayoutPaid(**known, units=payout.units)
        if verdict.outcome is PayoutOutcome.CANCELLED:
            return ev.PayoutCancelled(**known, reason=verdict.reason)
        return ev.PayoutRefunded(**known, reason=verdict.reason)

    async def _sign_next(self) -> None:
        """New nonces, oldest payout first, as far as they may be open together."""
        now = self.clock.now_ms()
        waiting: Sequence[Payout] = ()
        async with self.store.beside() as unit:
            standing = await unit.signer(self.rules.chain_id, self.payments.address)
            reason = standing.quarantine if standing else ""
            taken = -(-await unit.count_taken(now) // self.batches.most)
            free = await self.free_nonces(unit) - taken
            if free > 0 and not reason:
                most = free * self.batches.most
                waiting = await unit.take_payouts(now, now + TAKEN_MS, most)
            for payout_id in list(self.stuck):
                if (await self.payout(unit, payout_id)).state is not PayoutState.APPROVED:
                    self.stuck.pop(payout_id)
        self.health.set(Quarantined.code, reason or self._sender.suspicion())
        if reason:
            return
        if not self.stuck:
            self.health.clear("wallet_short")
        for name in ("token_refused", "payout_stuck", PayoutAltered.code, Quarantined.code):
            self.health.keep(name, self.stuck)
        if waiting:
            await self._sign(waiting, free)

    def differences(self, signed: Payout, row: Payout, facts: Sequence[ev.Event]) -> Sequence[str]:
        """The fields in which a payout's row is not what its facts say, or what is about to be
        signed, and was read before, is not the row."""
        changed = [name for name in REQUESTED if getattr(signed, name) != getattr(row, name)]
        return altered(row, facts) or changed

    async def free_nonces(self, unit: Ledger) -> int:
        """How many transactions more may be unmined: public nodes keep 16 of an account."""
        unmined = await unit.count_unmined(self.rules.chain_id, self.payments.address)
        return self.rules.in_flight - unmined

    async def _sign(self, waiting: Sequence[Payout], free: int) -> None:
        """What cannot be signed now is given back: soon to all, or later if the chain says no."""
        soon, later = {payout.id for payout in waiting}, set[str]()
        try:
            async for payout, why in self._answers(waiting, free):
                if isinstance(why, StateMoved):
                    continue  # Taken back in the meantime, or one nonce too many.
                soon.discard(payout.id)
                if why is None:
                    self.signed += 1
                    self.stuck.pop(payout.id, None)
                    self.health.clear("wallet_short")
                    self.health.clear_all("token_refused")
                else:
                    if isinstance(why, PayoutAltered | SigningRefused):
                        await self._sender.stop(0, str(why))
                    self._not_signed(payout, why)
                    # A first reading is soon confirmed or refuted; then the signer goes on, or not.
                    (soon if isinstance(why, Quarantined) else later).add(payout.id)
        except Exception:
            await self._give_back(soon, later)
            raise
        await self._give_back(soon, later)
        if not self.has_lease or self.store.is_shared:
            for payout in waiting:
                self.payments.revoke_signing(payout)

    async def _give_back(self, soon: set[str], later: set[str]) -> None:
        if soon or later:
            async with self.store.beside() as unit:
                await unit.give_back(sorted(soon), 0)
                await unit.give_back(sorted(later), self.clock.now_ms() + RETRY_MS)

    async def _answers(
        self, waiting: Sequence[Payout], free: int
    ) -> AsyncIterator[tuple[Payout, WorkbenchError | None]]:
        """Payouts, and why they could not be signed. `free`: so many nonces for all."""
        fits: list[Payout] = []
        left = (await self.payments.wallet(final=False)).asset
        for payout in waiting:
            left -= payout.units
            if left < 0:
                text = f"the wallet cannot pay {self._shown(payout.units)}: send it some."
                yield payout, InsufficientFunds(text)
            else:
                fits.append(payout)
        try:
            groups, alone = await self.batches.together(fits)
        except (RpcUnreachable, RpcFault, StoreError):
            raise
        except WorkbenchError as why:
            for payout in fits:
                yield payout, why
            return
        for payout in alone[: max(0, free - len(groups))]:
            try:
                call = await self.payments.call(payout)
            except (RpcUnreachable, RpcLimited, StoreError):
                raise
            except WorkbenchError as why:
                yield payout, why
            except Exception as why:
                if not self.loop.contains(payout.id, why):
                    raise
                yield payout, WorkbenchError(brief(why))
            else:
                groups.append(PayoutGroup((payout,), call))
        turn = SigningBatch(self, groups)
        acts = [TransactionIntent(each.subject, each.call, within=turn) for each in groups]
        told = await self._sender.submit_many(acts) if acts else []
        for group, answer in zip(groups, told, strict=True):
            for payout in group.payouts:
                yield payout, answer if isinstance(answer, WorkbenchError) else None

    def _not_signed(self, payout: Payout, why: WorkbenchError) -> None:
        """It waits, and holds up nobody else; the wallet's and the signer's troubles are alarms."""
        if isinstance(why, SignerShort | InsufficientFunds | InsufficientAllowance):
            self.health.fails("wallet_short", f"the wallet cannot pay: {why}")
        elif isinstance(why, PayoutAltered):
            self.health.fails(PayoutAltered.code, why.message, payout.id)
        elif isinstance(why, Quarantined | SigningRefused):
            self.health.fails(Quarantined.code, str(why), payout.id)
        else:
            name = "token_refused" if isinstance(why, TokenRefused | Reverted) else "payout_stuck"
            self.health.fails(name, f"{payout.id} waits: {why}", payout.id)
        self.stuck[payout.id] = str(why)

    def sent_facts(self, group: PayoutGroup, place: int, slot: Slot) -> list[ev.Event]:
        """Of the group's payout at that place, which the slot is to pay."""
        known = self.known(group.payouts[place].id)
        own: dict[str, Any] = {"signer": slot.signer, "nonce": slot.nonce, "tx": slot.tx}
        sent = ev.PayoutSent(**known, **own)
        return (
            [ev.PayoutBatched(**known, batch=group.batch, place=place), sent]
            if group.batch
            else [sent]
        )

    # --- For those who run it ---

    async def look_at_node(self, state: NodeState) -> None:
        """Report whether the wallet will last, and how long the oldest open payout has waited."""
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

    # --- Showing ---

    def view(self, payout: Payout) -> dict[str, Any]:
        """A payout as JSON has it. `units` is text: it may be larger than a JSON reader knows."""
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
        """Credits in the asset, as people read it."""
        return self._shown(credits_ * self.rules.units_per_credit)

    def _shown(self, units: int) -> str:
        return f"{format_units(units, self.payments.decimals)} {self.payments.symbol}"

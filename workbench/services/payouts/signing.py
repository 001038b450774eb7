"""Signing: reserve nonces for approved payouts, oldest first, and mark them as sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    InsufficientAllowance,
    InsufficientFunds,
    PayoutAltered,
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
    WorkbenchError,
)
from workbench.core.payout import (
    REQUESTED,
    Payout,
    PayoutState,
    altered,
    apply,
)
from workbench.core.ports import (
    Ledger,
    Slot,
    TransactionIntent,
)
from workbench.services.common.health import brief
from workbench.services.payouts.batches import PayoutGroup
from workbench.services.payouts.service import PayoutService

RETRY_MS = 15_000
"""Time after which a payout that the chain refuses is tried again."""
TAKEN_MS = 15_000
"""Time for which a process may prepare a payout before another takes it. Only one can sign it."""
CORRECT = "Run `workbench ledger verify`; correct the row, or take the payout back with :cancel."


class SigningBatch:
    """The hook of one signing (`core.ports.SlotTransactionHook`): in the transaction that stores
    the slots, all payouts of the groups are marked as sent."""

    def __init__(self, payouts: PayoutSigning, groups: Sequence[PayoutGroup]) -> None:
        self._payouts = payouts
        self._groups = {group.subject: group for group in groups}
        self._now: dict[str, Payout] = {}

    async def refused(
        self, unit: Ledger, acts: Sequence[TransactionIntent]
    ) -> dict[tuple[str, str, int], WorkbenchError]:
        """Return the groups that cannot be signed now: a payout has moved or differs from the
        journal, or other processes have taken the last free nonce.

        The limit of unmined transactions counts over all processes.
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
        """Return the id and the fields of a payout that differs from the journal, or ""."""
        for signed in some:
            row = self._now[signed.id]
            if fields := self._payouts.differences(signed, row, facts[row.id]):
                return f"payout {row.id} differs from the journal in {', '.join(fields)}."
        return ""

    async def mark(self, unit: Ledger, slots: Sequence[Slot]) -> None:
        """Store that the payouts of these slots are sent."""
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


class PayoutSigning(PayoutService):
    """Sign approved payouts."""

    async def _sign_next(self) -> None:
        """Sign approved payouts, oldest first, up to the number of free nonces."""
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
        """Return the fields in which a row differs from its facts, or from the payout that is to be
        signed."""
        changed = [name for name in REQUESTED if getattr(signed, name) != getattr(row, name)]
        return altered(row, facts) or changed

    async def _sign(self, waiting: Sequence[Payout], free: int) -> None:
        """Sign payouts and release those that could not be signed: at once, or later after a
        refusal."""
        soon, later = {payout.id for payout in waiting}, set[str]()
        try:
            async for payout, why in self._answers(waiting, free):
                if isinstance(why, StateMoved):
                    continue  # Cancelled meanwhile, or no nonce is free.
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
                    # A second reading soon confirms or refutes a first one.
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
        """Yield each payout with the error that stopped its signing, or None. `free`: free
        nonces."""
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
        """Report a payout that was not signed. It waits and does not delay others."""
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
        """Return the facts of the group's payout at this place, which the slot pays."""
        known = self.known(group.payouts[place].id)
        own: dict[str, Any] = {"signer": slot.signer, "nonce": slot.nonce, "tx": slot.tx}
        sent = ev.PayoutSent(**known, **own)
        return (
            [ev.PayoutBatched(**known, batch=group.batch, place=place), sent]
            if group.batch
            else [sent]
        )

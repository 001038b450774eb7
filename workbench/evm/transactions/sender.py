"""One sender for all: nonce slots, then attempts, stored before they are sent (agreement 3).

Sign, store, send; an outcome that is unknown is answered by sending the same bytes again, never by
taking another nonce. What was mined is watched until it is final.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeGuard, TypeVar

from workbench.core import facts as ev
from workbench.core.confirmed_readings import ConfirmedReadings
from workbench.core.errors import (
    NonceTaken,
    Quarantined,
    RpcFault,
    RpcUnanswered,
    RpcUnreachable,
    StateMoved,
    StoreError,
    TransactionTimeout,
    WorkbenchError,
)
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import (
    OPEN_SLOTS,
    Attempt,
    CheckReports,
    Clock,
    ContractCall,
    NoReports,
    Signer,
    Slot,
    SlotState,
    SlotTransactionHook,
    Store,
    StoreTransaction,
    TransactionIntent,
)
from workbench.core.records import replace
from workbench.evm.codec.abi import hex_bytes
from workbench.evm.codec.receipts import Inclusion
from workbench.evm.rpc.client import SEND, PendingAnswers, Rpc
from workbench.evm.transactions.fee_bumps import FeeBumps
from workbench.evm.transactions.inclusion import InclusionReader, NonceView
from workbench.evm.transactions.simulation import MAX_FEE_WEI, Simulation, SimulationBatch, base_fee
from workbench.evm.transactions.slots import SharedNonces, SlotMove, SlotStore

RESEND_MS = 5_000
LOOK_MS = 1_000
"""Without a new block, transactions are looked after so often."""
POLL_S = 0.25
ALREADY_THERE = ("already known", "already imported", "nonce too low")
TOO_CHEAP = ("underpriced", "less than block base fee", "fee cap")
BUMP = (9, 8)
"""A replacement pays at least 12.5 % more: pools want 10 % on both fees."""
MAX_ATTEMPTS = 8
PART = 128
"""So many acts are signed, stored and sent together: each part costs a commit and three questions,
and nobody else is served while one is signed (40 ms)."""
FIRST_PART = 8
"""But so many at first, then twice as many: while a part is tried, we sign the one before."""
CANCELS = 3
"""How often a cancelled slot may be moved by others before we give up."""
FILL = "fill"
"""The act that uses up a nonce nobody else will use."""

AddedSlots = dict[tuple[str, str, int], Slot | WorkbenchError]
"""What became of acts, by their keys."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class PendingSubmit:
    """An act that somebody waits for: `answers` has its tx hash or its error, once there is one."""

    act: TransactionIntent
    answers: list[str | WorkbenchError] = field(default_factory=list)


class SlotSender:
    """The slots of one signer in one service's store. See `core.ports.Sender`.

    `gather_s`: acts that are asked for alone are begun no oftener than that, all that wait at once;
    who comes after a pause does not wait.
    """

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        store: Store,
        clock: Clock,
        *,
        chain_id: int,
        source: str,
        finality: FinalityPolicy,
        nonces: SharedNonces | None = None,
        gather_s: float = 0.0,
        bump_after_s: float | None = None,
        is_thrifty: bool = False,
        reports: CheckReports | None = None,
    ) -> None:
        self._nonces, self._reports = nonces or SharedNonces(), reports or NoReports()
        self._rpc, self._signer, self._store, self._clock = rpc, signer, store, clock
        self._chain_id, self._source, self._finality = chain_id, source, finality
        self._gather_s = gather_s
        self._book = SlotStore(store, clock, source=source, nonces=self._nonces)
        self._trial = Simulation(rpc, clock, chain_id=chain_id, payer=signer.address, source=source)
        known: dict[str, Any] = {"address": signer.address, "finality": finality}
        self._outcomes = InclusionReader(rpc, clock, is_thrifty=is_thrifty, **known)
        self._waits, self._readings = FeeBumps(clock, bump_after_s), ConfirmedReadings()
        self._submitting, self._pumping = asyncio.Lock(), asyncio.Lock()
        self._waiting: list[PendingSubmit] = []
        self._unheard: list[tuple[Sequence[Slot], PendingAnswers]] = []
        self._pumped_ms = self._seen_ms = self._began_ms = 0
        self._seen: str | None = None
        self.address = signer.address

    # --- Submitting ---

    async def submit(self, subject: str, call: ContractCall, attempt: int = 1) -> str:
        """See `core.ports.Sender.submit`. `attempt` above 1: the earlier ones have failed."""
        (answer,) = await self.submit_many([TransactionIntent(subject, call, attempt)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    async def submit_many(self, acts: Sequence[TransactionIntent]) -> list[str | WorkbenchError]:
        """See `core.ports.Sender.submit_many`.

        What is asked for while others are at work is done together, in one go.
        """
        asked = [PendingSubmit(act) for act in acts]
        self._waiting += asked
        try:
            if len(acts) == 1:  # Those who ask at this very moment come along.
                since_s = (self._clock.now_ms() - self._began_ms) / 1000
                wait_s = self._gather_s - since_s if since_s >= 0 else 0  # It may be put back.
                await (self._clock.sleep(wait_s) if wait_s > 0 else asyncio.sleep(0))
            async with self._submitting:
                if not all(each.answers for each in asked):
                    batch, self._waiting = self._waiting, []
                    self._began_ms = self._clock.now_ms()
                    try:
                        await self._submit_all(batch)
                    finally:  # What was not done is taken up by whoever is next.
                        self._waiting = [e for e in batch if not e.answers] + self._waiting
        except BaseException:
            self._waiting = [each for each in self._waiting if each not in asked]
            raise
        return [each.answers[0] for each in asked]

    async def _submit_all(self, batch: list[PendingSubmit]) -> None:
        by_key: dict[tuple[str, str, int], list[PendingSubmit]] = {}
        for each in batch:
            by_key.setdefault(each.act.key, []).append(each)
        async with self._store.unit() as unit:
            known = {k: await unit.slot(self._chain_id, self.address, k) for k in by_key}
        fresh = [asked[0].act for key, asked in by_key.items() if known[key] is None]
        await self._send_all([s for s in known.values() if s is not None and _is_unsent(s)])
        for key, slot in known.items():
            if slot is not None:
                await self._answer(by_key[key], slot)
        await self._try_all(fresh, by_key)

    async def _try_all(
        self, acts: list[TransactionIntent], by_key: dict[tuple[str, str, int], list[PendingSubmit]]
    ) -> None:
        """Part after part: the node takes one in and tries the next while we sign and store one.

        Of a part nothing is sent before all of the part before it was: nonces arrive in order.
        """
        parts = _in_parts(acts)
        trials = await self._trial.ask([[act.call for act in part] for part in parts])
        before: list[AddedSlots] = []
        for part, trial in zip(parts, trials, strict=True):
            sending = [self._sent(slots, by_key) for slots in before]
            before = [await _beside(sending, self._tried(part, trial))]
        for slots in before:
            await self._sent(slots, by_key)

    async def _tried(self, part: Sequence[TransactionIntent], trial: SimulationBatch) -> AddedSlots:
        return await self._take_slots(part, await self._trial.judged(trial))

    async def _sent(
        self, slots: AddedSlots, by_key: dict[tuple[str, str, int], list[PendingSubmit]]
    ) -> None:
        await self._send_all([slot for slot in slots.values() if _is_unsent(slot)])
        for key, found in slots.items():
            await self._answer(by_key[key], found)

    async def _answer(self, asked: list[PendingSubmit], slot: Slot | WorkbenchError) -> None:
        if isinstance(slot, Slot) and _is_over(slot):
            await self._look_again(slot)
        for each in asked:
            each.answers.append(slot if isinstance(slot, WorkbenchError) else slot.tx)

    async def _take_slots(
        self, acts: Sequence[TransactionIntent], priced: Sequence[dict[str, Any] | WorkbenchError]
    ) -> AddedSlots:
        """Sign and store, all at once, what the node's simulation lets pass."""
        found: AddedSlots = {}
        if all(isinstance(fields, WorkbenchError) for fields in priced):
            return {a.key: f for a, f in zip(acts, priced, strict=True) if not isinstance(f, dict)}
        on_chain = await self._on_chain()
        try:
            async with self._store.unit() as unit:
                nonce = await self._choose(unit, on_chain)
                passed = [a for a, f in zip(acts, priced, strict=True) if isinstance(f, dict)]
                refused = {} if nonce is None else await _refused(unit, passed)
                for act, fields in zip(acts, priced, strict=True):
                    if isinstance(fields, WorkbenchError):
                        found[act.key] = fields
                    elif nonce is None:
                        found[act.key] = self._still()
                    elif act.key in refused:
                        found[act.key] = refused[act.key]
                    else:
                        found[act.key] = await self._signed(nonce, fields, act)
                        nonce += 1
                await _mark(unit, acts, found)
                await self._book.take(unit, [s for s in found.values() if isinstance(s, Slot)])
        except StoreError:
            # Another process with our key and our store may have signed these very acts meanwhile.
            if not await self._others_took(found, [a.key for a in acts]):
                raise
        return found

    async def _others_took(self, found: AddedSlots, keys: list[tuple[str, str, int]]) -> bool:
        """Fill `found` with slots that we did not take; False where one is missing."""
        async with self._store.unit() as unit:
            for key in keys:
                if isinstance(found.get(key), WorkbenchError):
                    continue
                slot = await unit.slot(self._chain_id, self.address, key)
                if slot is None:
                    return False
                found[key] = slot
        return True

    async def _signed(self, nonce: int, fields: dict[str, Any], act: TransactionIntent) -> Slot:
        raw, tx = self._signer.sign_transaction({**fields, "nonce": nonce})
        return Slot(
            chain_id=self._chain_id,
            signer=self.address,
            nonce=nonce,
            subject=act.subject,
            act=act.call.act,
            attempt=act.attempt,
            state=SlotState.SIGNED,
            attempts=(Attempt(tx, raw),),
        )

    async def check(self) -> None:
        """Raise Quarantined if the chain and our database do not agree whose nonces were used."""
        on_chain = await self._on_chain()
        async with self._store.unit() as unit:
            nonce = await self._choose(unit, on_chain)
        if nonce is None:
            raise self._still()

    async def _on_chain(self) -> int:
        """The chain's next nonce. Read twice where a new key's first nonce follows from it."""
        told = await self._outcomes.nonce("latest")
        if self._nonces.is_new and await self._outcomes.nonce("latest") != told:
            raise RpcFault("the node has told two counts of our transactions, one after the other.")
        return told

    async def _choose(self, unit: StoreTransaction, on_chain: int) -> int | None:
        counted = await unit.next_nonce(self._chain_id, self.address)
        return await self._nonces.choose(unit, on_chain, counted)

    def suspicion(self) -> str:
        """See `core.ports.PayoutSender.suspicion`."""
        return self._nonces.suspicion()

    def _still(self) -> Quarantined:
        if suspicion := self.suspicion():
            return Quarantined(suspicion)
        return Quarantined(
            f"the signer {self.address} stands still: the chain has used nonces of it that our "
            "database does not know, or a person must look at it.",
            hint="See SignerQuarantined among the events. Without one a second reading follows.",
        )

    async def stop(self, nonce: int, reason: str) -> None:
        """See `core.ports.PayoutSender.stop`."""
        async with self._store.unit() as unit:
            await self._nonces.stop(unit, nonce, reason)

    async def release(self, by: str, why: str) -> None:
        """See `core.ports.PayoutSender.release`."""
        on_chain = await self._outcomes.nonce("latest")
        if await self._outcomes.nonce("latest") != on_chain:
            raise RpcFault("the node has told two counts of our transactions, one after the other.")
        async with self._store.unit() as unit:
            await self._nonces.release(unit, on_chain, by, why)

    def capped(self) -> list[str]:
        """See `core.ports.PayoutSender.capped`."""
        return self._waits.capped()

    async def cancel(self, subject: str, act: str, attempt: int = 1) -> str:
        """Put a transfer of nothing into the slot: whichever bytes are mined decide. Its hash.

        Raises StateMoved where it is too late for that, or there is no such slot.
        """
        nothing = {"to": bytes(hex_bytes(self.address)), "value": 0, "data": b"", "gas": 21_000}
        for _ in range(CANCELS):
            async with self._store.unit() as unit:
                slot = await unit.slot(self._chain_id, self.address, (subject, act, attempt))
            if slot is None or slot.state not in (SlotState.SIGNED, SlotState.SENT):
                break
            # None where somebody else (who looks after it, say) has moved it meanwhile.
            dearer = await self._bump(slot, nothing)
            if dearer is not None:
                await self._send(dearer)
                return dearer.attempts[-1].tx
        raise StateMoved(f"the {act} transaction of {subject} cannot be taken back any more.")

    # --- Sending ---

    async def _send(self, slot: Slot) -> None:
        await self._send_all([slot])

    async def _send_all(self, slots: Sequence[Slot]) -> None:
        """Hand the newest attempts to the node. Unknown outcomes are left to `pump`."""
        if not slots:
            return
        now = self._clock.now_ms()
        asked = self._rpc.ask([(SEND, slot.attempts[-1].raw) for slot in slots])
        if asked.begun:
            self._unheard.append((slots, asked))
        answers = [slot.tx for slot in slots] if asked.begun else await asked
        moves: list[SlotMove] = []
        for slot, answer in zip(slots, answers, strict=True):
            sent = replace(slot, state=SlotState.SENT, sent_ms=now)
            if isinstance(answer, RpcUnreachable | RpcUnanswered):
                continue
            if isinstance(answer, str) and answer.lower() != slot.attempts[-1].tx:
                continue  # That is another transaction: nobody knows what became of ours.
            if isinstance(answer, WorkbenchError):
                if await self._raised(slot, answer):
                    continue
                if not self._is_there(slot, answer):
                    sent = replace(sent, state=slot.state)
            is_new = sent.state is not slot.state
            if is_new:
                self._reports.ok("sends_refused")
            facts = [self._book.about(slot, ev.TransactionSent)] if is_new else []
            moves.append((slot, sent, facts))
        await self._book.move_all(moves)

    async def _raised(self, slot: Slot, refusal: WorkbenchError) -> bool:
        """Whether it was refused as too cheap, and is on its way at the market's price."""
        if any(cheap in refusal.message.lower() for cheap in TOO_CHEAP):
            dearer = await self._bump(slot)
            if dearer is not None:
                await self._send(dearer)
                return True
        return False

    def _is_there(self, slot: Slot, refusal: WorkbenchError) -> bool:
        """Whether it was refused because the node has it; else it waits, and is sent again."""
        if any(known in refusal.message.lower() for known in ALREADY_THERE):
            return True
        text = f"{slot.act} of {slot.subject} waits: {refusal.message}"
        self._reports.fails("sends_refused", text)
        return False

    async def _hear(self) -> None:
        """What a node of ours has said meanwhile about what it was sent."""
        heard = [each for each in self._unheard if each[1].known]
        self._unheard = [each for each in self._unheard if not each[1].known]
        for slots, asked in heard:
            for slot, answer in zip(slots, asked.results, strict=True):
                unknown = isinstance(answer, RpcUnreachable | RpcUnanswered)
                if unknown or not isinstance(answer, WorkbenchError):
                    continue  # It is there; or nobody knows, and it is sent again in time.
                async with self._store.unit() as unit:
                    key = (slot.subject, slot.act, slot.attempt)
                    now = await unit.slot(self._chain_id, self.address, key)
                is_same = now is not None and now.attempts == slot.attempts
                if now is None or not is_same or now.state is not SlotState.SENT:
                    continue
                if not await self._raised(now, answer):
                    self._is_there(now, answer)

    async def _bump(self, slot: Slot, instead: dict[str, Any] | None = None) -> Slot | None:
        """A new attempt of the same slot at the market's price, stored. None at the cap.

        `instead`: other content than that of the attempt before.
        """
        fields = _fields_of(slot.attempts[-1].raw)
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        tip = max(_bumped(fields["maxPriorityFeePerGas"]), await self._trial.tip())
        fee = max(_bumped(fields["maxFeePerGas"]), 2 * base_fee(block) + tip)
        if fee > MAX_FEE_WEI or len(slot.attempts) >= MAX_ATTEMPTS:
            self._waits.cap(slot)
            return None
        fields |= {"maxFeePerGas": fee, "maxPriorityFeePerGas": tip, **(instead or {})}
        raw, tx = self._signer.sign_transaction(fields)
        attempts = (*slot.attempts, Attempt(tx, raw))
        dearer = replace(slot, state=SlotState.SIGNED, attempts=attempts, sent_ms=0)
        known = self._book.fact(slot.subject, slot.act)
        fact = ev.TransactionReplaced(**known, tx=tx, old_tx=slot.attempts[-1].tx)
        return await self._book.move(slot, dearer, fact)

    # --- Looking after what was submitted ---

    async def pump(self) -> None:
        """See `core.ports.Sender.pump`. An error of the node loses nothing."""
        async with self._pumping:
            self._pumped_ms = self._clock.now_ms()
            await self._hear()
            async with self._store.unit() as unit:
                slots = await unit.slots(self._chain_id, self.address, *OPEN_SLOTS)
            self._waits.keep(slots)
            if not slots:
                return
            view = await self._outcomes.look()
            just_now = self._pumped_ms - self._seen_ms < LOOK_MS
            if just_now and view.hash == self._seen and not any(map(_is_unsent, slots)):
                return  # Of the same block nothing more is to be learned.
            # What is not answered yet is in no block: see `Rpc.ask`.
            unheard = {slot.nonce for some, _ in self._unheard for slot in some}
            await self._look_after([slot for slot in slots if slot.nonce not in unheard], view)
            self._seen, self._seen_ms = None if view.is_inconsistent else view.hash, self._pumped_ms
            if view.nonce is None or view.nonce >= slots[0].nonce:
                self._readings.forget("gap")
            else:
                await self._close_gap(view, slots[0])

    async def _pump_at_news(self) -> None:
        """`pump`, unless no block came since the last time and nothing can be due."""
        self._pumped_ms = self._clock.now_ms()  # However many wait, one looks.
        recent = self._pumped_ms - self._seen_ms < RESEND_MS
        if not recent or (await self._outcomes.look()).hash != self._seen:
            await self.pump()

    async def _look_after(self, slots: Sequence[Slot], view: NonceView) -> None:
        """Those that were mined together, in two units: what was mined, then what is final."""
        landings = await self._outcomes.news(slots, view)
        there: list[Slot] = []
        moves: list[SlotMove] = []
        faults: list[Exception] = []
        for slot, landing in zip(slots, landings, strict=True):
            try:
                move = await self._look_at(slot, landing, view)
            except Exception as why:
                if isinstance(why, WorkbenchError) and why.transient:
                    raise
                faults.append(why)  # Of this slot alone: the others are looked after first.
                continue
            if isinstance(move, Slot):
                there.append(move)
            elif move is not None:
                moves.append(move)
        there += [slot for slot in await self._book.move_all(moves) if slot is not None]
        final: list[SlotMove] = []
        for slot in there:
            if slot.block and self._finality.reached(slot.block.number, view.head):
                fact = self._book.about(slot, ev.TransactionFinalized, block=slot.block)
                final.append((slot, replace(slot, state=SlotState.FINAL), [fact]))
        await self._book.move_all(final)
        if faults:
            raise faults[0]

    async def _look_at(
        self, slot: Slot, landing: Inclusion | None, view: NonceView
    ) -> Slot | SlotMove | None:
        """The slot where it stands as it did, how it moves, or None where nothing can be said."""
        if landing is None:
            await self._missing(slot, view)
            return None
        at_ms = await self._outcomes.time_of(landing, view)
        if at_ms is None:
            return None  # Two nodes behind one URL, or a reorg at this moment: ask again.
        if slot.state is SlotState.MINED and slot.block == landing.block:
            return slot
        return await self._mined_move(slot, landing, at_ms)

    async def _look_again(self, slot: Slot) -> None:
        """An act that was done is asked for again: the chain, or the journal, has it no more.

        A reorg deeper than finality may take it back; and a block that left and came back left
        the fact of a revert behind.
        """
        async with self._pumping:
            view, (landing,) = await self._outcomes.look(), await self._outcomes.landings([slot])
            if landing is None:
                return await self._missing(slot, view)
            at_ms = await self._outcomes.time_of(landing, view)
            if at_ms is not None:
                await self._book.move_all([await self._mined_move(slot, landing, at_ms)])

    async def left_chain(self, slots: Sequence[Slot]) -> list[Slot]:
        """See `core.ports.PayoutSender.left_chain`. A block that is not there proves nothing."""
        hashes = await self._outcomes.hashes([s.block.number for s in slots if s.block])
        gone = []
        for slot in slots:
            known = hashes.get(slot.block.number) if slot.block else None
            if slot.block and known not in (None, slot.block.hash):
                gone.append(slot)
        return gone

    async def reopen(self, slot: Slot, *, pays: bool) -> None:
        """See `core.ports.PayoutSender.reopen`."""
        async with self._pumping:
            view, (landing,) = await self._outcomes.look(), await self._outcomes.landings([slot])
            if landing is not None:
                at_ms = await self._outcomes.time_of(landing, view)
                if at_ms is not None:
                    await self._book.move_all([await self._mined_move(slot, landing, at_ms)])
                return
            back = replace(slot, state=SlotState.SENT, ok=True, block=None, sent_ms=0)
            moved = await self._book.move(slot, back)
        if moved is not None and pays:
            await self._send(moved)
        elif moved is not None:
            await self.cancel(slot.subject, slot.act, slot.attempt)

    async def _missing(self, slot: Slot, view: NonceView) -> None:
        """No receipt: sent but waiting, dropped, taken back by a reorg, or its nonce is taken."""
        if view.nonce is None:
            view.nonce = await self._outcomes.nonce("latest")
        view.is_inconsistent = view.is_inconsistent or view.nonce > slot.nonce
        if view.nonce > slot.nonce and await self._outcomes.is_taken(slot, view):
            lost = replace(slot, state=SlotState.LOST, ok=False, block=None)
            text = f"nonce {slot.nonce} of {self.address} was used by another transaction."
            await self._book.move(slot, lost, self._book.failed(lost, NonceTaken(text)))
            return
        if slot.block is not None:
            seen = await self._outcomes.block_at(slot.block.number, view)
            if slot.state is SlotState.FINAL and (seen is None or seen[0] == slot.block.hash):
                return  # The node lags, or has forgotten old receipts: final is final.
            # Mined once, and not any more: its bytes are as good as on the first day.
            back = replace(slot, state=SlotState.SENT, ok=True, block=None, sent_ms=0)
            moved = await self._book.move(slot, back)
            if moved is not None:
                await self._send(moved)
            return
        overdue = self._waits.is_overdue(slot, view)
        if slot.sent_ms and self._clock.now_ms() - slot.sent_ms < RESEND_MS and not overdue:
            return
        cheap = _fields_of(slot.attempts[-1].raw)["maxFeePerGas"] < view.base_fee
        await self._send((await self._bump(slot) if cheap or overdue else None) or slot)

    async def _close_gap(self, view: NonceView, lowest: Slot) -> None:
        """The chain waits for a nonce that no open slot has: those above it would wait for ever.

        A reorg deeper than finality took back what was final: it is sent again. Or it dropped a
        foreign transaction, after which we had counted: a transfer of nothing takes its place.
        """
        assert view.nonce is not None
        if self._clock.now_ms() - lowest.sent_ms < RESEND_MS or not lowest.sent_ms:
            return
        gap = (view.nonce, lowest.nonce)
        if not self._readings.confirms("gap", gap, self._clock.now_ms()):
            return
        async with self._store.unit() as unit:  # All: one may have been opened again by others.
            slots = await unit.slots_from(self._chain_id, self.address, view.nonce)
        known = {slot.nonce: slot for slot in slots}
        for nonce in range(view.nonce, lowest.nonce):
            if nonce not in known:
                await self._fill(nonce)
            elif known[nonce].state is SlotState.FINAL:
                await self._look_after([known[nonce]], view)

    async def _fill(self, nonce: int) -> None:
        act = TransactionIntent("", ContractCall(FILL, self.address, b""), nonce)
        (fields,) = await self._trial.priced([act.call])
        if isinstance(fields, WorkbenchError):
            raise fields
        async with self._store.unit() as unit:
            if not await self._nonces.fills(unit, nonce):
                return
            slot = await self._signed(nonce, fields, act)
            await self._book.take(unit, [slot])
        await self._send(slot)

    async def _mined_move(self, slot: Slot, landing: Inclusion, at_ms: int) -> SlotMove:
        """The slot as mined where it has landed, and the facts of it."""
        block, ok = landing.block, landing.ok
        state = slot.state if slot.block == block else SlotState.MINED
        mined = replace(slot, state=state, ok=ok, block=block)
        # At the block's time, so that the same block told again is the same fact.
        known = {**self._book.fact(slot.subject, slot.act), "at_ms": at_ms}
        fact = ev.TransactionMined(
            **known,
            block=block,
            tx=block.tx,
            ok=ok,
            gas_used=landing.gas_used,
            gas_price=landing.gas_price,
        )
        if ok:
            return slot, mined, [fact]
        failed = replace(
            self._book.failed(mined, await self._outcomes.why_reverted(block)), at_ms=at_ms
        )
        return slot, mined, [fact, failed]

    async def mined(self, subject: str, act: str, attempt: int, timeout_s: float) -> ev.BlockRef:
        """See `core.ports.Sender.mined`."""
        limit = self._clock.now_ms() + int(timeout_s * 1000)
        looked: tuple[int, int] | None = None
        slot: Slot | None = None
        while True:
            # The node may be back before our time is up.
            if self._clock.now_ms() - self._pumped_ms >= POLL_S * 1000:
                with suppress(RpcUnreachable, RpcFault):
                    await self._pump_at_news()
            # Another process on our store may land it, too; it is in no hurry.
            if looked != (self._book.landings, self._clock.now_ms() // 1000):
                looked = (self._book.landings, self._clock.now_ms() // 1000)
                async with self._store.unit() as unit:
                    slot = await unit.slot(self._chain_id, self.address, (subject, act, attempt))
            if slot and slot.block and slot.ok:
                return slot.block
            if slot and slot.block:
                raise await self._outcomes.why_reverted(slot.block)
            if slot and slot.state is SlotState.LOST:
                raise NonceTaken(f"nonce {slot.nonce} of {slot.signer} went to somebody else.")
            if self._clock.now_ms() >= limit:
                raise TransactionTimeout(
                    f"the {act} transaction was not mined within {timeout_s:g} s.",
                    hint="It was sent and may still be mined; ask again with the same payment.",
                )
            await self._clock.sleep(POLL_S)


def _by_within(
    acts: Sequence[TransactionIntent],
) -> dict[SlotTransactionHook, list[TransactionIntent]]:
    found: dict[SlotTransactionHook, list[TransactionIntent]] = {}
    for act in acts:
        if act.within is not None:
            found.setdefault(act.within, []).append(act)
    return found


async def _refused(
    unit: StoreTransaction, acts: Sequence[TransactionIntent]
) -> dict[tuple[str, str, int], WorkbenchError]:
    """Acts that those who asked for them have taken back by now."""
    refused: dict[tuple[str, str, int], WorkbenchError] = {}
    for within, some in _by_within(acts).items():
        refused |= await within.refused(unit, some)
    return refused


async def _mark(
    unit: StoreTransaction, acts: Sequence[TransactionIntent], found: AddedSlots
) -> None:
    for within, some in _by_within(acts).items():
        slots = [found[act.key] for act in some]
        await within.mark(unit, [slot for slot in slots if isinstance(slot, Slot)])


async def _beside(others: Sequence[Coroutine[Any, Any, None]], work: Coroutine[Any, Any, T]) -> T:
    """`work`, while `others` go on, which begin first. Waits for all; raises the first error."""
    if not others:
        return await work
    tasks, last = [asyncio.ensure_future(each) for each in others], asyncio.ensure_future(work)
    await asyncio.gather(*tasks, last, return_exceptions=True)
    for task in tasks:
        task.result()
    return last.result()


def _in_parts(acts: list[TransactionIntent]) -> list[list[TransactionIntent]]:
    parts, size = [], min(FIRST_PART, PART)
    while acts:
        parts.append(acts[:size])
        acts, size = acts[size:], min(2 * size, PART)
    return parts


def _is_unsent(slot: Slot | WorkbenchError) -> TypeGuard[Slot]:
    return isinstance(slot, Slot) and slot.state is SlotState.SIGNED


def _is_over(slot: Slot) -> bool:
    return slot.block is not None and (slot.state is SlotState.FINAL or not slot.ok)


def _bumped(fee: int) -> int:
    return -(-fee * BUMP[0] // BUMP[1])


def _fields_of(raw: str) -> dict[str, Any]:
    """What was signed, ready to be signed again with other fees."""
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes

    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    unsigned = {key: value for key, value in fields.items() if key not in ("v", "r", "s")}
    return {**unsigned, "to": bytes(fields["to"]), "data": bytes(fields["data"])}

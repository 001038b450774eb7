"""Submitting: gather the intents, simulate them, reserve nonce slots, broadcast.

A slot, its nonce and the signed bytes are stored in one transaction, before anything is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from workbench.core.errors import Quarantined, StoreError, WorkbenchError
from workbench.core.ports import (
    ContractCall,
    Slot,
    SlotState,
    SlotTransactionHook,
    StoreTransaction,
    TransactionIntent,
)
from workbench.evm.transactions.broadcast import is_unsent
from workbench.evm.transactions.simulation import SimulationBatch
from workbench.evm.transactions.track import SlotTracker

PART = 128
"""Most transactions that are signed, stored and sent together. A part costs a commit and three
RPC calls, and the process serves nothing else while it signs one (40 ms)."""
FIRST_PART = 8
"""Size of the first part; each next part is twice as large. While the node simulates a part, the
part before it is signed."""

IntentKey = tuple[str, str, int]
"""(subject, act, attempt)."""
ReservedSlots = dict[IntentKey, Slot | WorkbenchError]
"""For each key its slot, or the error that refused it."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class PendingSubmit:
    """An intent that a caller waits for."""

    intent: TransactionIntent
    answers: list[str | WorkbenchError] = field(default_factory=list)
    """The transaction hash or the error, once it is known."""


PendingByKey = dict[IntentKey, list[PendingSubmit]]


class SlotSubmitter(SlotTracker):
    """Submit intents, each key at most once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._submitting = asyncio.Lock()
        self._waiting: list[PendingSubmit] = []
        self._began_ms = 0

    async def submit(self, subject: str, call: ContractCall, attempt: int = 1) -> str:
        """See `core.ports.Sender.submit`. `attempt` above 1: the earlier ones have failed."""
        (answer,) = await self.submit_many([TransactionIntent(subject, call, attempt)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    async def submit_many(self, acts: Sequence[TransactionIntent]) -> list[str | WorkbenchError]:
        """See `core.ports.Sender.submit_many`.

        Intents that arrive while others are submitted are gathered and submitted together.
        """
        mine = [PendingSubmit(act) for act in acts]
        self._waiting += mine
        try:
            if len(acts) == 1:  # Intents of this same moment join the batch.
                since_s = (self._clock.now_ms() - self._began_ms) / 1000
                wait_s = self._gather_s - since_s if since_s >= 0 else 0  # The clock may go back.
                await (self._clock.sleep(wait_s) if wait_s > 0 else asyncio.sleep(0))
            async with self._submitting:
                if not all(each.answers for each in mine):
                    batch, self._waiting = self._waiting, []
                    self._began_ms = self._clock.now_ms()
                    try:
                        await self._submit_batch(batch)
                    finally:  # The next caller submits what is left.
                        self._waiting = [e for e in batch if not e.answers] + self._waiting
        except BaseException:
            self._waiting = [each for each in self._waiting if each not in mine]
            raise
        return [each.answers[0] for each in mine]

    async def _submit_batch(self, batch: list[PendingSubmit]) -> None:
        """Answer every pending submit of the batch.

        Known keys are answered from their slots. New keys go through part by part: the node
        simulates the next part while one is signed and stored. No part is sent before the part
        before it, so that nonces arrive in order.
        """
        pending: PendingByKey = {}
        for each in batch:
            pending.setdefault(each.intent.key, []).append(each)
        async with self._store.unit() as unit:
            known = {key: await unit.slot(self._chain_id, self.address, key) for key in pending}
        new = [waiting[0].intent for key, waiting in pending.items() if known[key] is None]
        await self._broadcast([s for s in known.values() if s is not None and is_unsent(s)])
        for key, slot in known.items():
            if slot is not None:
                await self._answer(pending[key], slot)
        parts = _in_parts(new)
        simulations = await self._simulation.ask([[act.call for act in part] for part in parts])
        reserved: list[ReservedSlots] = []  # The part before, if there is one.
        for part, simulation in zip(parts, simulations, strict=True):
            sending = [self._send_part(slots, pending) for slots in reserved]
            reserved = [await _beside(sending, self._reserve_part(part, simulation))]
        for slots in reserved:
            await self._send_part(slots, pending)

    async def _reserve_part(
        self, part: Sequence[TransactionIntent], simulation: SimulationBatch
    ) -> ReservedSlots:
        return await self._reserve(part, await self._simulation.judged(simulation))

    async def _send_part(self, slots: ReservedSlots, pending: PendingByKey) -> None:
        """Broadcast the slots of a part, then answer its callers."""
        await self._broadcast([slot for slot in slots.values() if is_unsent(slot)])
        for key, found in slots.items():
            await self._answer(pending[key], found)

    async def _answer(self, waiting: list[PendingSubmit], slot: Slot | WorkbenchError) -> None:
        """Answer the callers of one key. A slot that had ended is compared with the chain first."""
        if isinstance(slot, Slot) and _is_over(slot):
            await self._track_again(slot)
        for each in waiting:
            each.answers.append(slot if isinstance(slot, WorkbenchError) else slot.tx)

    async def _reserve(
        self, acts: Sequence[TransactionIntent], priced: Sequence[dict[str, Any] | WorkbenchError]
    ) -> ReservedSlots:
        """Sign and store the intents that passed the simulation, in one transaction.

        `priced`: for each intent its transaction fields, or the error of its simulation.
        """
        found: ReservedSlots = {}
        if all(isinstance(fields, WorkbenchError) for fields in priced):
            return {a.key: f for a, f in zip(acts, priced, strict=True) if not isinstance(f, dict)}
        on_chain = await self._nonce_on_chain()
        try:
            async with self._store.unit() as unit:
                nonce = await self._next_nonce(unit, on_chain)
                passed = [a for a, f in zip(acts, priced, strict=True) if isinstance(f, dict)]
                refused = {} if nonce is None else await _refused(unit, passed)
                for act, fields in zip(acts, priced, strict=True):
                    if isinstance(fields, WorkbenchError):
                        found[act.key] = fields
                    elif nonce is None:
                        found[act.key] = self._quarantined()
                    elif act.key in refused:
                        found[act.key] = refused[act.key]
                    else:
                        found[act.key] = await self._sign(nonce, fields, act)
                        nonce += 1
                await _mark(unit, acts, found)
                await self._slots.take(unit, [s for s in found.values() if isinstance(s, Slot)])
        except StoreError:
            # Another process with our key and store may have signed these intents meanwhile.
            if not await self._use_slots_of_others(found, [a.key for a in acts]):
                raise
        return found

    async def _use_slots_of_others(self, found: ReservedSlots, keys: list[IntentKey]) -> bool:
        """Fill `found` with the slots of another process. Return False if one is missing."""
        async with self._store.unit() as unit:
            for key in keys:
                if isinstance(found.get(key), WorkbenchError):
                    continue
                slot = await unit.slot(self._chain_id, self.address, key)
                if slot is None:
                    return False
                found[key] = slot
        return True

    async def check(self) -> None:
        """Raise Quarantined if chain and database disagree about the nonces that were used."""
        on_chain = await self._nonce_on_chain()
        async with self._store.unit() as unit:
            nonce = await self._next_nonce(unit, on_chain)
        if nonce is None:
            raise self._quarantined()

    async def _nonce_on_chain(self) -> int:
        """Return the account's nonce. It is read twice if a new key's first nonce follows from it.

        Raises RpcFault if two readings differ.
        """
        if self._nonces.is_new:
            return await self._confirmed_nonce()
        return await self._inclusions.nonce("latest")

    async def _next_nonce(self, unit: StoreTransaction, on_chain: int) -> int | None:
        """Return the nonce of the next slot, or None if the signer is stopped."""
        counted = await unit.next_nonce(self._chain_id, self.address)
        return await self._nonces.choose(unit, on_chain, counted)

    def suspicion(self) -> str:
        """See `core.ports.PayoutSender.suspicion`."""
        return self._nonces.suspicion()

    def _quarantined(self) -> Quarantined:
        """Return the error of a stopped signer."""
        if suspicion := self.suspicion():
            return Quarantined(suspicion)
        return Quarantined(
            f"the signer {self.address} is stopped: the chain has used nonces of it that our "
            "database does not know, or a person must look at it.",
            hint="See SignerQuarantined among the events. Without one a second reading follows.",
        )


def _by_hook(
    acts: Sequence[TransactionIntent],
) -> dict[SlotTransactionHook, list[TransactionIntent]]:
    """Group the intents by the hook of their caller."""
    found: dict[SlotTransactionHook, list[TransactionIntent]] = {}
    for act in acts:
        if act.within is not None:
            found.setdefault(act.within, []).append(act)
    return found


async def _refused(
    unit: StoreTransaction, acts: Sequence[TransactionIntent]
) -> dict[IntentKey, WorkbenchError]:
    """Return the intents that their callers refuse now, inside the transaction."""
    refused: dict[IntentKey, WorkbenchError] = {}
    for hook, some in _by_hook(acts).items():
        refused |= await hook.refused(unit, some)
    return refused


async def _mark(
    unit: StoreTransaction, acts: Sequence[TransactionIntent], found: ReservedSlots
) -> None:
    """Let the callers store that their intents have slots, inside the transaction."""
    for hook, some in _by_hook(acts).items():
        slots = [found[act.key] for act in some]
        await hook.mark(unit, [slot for slot in slots if isinstance(slot, Slot)])


async def _beside(others: Sequence[Coroutine[Any, Any, None]], work: Coroutine[Any, Any, T]) -> T:
    """Run `work` while `others` run, which start first. Wait for all; raise the first error."""
    if not others:
        return await work
    tasks, last = [asyncio.ensure_future(each) for each in others], asyncio.ensure_future(work)
    await asyncio.gather(*tasks, last, return_exceptions=True)
    for task in tasks:
        task.result()
    return last.result()


def _in_parts(acts: list[TransactionIntent]) -> list[list[TransactionIntent]]:
    """Cut the intents into parts of growing size."""
    parts, size = [], min(FIRST_PART, PART)
    while acts:
        parts.append(acts[:size])
        acts, size = acts[size:], min(2 * size, PART)
    return parts


def _is_over(slot: Slot) -> bool:
    """Return True for a slot that is final, or whose transaction reverted."""
    return slot.block is not None and (slot.state is SlotState.FINAL or not slot.ok)

"""The nonce slots of one signer in one store: taken, moved, and told about, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock, Slot, SlotState, Store, StoreTransaction

SlotMove = tuple[Slot, Slot, Sequence[ev.Event]]
"""A slot as it is stored, as it shall be, and the facts that go with it."""


class SharedNonces:
    """What others' use of our key means to a service that may share it: we go on behind them.

    See `chain.quarantine` for a key that is nobody else's.
    """

    is_new = False
    """Whether the chain's own nonce may be where this key begins: then it is read twice."""

    def suspicion(self) -> str:
        """Why the last `choose` gave no nonce, where only a first reading speaks against it."""
        return ""

    async def choose(self, unit: Any, on_chain: int, counted: int) -> int | None:
        """The nonce of a new slot; None if the signer stands still. `counted`: our next one."""
        return max(on_chain, counted)

    async def fills(self, unit: Any, nonce: int) -> bool:
        """Whether a nonce that nobody used is used up, so that those behind it go on."""
        return True

    async def lost(self, unit: Any, slot: Slot) -> None:
        """A slot's nonce went to somebody else, and that is final. In that fact's transaction."""

    async def stop(self, unit: Any, nonce: int, reason: str) -> None:
        """Something was found that a person must look at."""

    async def release(self, unit: Any, on_chain: int, by: str, why: str) -> None:
        """A person has looked."""


class SlotStore:
    """See the module. `source`: who tells the facts; `nonces`: what a lost one means."""

    def __init__(self, store: Store, clock: Clock, *, source: str, nonces: SharedNonces) -> None:
        self._store, self._clock, self._source, self._nonces = store, clock, source, nonces
        self.landings = 0
        """How often a slot was mined or lost: who waits for one looks again when this grows."""

    async def take(self, unit: StoreTransaction, fresh: Sequence[Slot]) -> None:
        """Store new slots and that they were signed, in the caller's unit."""
        await unit.take_slots(fresh)
        signed = ev.TransactionSigned
        told = [self.about(s, signed, signer=s.signer, nonce=s.nonce) for s in fresh]
        await unit.record_all(told)

    async def move(self, before: Slot, after: Slot, *facts: ev.Event) -> Slot | None:
        """Store `after` and its facts. None if the slot has moved while we waited for the node."""
        return (await self.move_all([(before, after, facts)]))[0]

    async def move_all(self, moves: Sequence[SlotMove]) -> list[Slot | None]:
        """`move` for each, in one unit."""
        if not moves:
            return []
        moved: list[Slot | None] = []
        told: list[ev.Event] = []
        async with self._store.unit() as unit:
            done = await unit.move_slots([(before, after) for before, after, _ in moves])
            for is_moved, (_, after, facts) in zip(done, moves, strict=True):
                moved.append(after if is_moved else None)
                if not is_moved:
                    continue
                told += facts
                if after.state is SlotState.LOST:
                    await unit.record_all(told)
                    told = []
                    await self._nonces.lost(unit, after)
                self.landings += after.block is not None or after.state is SlotState.LOST
            await unit.record_all(told)
        return moved

    # --- Facts ---

    def fact(self, subject: str, act: str) -> dict[str, Any]:
        """What every fact of an act has."""
        return {
            "subject": subject,
            "at_ms": self._clock.now_ms(),
            "source": self._source,
            "act": act,
        }

    def about(self, slot: Slot, kind: type[Any], **more: Any) -> ev.Event:
        """A fact of this kind about the slot's newest attempt."""
        fact: ev.Event = kind(**self.fact(slot.subject, slot.act), tx=slot.tx, **more)
        return fact

    def failed(self, slot: Slot, why: WorkbenchError) -> ev.TransactionFailed:
        """A mined revert, or a lost nonce: another attempt may do better."""
        return ev.TransactionFailed(
            **self.fact(slot.subject, slot.act),
            block=slot.block,
            tx=slot.tx,
            code=why.code,
            message=str(why),
            transient=True,
        )

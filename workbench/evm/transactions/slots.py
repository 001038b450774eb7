"""The nonce slots of one signer in one store: taken and moved together with their facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock, Slot, SlotState, Store, StoreTransaction

SlotMove = tuple[Slot, Slot, Sequence[ev.Event]]
"""A slot as it is stored, as it shall be, and the facts of the move."""


class SharedNonces:
    """Shared key: continue after the highest nonce in use.

    See `transactions.quarantine` for a key that only this service uses.
    """

    is_new = False
    """True if a new key starts at the nonce of the chain: then it is read twice."""

    def suspicion(self) -> str:
        """Return why the last `choose` gave no nonce, if a second reading must confirm it;
        else ""."""
        return ""

    async def choose(self, unit: Any, on_chain: int, counted: int) -> int | None:
        """Return the nonce of a new slot, or None if the signer is stopped. `counted`: our own next
        nonce."""
        return max(on_chain, counted)

    async def fills(self, unit: Any, nonce: int) -> bool:
        """Return True if an unused nonce is filled, so that those above it can be mined."""
        return True

    async def lost(self, unit: Any, slot: Slot) -> None:
        """Handle a slot whose nonce a foreign transaction used, in the transaction of that fact."""

    async def stop(self, unit: Any, nonce: int, reason: str) -> None:
        """Stop the signer: a person must check it."""

    async def release(self, unit: Any, on_chain: int, by: str, why: str) -> None:
        """Release the signer after a person has checked it."""


class SlotStore:
    """See the module. `source`: the name in facts. `nonces`: the policy for lost nonces."""

    def __init__(self, store: Store, clock: Clock, *, source: str, nonces: SharedNonces) -> None:
        self._store, self._clock, self._source, self._nonces = store, clock, source, nonces
        self.landings = 0
        """Number of slots that were mined or lost. Waiting callers read their slot when it
        grows."""

    async def take(self, unit: StoreTransaction, fresh: Sequence[Slot]) -> None:
        """Store new slots and TransactionSigned, in the caller's unit."""
        await unit.take_slots(fresh)
        signed = ev.TransactionSigned
        told = [self.about(s, signed, signer=s.signer, nonce=s.nonce) for s in fresh]
        await unit.record_all(told)

    async def move(self, before: Slot, after: Slot, *facts: ev.Event) -> Slot | None:
        """Store `after` and its facts. Return None if the slot has moved meanwhile."""
        return (await self.move_all([(before, after, facts)]))[0]

    async def move_all(self, moves: Sequence[SlotMove]) -> list[Slot | None]:
        """Apply several moves in one unit. See `move`."""
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
        """Return the fields that every fact of an act has."""
        return {
            "subject": subject,
            "at_ms": self._clock.now_ms(),
            "source": self._source,
            "act": act,
        }

    def about(self, slot: Slot, kind: type[Any], **more: Any) -> ev.Event:
        """Return a fact of this kind about the slot's newest attempt."""
        fact: ev.Event = kind(**self.fact(slot.subject, slot.act), tx=slot.tx, **more)
        return fact

    def failed(self, slot: Slot, why: WorkbenchError) -> ev.TransactionFailed:
        """Return the fact of a mined revert or a lost nonce. Another attempt may succeed."""
        return ev.TransactionFailed(
            **self.fact(slot.subject, slot.act),
            block=slot.block,
            tx=slot.tx,
            code=why.code,
            message=str(why),
            transient=True,
        )

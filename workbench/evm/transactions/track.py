"""Tracking: read receipts, confirm finality, send again, raise fees, fill nonce gaps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    NonceTaken,
    RpcFault,
    RpcUnreachable,
    TransactionTimeout,
    WorkbenchError,
)
from workbench.core.ports import OPEN_SLOTS, ContractCall, Slot, SlotState, TransactionIntent
from workbench.core.records import replace
from workbench.evm.codec.receipts import Inclusion
from workbench.evm.transactions.broadcast import SlotBroadcaster, is_unsent, signed_fields
from workbench.evm.transactions.inclusion import NonceView
from workbench.evm.transactions.slots import SlotMove

RESEND_MS = 5_000
"""Time without a receipt after which the same bytes are sent again."""
LOOK_MS = 1_000
"""Shortest interval between two looks at slots while no new block arrives."""
POLL_S = 0.25
"""Poll interval of `mined`."""
FILL = "fill"
"""The act of a transaction that only uses up a nonce."""


class SlotTracker(SlotBroadcaster):
    """Move slots from sent to final, whatever the chain does with them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pumped_ms = self._seen_ms = 0
        self._seen: str | None = None
        """Hash of the block of the last complete look."""

    async def pump(self) -> None:
        """See `core.ports.Sender.pump`. An error of the node loses nothing."""
        async with self._pumping:
            self._pumped_ms = self._clock.now_ms()
            await self._read_late_answers()
            async with self._store.unit() as unit:
                slots = await unit.slots(self._chain_id, self.address, *OPEN_SLOTS)
            self._fee_bumps.keep(slots)
            if not slots:
                return
            view = await self._inclusions.look()
            just_now = self._pumped_ms - self._seen_ms < LOOK_MS
            if just_now and view.hash == self._seen and not any(map(is_unsent, slots)):
                return  # The same block tells nothing new.
            # A broadcast without an answer is in no block yet: see `Rpc.ask`.
            unheard = {slot.nonce for some, _ in self._unheard for slot in some}
            await self._track([slot for slot in slots if slot.nonce not in unheard], view)
            self._seen, self._seen_ms = None if view.is_inconsistent else view.hash, self._pumped_ms
            if view.nonce is None or view.nonce >= slots[0].nonce:
                self._readings.forget("gap")
            else:
                await self._close_gap(view, slots[0])

    async def _track(self, slots: Sequence[Slot], view: NonceView) -> None:
        """Compare the slots with the chain: classify each, store mined ones, then final ones.

        The fault of one slot is raised after the others are stored. Transient errors are raised
        at once.
        """
        inclusions = await self._inclusions.news(slots, view)
        confirmed: list[Slot] = []
        moves: list[SlotMove] = []
        faults: list[Exception] = []
        for slot, inclusion in zip(slots, inclusions, strict=True):
            try:
                if inclusion is None:
                    await self._track_missing(slot, view)
                    continue
                at_ms = await self._inclusions.time_of(inclusion, view)
                if at_ms is None:
                    continue  # Two nodes behind one URL, or a reorg at this moment: ask again.
                if slot.state is SlotState.MINED and slot.block == inclusion.block:
                    confirmed.append(slot)
                else:
                    moves.append(await self._mined_move(slot, inclusion, at_ms))
            except Exception as why:
                if isinstance(why, WorkbenchError) and why.transient:
                    raise
                faults.append(why)
        confirmed += [slot for slot in await self._slots.move_all(moves) if slot is not None]
        final: list[SlotMove] = []
        for slot in confirmed:
            if slot.block and self._finality.reached(slot.block.number, view.head):
                fact = self._slots.about(slot, ev.TransactionFinalized, block=slot.block)
                final.append((slot, replace(slot, state=SlotState.FINAL), [fact]))
        await self._slots.move_all(final)
        if faults:
            raise faults[0]

    async def _track_missing(self, slot: Slot, view: NonceView) -> None:
        """Handle a slot without a receipt: nonce lost, left by a reorg, or not mined yet."""
        if view.nonce is None:
            view.nonce = await self._inclusions.nonce("latest")
        view.is_inconsistent = view.is_inconsistent or view.nonce > slot.nonce
        if view.nonce > slot.nonce and await self._inclusions.is_taken(slot, view):
            lost = replace(slot, state=SlotState.LOST, ok=False, block=None)
            text = f"nonce {slot.nonce} of {self.address} was used by another transaction."
            await self._slots.move(slot, lost, self._slots.failed(lost, NonceTaken(text)))
            return
        if slot.block is not None:
            seen = await self._inclusions.block_at(slot.block.number, view)
            if slot.state is SlotState.FINAL and (seen is None or seen[0] == slot.block.hash):
                return  # The node lags, or has dropped old receipts. Final stays final.
            # A reorg removed it. The same bytes are valid again.
            back = replace(slot, state=SlotState.SENT, ok=True, block=None, sent_ms=0)
            moved = await self._slots.move(slot, back)
            if moved is not None:
                await self._broadcast([moved])
            return
        overdue = self._fee_bumps.is_overdue(slot, view)
        if slot.sent_ms and self._clock.now_ms() - slot.sent_ms < RESEND_MS and not overdue:
            return
        cheap = signed_fields(slot.attempts[-1].raw)["maxFeePerGas"] < view.base_fee
        await self._broadcast([(await self._bump(slot) if cheap or overdue else None) or slot])

    async def _mined_move(self, slot: Slot, inclusion: Inclusion, at_ms: int) -> SlotMove:
        """Return the slot as mined in this block, with its facts."""
        block, ok = inclusion.block, inclusion.ok
        state = slot.state if slot.block == block else SlotState.MINED
        mined = replace(slot, state=state, ok=ok, block=block)
        # At the time of the block, so that reading the same block again gives the same fact.
        known = {**self._slots.fact(slot.subject, slot.act), "at_ms": at_ms}
        fact = ev.TransactionMined(
            **known,
            block=block,
            tx=block.tx,
            ok=ok,
            gas_used=inclusion.gas_used,
            gas_price=inclusion.gas_price,
        )
        if ok:
            return slot, mined, [fact]
        failed = replace(
            self._slots.failed(mined, await self._inclusions.why_reverted(block)), at_ms=at_ms
        )
        return slot, mined, [fact, failed]

    async def _track_again(self, slot: Slot) -> None:
        """Compare a slot that had ended with the chain, because its intent is submitted again.

        A reorg deeper than finality may have removed the transaction. A block that left the chain
        and came back leaves the fact of a revert behind.
        """
        async with self._pumping:
            view = await self._inclusions.look()
            (inclusion,) = await self._inclusions.landings([slot])
            if inclusion is None:
                await self._track_missing(slot, view)
            else:
                await self._store_mined(slot, inclusion, view)

    async def _store_mined(self, slot: Slot, inclusion: Inclusion, view: NonceView) -> None:
        at_ms = await self._inclusions.time_of(inclusion, view)
        if at_ms is not None:
            await self._slots.move_all([await self._mined_move(slot, inclusion, at_ms)])

    async def _close_gap(self, view: NonceView, lowest: Slot) -> None:
        """Fill the nonces below the lowest open slot, which the chain waits for.

        A reorg deeper than finality removed a final transaction: it is sent again. Or it removed
        a foreign transaction, after whose nonce we had counted: a transfer of nothing replaces it.
        """
        assert view.nonce is not None
        if self._clock.now_ms() - lowest.sent_ms < RESEND_MS or not lowest.sent_ms:
            return
        gap = (view.nonce, lowest.nonce)
        if not self._readings.confirms("gap", gap, self._clock.now_ms()):
            return
        async with self._store.unit() as unit:  # All slots: another process may have reopened one.
            slots = await unit.slots_from(self._chain_id, self.address, view.nonce)
        known = {slot.nonce: slot for slot in slots}
        for nonce in range(view.nonce, lowest.nonce):
            if nonce not in known:
                await self._fill(nonce)
            elif known[nonce].state is SlotState.FINAL:
                await self._track([known[nonce]], view)

    async def _fill(self, nonce: int) -> None:
        """Use up a nonce with a transfer of nothing to ourselves."""
        intent = TransactionIntent("", ContractCall(FILL, self.address, b""), nonce)
        (fields,) = await self._simulation.priced([intent.call])
        if isinstance(fields, WorkbenchError):
            raise fields
        async with self._store.unit() as unit:
            if not await self._nonces.fills(unit, nonce):
                return
            slot = await self._sign(nonce, fields, intent)
            await self._slots.take(unit, [slot])
        await self._broadcast([slot])

    async def left_chain(self, slots: Sequence[Slot]) -> list[Slot]:
        """See `core.ports.PayoutSender.left_chain`. A block that is missing proves nothing."""
        hashes = await self._inclusions.hashes([s.block.number for s in slots if s.block])
        gone = []
        for slot in slots:
            known = hashes.get(slot.block.number) if slot.block else None
            if slot.block and known not in (None, slot.block.hash):
                gone.append(slot)
        return gone

    async def reopen(self, slot: Slot, *, pays: bool) -> None:
        """See `core.ports.PayoutSender.reopen`."""
        async with self._pumping:
            view = await self._inclusions.look()
            (inclusion,) = await self._inclusions.landings([slot])
            if inclusion is not None:
                await self._store_mined(slot, inclusion, view)
                return
            back = replace(slot, state=SlotState.SENT, ok=True, block=None, sent_ms=0)
            moved = await self._slots.move(slot, back)
        if moved is not None and pays:
            await self._broadcast([moved])
        elif moved is not None:
            await self.cancel(slot.subject, slot.act, slot.attempt)

    async def mined(self, subject: str, act: str, attempt: int, timeout_s: float) -> ev.BlockRef:
        """See `core.ports.Sender.mined`."""
        limit = self._clock.now_ms() + int(timeout_s * 1000)
        looked: tuple[int, int] | None = None
        slot: Slot | None = None
        while True:
            # An unreachable node may come back before the time-out.
            if self._clock.now_ms() - self._pumped_ms >= POLL_S * 1000:
                with suppress(RpcUnreachable, RpcFault):
                    await self._pump_at_news()
            # Another process on the same store may move the slot: read it once a second, too.
            if looked != (self._slots.landings, self._clock.now_ms() // 1000):
                looked = (self._slots.landings, self._clock.now_ms() // 1000)
                async with self._store.unit() as unit:
                    slot = await unit.slot(self._chain_id, self.address, (subject, act, attempt))
            if slot and slot.block and slot.ok:
                return slot.block
            if slot and slot.block:
                raise await self._inclusions.why_reverted(slot.block)
            if slot and slot.state is SlotState.LOST:
                raise NonceTaken(f"nonce {slot.nonce} of {slot.signer} was used by another.")
            if self._clock.now_ms() >= limit:
                raise TransactionTimeout(
                    f"the {act} transaction was not mined within {timeout_s:g} s.",
                    hint="It was sent and may still be mined; ask again with the same payment.",
                )
            await self._clock.sleep(POLL_S)

    async def _pump_at_news(self) -> None:
        """Call `pump` if a new block arrived, or if something may be due."""
        self._pumped_ms = self._clock.now_ms()  # One of all that wait reads the node.
        recent = self._pumped_ms - self._seen_ms < RESEND_MS
        if not recent or (await self._inclusions.look()).hash != self._seen:
            await self.pump()

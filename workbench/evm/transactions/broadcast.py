"""Signed transactions and the node: sign into a slot, broadcast, raise a fee, cancel.

Bytes are stored before they are sent. After an unknown outcome the same bytes are sent again. A
replacement has the nonce of the slot, never another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeGuard

from workbench.core import facts as ev
from workbench.core.confirmed_readings import ConfirmedReadings
from workbench.core.errors import (
    RpcFault,
    RpcUnanswered,
    RpcUnreachable,
    StateMoved,
    WorkbenchError,
)
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import (
    Attempt,
    CheckReports,
    Clock,
    NoReports,
    Signer,
    Slot,
    SlotState,
    Store,
    TransactionIntent,
)
from workbench.core.records import replace
from workbench.evm.codec.abi import hex_bytes
from workbench.evm.rpc.client import SEND, PendingAnswers, Rpc
from workbench.evm.transactions.fee_bumps import FeeBumps
from workbench.evm.transactions.inclusion import InclusionReader
from workbench.evm.transactions.simulation import MAX_FEE_WEI, Simulation, base_fee
from workbench.evm.transactions.slots import SharedNonces, SlotMove, SlotStore

ALREADY_THERE = ("already known", "already imported", "nonce too low")
"""Refusals that mean: the node has this transaction, or has mined it."""
TOO_CHEAP = ("underpriced", "less than block base fee", "fee cap")
"""Refusals that mean: a higher fee is needed."""
BUMP = (9, 8)
"""Factor between the fees of two attempts: 12.5 % more. Pools require 10 % on both fees."""
MAX_ATTEMPTS = 8
"""Most attempts for one slot."""
CANCELS = 3
"""Number of tries to cancel a slot that others move at the same time."""


class SlotBroadcaster:
    """The state of a sender, and what it sends. `SlotSender` describes the arguments."""

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
        self._slots = SlotStore(store, clock, source=source, nonces=self._nonces)
        self._simulation = Simulation(
            rpc, clock, chain_id=chain_id, payer=signer.address, source=source
        )
        self._inclusions = InclusionReader(
            rpc, clock, is_thrifty=is_thrifty, address=signer.address, finality=finality
        )
        self._fee_bumps, self._readings = FeeBumps(clock, bump_after_s), ConfirmedReadings()
        self._pumping = asyncio.Lock()
        self._unheard: list[tuple[Sequence[Slot], PendingAnswers]] = []
        """Broadcasts whose answers are not read yet."""
        self.address = signer.address

    async def _sign(self, nonce: int, fields: dict[str, Any], intent: TransactionIntent) -> Slot:
        """Return a new slot with its first attempt. `fields`: of the transaction, without nonce."""
        raw, tx = self._signer.sign_transaction({**fields, "nonce": nonce})
        return Slot(
            chain_id=self._chain_id,
            signer=self.address,
            nonce=nonce,
            subject=intent.subject,
            act=intent.call.act,
            attempt=intent.attempt,
            state=SlotState.SIGNED,
            attempts=(Attempt(tx, raw),),
        )

    async def _confirmed_nonce(self) -> int:
        """Return the nonce of the account at the newest block, if two readings agree on it."""
        nonce = await self._inclusions.nonce("latest")
        if await self._inclusions.nonce("latest") != nonce:
            raise RpcFault("the node returned two different nonces for our account.")
        return nonce

    async def _broadcast(self, slots: Sequence[Slot]) -> None:
        """Send the newest attempts to the node. `pump` handles unknown outcomes later."""
        if not slots:
            return
        now = self._clock.now_ms()
        pending = self._rpc.ask([(SEND, slot.attempts[-1].raw) for slot in slots])
        if pending.begun:
            self._unheard.append((slots, pending))
        answers = [slot.tx for slot in slots] if pending.begun else await pending
        moves: list[SlotMove] = []
        for slot, answer in zip(slots, answers, strict=True):
            sent = replace(slot, state=SlotState.SENT, sent_ms=now)
            if isinstance(answer, RpcUnreachable | RpcUnanswered):
                continue
            if isinstance(answer, str) and answer.lower() != slot.attempts[-1].tx:
                continue  # The hash of another transaction: the outcome of ours is unknown.
            if isinstance(answer, WorkbenchError):
                if await self._resend_dearer(slot, answer):
                    continue
                if not self._is_known_to_node(slot, answer):
                    sent = replace(sent, state=slot.state)
            is_new = sent.state is not slot.state
            if is_new:
                self._reports.ok("sends_refused")
            facts = [self._slots.about(slot, ev.TransactionSent)] if is_new else []
            moves.append((slot, sent, facts))
        await self._slots.move_all(moves)

    async def _resend_dearer(self, slot: Slot, refusal: WorkbenchError) -> bool:
        """After a refusal as too cheap, broadcast a replacement. Return True if that was done."""
        if any(cheap in refusal.message.lower() for cheap in TOO_CHEAP):
            dearer = await self._bump(slot)
            if dearer is not None:
                await self._broadcast([dearer])
                return True
        return False

    def _is_known_to_node(self, slot: Slot, refusal: WorkbenchError) -> bool:
        """Return True if the refusal says that the node has it. Else report the refusal."""
        if any(known in refusal.message.lower() for known in ALREADY_THERE):
            return True
        text = f"{slot.act} of {slot.subject} waits: {refusal.message}"
        self._reports.fails("sends_refused", text)
        return False

    async def _read_late_answers(self) -> None:
        """Handle the answers to earlier broadcasts that have arrived meanwhile."""
        heard = [each for each in self._unheard if each[1].known]
        self._unheard = [each for each in self._unheard if not each[1].known]
        for slots, pending in heard:
            for slot, answer in zip(slots, pending.results, strict=True):
                unknown = isinstance(answer, RpcUnreachable | RpcUnanswered)
                if unknown or not isinstance(answer, WorkbenchError):
                    continue  # Accepted; or unknown, and it is sent again in time.
                async with self._store.unit() as unit:
                    key = (slot.subject, slot.act, slot.attempt)
                    now = await unit.slot(self._chain_id, self.address, key)
                is_same = now is not None and now.attempts == slot.attempts
                if now is None or not is_same or now.state is not SlotState.SENT:
                    continue
                if not await self._resend_dearer(now, answer):
                    self._is_known_to_node(now, answer)

    async def _bump(self, slot: Slot, instead: dict[str, Any] | None = None) -> Slot | None:
        """Sign and store a new attempt of the slot at the market's fee (EIP-1559).

        `instead`: fields that differ from the last attempt. Returns None at the caps of fee and
        attempts, and if the slot has moved meanwhile.
        """
        fields = signed_fields(slot.attempts[-1].raw)
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        tip = max(_bumped(fields["maxPriorityFeePerGas"]), await self._simulation.tip())
        fee = max(_bumped(fields["maxFeePerGas"]), 2 * base_fee(block) + tip)
        if fee > MAX_FEE_WEI or len(slot.attempts) >= MAX_ATTEMPTS:
            self._fee_bumps.cap(slot)
            return None
        fields |= {"maxFeePerGas": fee, "maxPriorityFeePerGas": tip, **(instead or {})}
        raw, tx = self._signer.sign_transaction(fields)
        attempts = (*slot.attempts, Attempt(tx, raw))
        dearer = replace(slot, state=SlotState.SIGNED, attempts=attempts, sent_ms=0)
        known = self._slots.fact(slot.subject, slot.act)
        fact = ev.TransactionReplaced(**known, tx=tx, old_tx=slot.attempts[-1].tx)
        return await self._slots.move(slot, dearer, fact)

    async def cancel(self, subject: str, act: str, attempt: int = 1) -> str:
        """Replace the transaction of a slot by a transfer of nothing. Return its hash.

        The attempt that is mined decides. Raises StateMoved if it is too late, or if there is no
        such slot.
        """
        nothing = {"to": bytes(hex_bytes(self.address)), "value": 0, "data": b"", "gas": 21_000}
        for _ in range(CANCELS):
            async with self._store.unit() as unit:
                slot = await unit.slot(self._chain_id, self.address, (subject, act, attempt))
            if slot is None or slot.state not in (SlotState.SIGNED, SlotState.SENT):
                break
            dearer = await self._bump(slot, nothing)
            if dearer is not None:  # None: `pump` has moved the slot meanwhile.
                await self._broadcast([dearer])
                return dearer.attempts[-1].tx
        raise StateMoved(f"the {act} transaction of {subject} cannot be taken back any more.")


def is_unsent(slot: Slot | WorkbenchError) -> TypeGuard[Slot]:
    """Return True for a slot whose newest attempt was not sent yet."""
    return isinstance(slot, Slot) and slot.state is SlotState.SIGNED


def _bumped(fee: int) -> int:
    """Return the lowest fee, in wei, that may replace this one."""
    return -(-fee * BUMP[0] // BUMP[1])


def signed_fields(raw: str) -> dict[str, Any]:
    """Return the fields of signed bytes (0x hex), without the signature."""
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes

    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    unsigned = {key: value for key, value in fields.items() if key not in ("v", "r", "s")}
    return {**unsigned, "to": bytes(fields["to"]), "data": bytes(fields["data"])}

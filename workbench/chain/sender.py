"""One sender for all: nonce slots, then attempts, stored before they are sent (agreement 3).

Sign, store, send; an outcome that is unknown is answered by sending the same bytes again, never by
taking another nonce. What was mined is watched until it is final.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from workbench.chain.abi import explain_revert, hex_bytes
from workbench.chain.rpc import NodeRevert, Rpc
from workbench.core import events as ev
from workbench.core.errors import (
    NonceTaken,
    Reverted,
    RpcFault,
    RpcUnreachable,
    SignerShort,
    TransactionTimeout,
    WorkbenchError,
)
from workbench.core.finality import Policy
from workbench.core.ports import Attempt, Call, Clock, Signer, Slot, SlotState, Store, Unit

TIP_WEI = 10**9
GAS_HEADROOM = (13, 10)
"""Gas limit over the node's estimate: storage may be colder, or the pool elsewhere, when mined."""
RESEND_MS = 5_000
POLL_S = 0.25
ALREADY_THERE = ("already known", "already imported", "nonce too low")
OPEN = (SlotState.SIGNED, SlotState.SENT, SlotState.MINED)


class SlotSender:
    """The slots of one signer in one service's store. See `core.ports.Sender`."""

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        store: Store,
        clock: Clock,
        *,
        chain_id: int,
        source: str,
        finality: Policy,
    ) -> None:
        self._rpc, self._signer, self._store, self._clock = rpc, signer, store, clock
        self._chain_id, self._source, self._finality = chain_id, source, finality
        self._submitting, self._pumping = asyncio.Lock(), asyncio.Lock()
        self.address = signer.address

    # --- Submitting ---

    async def submit(self, subject: str, call: Call, attempt: int = 1) -> str:
        """See `core.ports.Sender.submit`. `attempt` above 1: the earlier ones have failed."""
        async with self._submitting:
            slot = await self._find(subject, call.act, attempt)
            if slot is None:
                slot = await self._sign(subject, call, attempt)
        if slot.state is SlotState.SIGNED:
            await self._send(slot)
        return slot.tx

    async def _find(self, subject: str, act: str, attempt: int) -> Slot | None:
        async with self._store.unit() as unit:
            return await unit.slot(self._chain_id, self.address, (subject, act, attempt))

    async def _sign(self, subject: str, call: Call, attempt: int) -> Slot:
        fields = await self._priced(call)
        on_chain = await self._nonce("latest")
        async with self._store.unit() as unit:
            stored = await unit.next_nonce(self._chain_id, self.address)
            nonce = max(stored, on_chain)
            raw, tx = self._signer.sign_transaction({**fields, "nonce": nonce})
            slot = Slot(
                chain_id=self._chain_id,
                signer=self.address,
                nonce=nonce,
                subject=subject,
                act=call.act,
                attempt=attempt,
                state=SlotState.SIGNED,
                attempts=(Attempt(tx, raw),),
            )
            await unit.put_slot(slot)
            known = {**self._fact(subject, call.act), "tx": tx}
            await unit.record(ev.TransactionSigned(**known, signer=self.address, nonce=nonce))
        return slot

    async def _priced(self, call: Call) -> dict[str, Any]:
        """Fees and gas; the estimate is also the simulation, before any slot is taken."""
        request = {"from": self.address, "to": call.to, "data": "0x" + call.data.hex()}
        if call.value:
            request["value"] = hex(call.value)
        try:
            gas = int(await self._rpc.call("eth_estimateGas", request), 16)
        except NodeRevert as why:
            raise explain_revert(hex_bytes(why.data)) from why
        except RpcFault as why:
            raise self._short_of_gas(why) from why
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        base_fee = int(block.get("baseFeePerGas", "0x0"), 16)
        return {
            "chainId": self._chain_id,
            "type": 2,
            "to": bytes(hex_bytes(call.to)),
            "data": call.data,
            "value": call.value,
            "gas": gas * GAS_HEADROOM[0] // GAS_HEADROOM[1],
            "maxFeePerGas": 2 * base_fee + TIP_WEI,
            "maxPriorityFeePerGas": TIP_WEI,
        }

    def _short_of_gas(self, why: RpcFault) -> WorkbenchError:
        text = why.message.lower()
        if "insufficient funds" not in text and "gas required exceeds allowance" not in text:
            return why
        return SignerShort(
            f"the {self._source}'s account {self.address} cannot pay for gas.",
            hint="Send it some of the chain's native currency.",
        )

    async def _nonce(self, tag: str) -> int:
        return int(await self._rpc.call("eth_getTransactionCount", self.address, tag), 16)

    async def _send(self, slot: Slot) -> None:
        """Hand the newest attempt to the node. Unknown outcomes are left to `pump`."""
        try:
            await self._rpc.call("eth_sendRawTransaction", slot.attempts[-1].raw)
        except RpcUnreachable:
            return
        except (RpcFault, NodeRevert) as why:
            if not any(known in why.message.lower() for known in ALREADY_THERE):
                return await self._put(replace(slot, sent_ms=self._clock.now_ms()))
        sent = replace(slot, state=SlotState.SENT, sent_ms=self._clock.now_ms())
        async with self._store.unit() as unit:
            await unit.put_slot(sent)
            if slot.state is SlotState.SIGNED:
                await unit.record(self._about(slot, ev.TransactionSent))

    # --- Looking after what was submitted ---

    async def pump(self) -> None:
        """See `core.ports.Sender.pump`. Raises RpcUnreachable; nothing is lost by that."""
        async with self._pumping:
            async with self._store.unit() as unit:
                slots = await unit.slots(self._chain_id, self.address, *OPEN)
            if not slots:
                return
            head = int(await self._rpc.call("eth_blockNumber"), 16)
            for slot in slots:
                await self._look_after(slot, head)

    async def _look_after(self, slot: Slot, head: int) -> None:
        receipt = await self._receipt(slot)
        if receipt is None:
            return await self._missing(slot, head)
        block = ev.BlockRef(
            int(receipt["blockNumber"], 16), receipt["blockHash"], receipt["transactionHash"], -1
        )
        if slot.state is not SlotState.MINED or slot.block != block:
            slot = await self._mined(slot, block, receipt)
        if self._finality.reached(block.number, head):
            async with self._store.unit() as unit:
                await unit.put_slot(replace(slot, state=SlotState.FINAL))
                await unit.record(self._about(slot, ev.TransactionFinalized))

    async def _receipt(self, slot: Slot) -> dict[str, Any] | None:
        for attempt in reversed(slot.attempts):
            receipt = await self._rpc.call("eth_getTransactionReceipt", attempt.tx)
            if receipt is not None:
                return dict(receipt)
        return None

    async def _missing(self, slot: Slot, head: int) -> None:
        """No receipt: sent but waiting, dropped, taken back by a reorg, or its nonce is taken."""
        if await self._nonce_taken(slot, head):
            lost = replace(slot, state=SlotState.LOST, ok=False, block=None)
            text = f"nonce {slot.nonce} of {self.address} was used by another transaction."
            async with self._store.unit() as unit:
                await unit.put_slot(lost)
                await unit.record(self._failed(lost, NonceTaken(text), transient=True))
            return
        waited = self._clock.now_ms() - slot.sent_ms
        if slot.state is SlotState.SENT and waited < RESEND_MS:
            return
        # A slot that was mined and is not any more: its bytes are as good as on the first day.
        state = SlotState.SENT if slot.state is SlotState.MINED else slot.state
        await self._send(replace(slot, state=state, block=None, ok=True))

    async def _nonce_taken(self, slot: Slot, head: int) -> bool:
        """Whether somebody else's transaction with our nonce is final, not merely mined."""
        if await self._nonce("latest") <= slot.nonce:
            return False
        return await self._nonce(hex(max(0, head - self._finality.depth))) > slot.nonce

    async def _mined(self, slot: Slot, block: ev.BlockRef, receipt: dict[str, Any]) -> Slot:
        ok = int(receipt["status"], 16) == 1
        mined = replace(slot, state=SlotState.MINED, ok=ok, block=block)
        why = None if ok else await self._why_reverted(block)
        async with self._store.unit() as unit:
            await unit.put_slot(mined)
            await self._record_mined(unit, mined, receipt)
            if why is not None:
                await unit.record(self._failed(mined, why, transient=True))
        return mined

    async def _record_mined(self, unit: Unit, slot: Slot, receipt: dict[str, Any]) -> None:
        fact = ev.TransactionMined(
            **self._fact(slot.subject, slot.act),
            block=slot.block,
            tx=slot.tx,
            ok=slot.ok,
            gas_used=int(receipt["gasUsed"], 16),
            gas_price=int(receipt["effectiveGasPrice"], 16),
        )
        await unit.record(fact)

    async def _why_reverted(self, block: ev.BlockRef) -> WorkbenchError:
        """What the transaction would have said, asked of the state just before its block."""
        sent = await self._rpc.call("eth_getTransactionByHash", block.tx)
        request = {key: sent[key] for key in ("from", "to", "gas", "value")}
        request["data"] = sent["input"]
        try:
            await self._rpc.call("eth_call", request, hex(block.number - 1))
        except NodeRevert as why:
            return explain_revert(hex_bytes(why.data))
        except RpcFault:
            pass
        return Reverted("the transaction reverted; at its parent block it would not have.")

    async def mined(self, subject: str, act: str, attempt: int, timeout_s: float) -> ev.BlockRef:
        """See `core.ports.Sender.mined`."""
        limit = self._clock.now_ms() + int(timeout_s * 1000)
        while True:
            with suppress(RpcUnreachable):  # The node may be back before our time is up.
                await self.pump()
            slot = await self._find(subject, act, attempt)
            if slot and slot.block and slot.ok:
                return slot.block
            if slot and slot.block:
                raise await self._why_reverted(slot.block)
            if slot and slot.state is SlotState.LOST:
                raise NonceTaken(f"nonce {slot.nonce} of {slot.signer} went to somebody else.")
            if self._clock.now_ms() >= limit:
                raise TransactionTimeout(
                    f"the {act} transaction was not mined within {timeout_s:g} s.",
                    hint="It was sent and may still be mined; ask again with the same payment.",
                )
            await self._clock.sleep(POLL_S)

    # --- Facts ---

    async def _put(self, slot: Slot) -> None:
        async with self._store.unit() as unit:
            await unit.put_slot(slot)

    def _fact(self, subject: str, act: str) -> dict[str, Any]:
        return {
            "subject": subject,
            "at_ms": self._clock.now_ms(),
            "source": self._source,
            "act": act,
        }

    def _about(self, slot: Slot, kind: type[Any]) -> ev.Event:
        fact: ev.Event = kind(**self._fact(slot.subject, slot.act), tx=slot.tx)
        return fact

    def _failed(self, slot: Slot, why: WorkbenchError, transient: bool) -> ev.TransactionFailed:
        return ev.TransactionFailed(
            **self._fact(slot.subject, slot.act),
            block=slot.block,
            tx=slot.tx,
            code=why.code,
            message=str(why),
            transient=transient,
        )

"""Planted rules: broken behaviour that a scenario may order, to prove that the checkers find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eth_hash.auto import keccak

from workbench.core.errors import StateMoved, WorkbenchError
from workbench.core.facts import Event, SettlementExecuted, SettlementFunded
from workbench.core.payout import Payout, PayoutOutcome, PayoutState, PayoutVerdict
from workbench.core.ports import Service, Slot, SlotState, TransactionIntent
from workbench.core.settlement import SettlementStep
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.payments.batch import payment_id
from workbench.evm.rpc.client import RECEIPT, SEND, Rpc
from workbench.services.otc.facilitator import Facilitator
from workbench.services.otc.tracker import TrackerService
from workbench.services.payouts.http import PayoutHttpService
from workbench.sim.people.wallet import SimWallet

STRANGE_BLOCK = 10
PAY_BEFORE_FINAL = "pay_before_final"
"""Confirmations are not awaited. Settings and contract do this, so nothing is planted in a
service."""


class VaultLeak:
    """`leak`: one base unit of the vault disappears, once, without an event."""

    def __init__(self, rpc: Rpc, token: str, vault: str) -> None:
        self._rpc, self._token = rpc, token
        # The ERC20 of OpenZeppelin keeps balances in the mapping of slot 0.
        self._slot = to_hex(keccak(hex_bytes(vault).rjust(32, b"\0") + bytes(32)))
        self._done = False

    async def before_block(self) -> None:
        """Take it at the first block at whose beginning the vault holds tokens."""
        if self._done:
            return
        word = await self._rpc.call("eth_getStorageAt", self._token, self._slot, "latest")
        held = int(word, 16)
        if held:
            less = to_hex((held - 1).to_bytes(32, "big"))
            await self._rpc.call("anvil_setStorageAt", self._token, self._slot, less)
            self._done = True


class ForeignSigner:
    """`foreign_nonce`: another party signs with the facilitator's key, once."""

    def __init__(self, wallet: SimWallet) -> None:
        self._wallet, self._blocks = wallet, 0

    async def before_block(self) -> None:
        """Send an empty transfer, some blocks after the start."""
        self._blocks += 1
        if self._blocks == STRANGE_BLOCK:
            await self._wallet.send(self._wallet.address)


def plant(rule: str, name: str, service: Service) -> None:
    """Plant `rule` in this service, if it is the affected one. `name`: of the service."""
    if rule == "lose_refund" and isinstance(service, Facilitator):
        _lose_refunds(service)
    elif rule in FORGOTTEN and isinstance(service, TrackerService):
        _forget(service, FORGOTTEN[rule])
    elif isinstance(service, PayoutHttpService) and rule in OF_PAYOUTS:
        OF_PAYOUTS[rule](service.payouts)


def _lose_refunds(facilitator: Any) -> None:
    """The facilitator never submits a refund."""
    owed = facilitator._owed

    def lazy(*args: Any) -> SettlementStep:
        step: SettlementStep = owed(*args)
        return SettlementStep.WAIT if step is SettlementStep.REFUND else step

    facilitator._owed = lazy


FORGOTTEN: dict[str, type[Event]] = {
    "forget_fact": SettlementExecuted,
    "forget_step": SettlementFunded,
}
"""The facts that the tracker loses: the end of a settlement, or one that others follow."""


def _forget(tracker: Any, kind: type[Event]) -> None:
    """The tracker's journal loses facts of one type."""
    watcher = tracker._watcher
    store_block = watcher._store_block

    async def forgetful(number: int, known: str, facts: list[Any]) -> None:
        await store_block(number, known, [fact for fact in facts if not isinstance(fact, kind)])

    watcher._store_block = forgetful


# --- Of payouts: rules that other senders live by ------------------------------------------------


def _send_before_store(payouts: Any) -> None:
    """Bytes are sent before they are stored, and the nonce comes from the node's pool."""
    sender = payouts._sender
    take, choose = sender._reserve, sender._next_nonce

    async def eager(acts: Sequence[TransactionIntent], priced: Sequence[Any]) -> Any:
        next_nonce = int(await sender._inclusions.nonce("pending"))

        async def unseen(unit: Any, on_chain: int) -> int:
            await choose(unit, on_chain)  # Its check of foreign nonces is disabled.
            return next_nonce

        going = [fields for fields in priced if isinstance(fields, dict)]
        for nonce, fields in enumerate(going, next_nonce):
            raw, _ = sender._signer.sign_transaction({**fields, "nonce": nonce})
            try:
                await sender._rpc.call(SEND, raw)
            except WorkbenchError as why:
                refused = StateMoved("it did not work: once more, later.")
                refused.__cause__ = why
                return {act.key: refused for act in acts}
        sender._next_nonce = unseen
        return await take(acts, priced)

    sender._reserve = eager


def _requeue_when_passed(payouts: Any) -> None:
    """A payout whose nonce is used and that has no receipt is paid again with another nonce."""
    judge, sender = payouts._judge, payouts._sender

    async def hasty() -> None:
        await judge()
        for payout in await _sent(payouts):
            slot = await _slot_of(payouts, payout)
            if slot is None or slot.state is SlotState.FINAL:
                continue
            used = await sender._inclusions.nonce("latest")
            if used <= slot.nonce or await _receipts(sender, slot):
                continue
            # The slot is freed for another one with the same key.
            lost = replace(slot, attempt=1_000 + slot.nonce, state=SlotState.LOST)
            async with payouts.store.unit() as unit:
                await unit.put_slot(lost)
                await unit.put_payout(replace(payout, state=PayoutState.APPROVED))

    payouts._judge = hasty
    # Otherwise the comparison with the journal finds the rule before anything is paid.
    payouts.differences = lambda signed, row, facts: ()


def _refund_on_first_failure(payouts: Any) -> None:
    """The first receipt that reports a failure is final, even before finality."""
    judge, sender = payouts._judge, payouts._sender

    async def credulous() -> None:
        for payout in await _sent(payouts):
            slot = await _slot_of(payouts, payout)
            receipts = await _receipts(sender, slot) if slot else []
            failed = [each for each in receipts if _says_no(payouts, payout, slot, each)]
            if not failed:
                continue
            gas = int(failed[0]["gasUsed"], 16) * int(failed[0]["effectiveGasPrice"], 16)
            tx = failed[0]["transactionHash"]
            async with payouts.store.unit() as unit:
                verdict = PayoutVerdict(PayoutOutcome.REFUSED, tx, gas_wei=gas, reason="failed")
                await payouts.end(unit, payout, verdict)
        await judge()

    payouts._judge = credulous


def _says_no(payouts: Any, payout: Payout, slot: Slot | None, receipt: dict[str, Any]) -> bool:
    """Return True if a receipt reports a failure of the payout, or of its part of a batch."""
    if not payout.batch or slot is None:
        return not int(receipt["status"], 16)
    tx = receipt["transactionHash"]
    attempt = next(each for each in slot.attempts if each.tx == tx)
    _, found = payouts.payments._outcomes(slot, attempt, receipt)
    return bool(found[payment_id(payout.id)][0] is PayoutOutcome.REFUSED)


async def _sent(payouts: Any) -> Sequence[Payout]:
    async with payouts.store.unit() as unit:
        found: Sequence[Payout] = await unit.payouts(PayoutState.SENT)
    return found


async def _slot_of(payouts: Any, payout: Payout) -> Slot | None:
    rules, address = payouts.rules, payouts.payments.address
    async with payouts.store.unit() as unit:
        slot: Slot | None = await unit.slot(rules.chain_id, address, payout.act_key)
    return slot


async def _receipts(sender: Any, slot: Slot) -> list[dict[str, Any]]:
    """Return the receipts that the node has. An error counts as none."""
    asked = [(RECEIPT, attempt.tx) for attempt in slot.attempts]
    return [each for each in await sender._rpc.many(asked) if isinstance(each, dict)]


OF_PAYOUTS = {
    "send_before_store": _send_before_store,
    "requeue_when_passed": _requeue_when_passed,
    "refund_on_first_failure": _refund_on_first_failure,
}

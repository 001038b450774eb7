"""Payouts in a storm: none paid twice, none refunded and paid, none marked paid and unpaid.

The storm itself is in `storm.py`; `make soak ARGS="payouts"` plays many more. Each wrong rule that
other senders live by is planted, and must be caught.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.services.fake_chain import BATCHER_CODE
from tests.services.payouts.storm import EACH, FOREIGN, Killed, Rules, Storm
from workbench.core.errors import WorkbenchError
from workbench.core.facts import Event, SignerQuarantined, TransactionSigned
from workbench.core.payout import Payout, PayoutOutcome, PayoutState, PayoutVerdict
from workbench.core.ports import Attempt, Slot, SlotState, TransactionIntent
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.payments import batch as batching
from workbench.evm.payments.wallet import EvmPayments
from workbench.evm.transactions import submit
from workbench.evm.transactions.sender import SlotSender
from workbench.evm.transactions.slots import SharedNonces
from workbench.services.payouts.input import PayoutInput
from workbench.services.payouts.rounds import Payouts

PAYOUTS = int(os.environ.get("STORM_PAYOUTS", "2000"))
"""In all; `make check` has 2,000. More: `STORM_PAYOUTS=10000 make check`."""
BATCHED = PAYOUTS // 5
"""And so many for each size of batches."""


@pytest.mark.check
@pytest.mark.parametrize("part", range(4))
def test_a_storm_of_payouts(part: int) -> None:
    """2,000 of them, in worlds of 100: exactly once, whatever happens."""
    for seed in range(part, PAYOUTS // EACH, 4):
        storm = Storm(seed, foreign=FOREIGN)
        storm.play()
        assert [] == storm.problems(), f"seed {seed}"
        states = {payout.state for payout in storm.all()}
        assert {PayoutState.PAID, PayoutState.REFUNDED} == states, (
            "some receivers refuse, others do not"
        )


@pytest.fixture(autouse=True)
def known_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batcher of the chain in memory is taken for the real one."""
    monkeypatch.setattr(batching, "CODE_HASH", to_hex(keccak(hex_bytes(BATCHER_CODE))))


@pytest.mark.check
@pytest.mark.parametrize("batch", [2, 7, 100])
def test_a_storm_of_batches(batch: int) -> None:
    """The same storms, and most go together with others; what a batch would not pay goes alone."""
    together = 0
    for seed in range(BATCHED // EACH):
        storm = Storm(1_000 * batch + seed, batch=batch)
        storm.play()
        assert [] == storm.problems(), f"seed {seed}"
        payouts = storm.all()
        assert {PayoutState.PAID, PayoutState.REFUNDED} == {payout.state for payout in payouts}
        members = Counter(payout.batch for payout in payouts if payout.batch)
        assert max(members.values()) <= batch
        together += sum(members.values())
    assert together > BATCHED * 8 // 10


def test_a_seed_is_a_storm() -> None:
    """The same seed gives the same blocks: what was found can be found again."""
    first, second = (Storm(5, count=20, foreign=FOREIGN) for _ in range(2))
    for storm in (first, second):
        storm.play(40)
    assert [b.hash for b in first.chain.blocks] == [b.hash for b in second.chain.blocks]


def test_foreign_nonces_stop_the_signer_and_a_person_lets_it_go_on() -> None:
    """Every few steps another program takes a nonce of ours, in this storm among all the rest."""
    stops, given_back = 0, 0
    for seed in range(1, 4):
        storm = Storm(seed, foreign=0.05)
        storm.play()
        assert [] == storm.problems(), f"seed {seed}"
        assert len(storm.chain.strange) > 2
        assert storm.chain.foreign_cost() > 0
        stops += sum(isinstance(fact, SignerQuarantined) for fact in storm.facts())
        given_back += sum("by the person on call" in p.reason for p in storm.all())
    assert stops > 3
    assert given_back, "none of ours has lost its nonce"


@pytest.mark.slow
def test_a_storm_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the next ones are signed while the last ones are sent."""
    monkeypatch.setattr(submit, "PART", 2)
    monkeypatch.setattr(submit, "FIRST_PART", 2)
    for seed in range(PAYOUTS // EACH // 4):
        storm = Storm(500 + seed, foreign=FOREIGN)
        storm.play()
        assert [] == storm.problems(), f"seed {seed}"


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize(("count", "batch"), [(1, 1), (3, 3), (5, 1)])
def test_killed_around_every_commit(
    moment: str, count: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turn, each commit of one payout's life, of three that are paid together, or of five in
    three parts: a new process goes on, and each is paid once."""
    monkeypatch.setattr(submit, "PART", 2)
    monkeypatch.setattr(submit, "FIRST_PART", 2)
    step = 0
    while True:
        step += 1
        storm = Storm(3, count=count, batch=batch)
        commits: list[int] = []
        storm.chain.bad.clear()
        storm.loop.run_until_complete(storm.payouts.check())

        def perhaps(step: int = step, commits: list[int] = commits) -> None:
            commits.append(1)
            if len(commits) == step:
                raise Killed

        storm.start()
        setattr(storm.store, moment, perhaps)
        for _ in range(40):
            if storm.do(storm.payouts.earn(PayoutInput("user", 10**6, "credits"))):
                for number in range(count):
                    storm.ask(number)
            storm.do(storm.payouts.tick())
            storm.chain.mine()
            storm.loop.jump(2)
        done = len(commits)
        setattr(storm.store, moment, lambda: None)
        assert [] == storm.problems(), f"step {step}"
        assert {PayoutState.PAID} == {payout.state for payout in storm.all()}
        assert (batch > 1) == any(payout.batch for payout in storm.all())
        if done < step:
            break
    assert step > 9, "a payout has more commits than that"


# --- Wrong rules, each of which some sender lives by ---


class SendsFirst(SlotSender):
    """Sends, and stores afterwards: what was sent before a death is not known any more."""

    def __init__(self, *ports: Any, **named: Any) -> None:
        super().__init__(*ports, **{**named, "nonces": SharedNonces()})
        self._slots.take = self._put  # type: ignore[method-assign]

    async def _sign(self, nonce: int, fields: dict[str, Any], intent: TransactionIntent) -> Slot:
        state = SlotState.SENT
        raw, tx = self._signer.sign_transaction({**fields, "nonce": nonce})
        try:
            await self._rpc.call("eth_sendRawTransaction", raw)
        except WorkbenchError:
            state = SlotState.SIGNED  # Once more, later.
        return Slot(
            self._chain_id, self.address, nonce, intent.subject, intent.call.act, intent.attempt,
            state, (Attempt(tx, raw),), sent_ms=self._clock.now_ms(),
        )  # fmt: skip

    async def _put(self, unit: Any, fresh: Sequence[Slot]) -> None:
        for slot in fresh:
            await unit.put_slot(slot)
            own = {"signer": slot.signer, "nonce": slot.nonce}
            await unit.record(self._slots.about(slot, TransactionSigned, **own))

    async def _next_nonce(self, unit: Any, on_chain: int) -> int | None:
        """And the node is asked for the nonce, its pool included."""
        while on_chain in self._rpc.chain.pool:  # type: ignore[attr-defined]
            on_chain += 1
        return on_chain


class Requeues(Payouts):
    """The nonce has passed and no receipt is found: another nonce, then.

    Its rows are not compared with the journal: that alone would find the rule out.
    """

    def differences(self, signed: Payout, row: Payout, facts: Sequence[Event]) -> Sequence[str]:
        return ()

    async def _judge(self) -> None:
        await super()._judge()
        sender: Any = self._sender
        async with self.store.unit() as unit:
            sent = await unit.payouts(PayoutState.SENT)
            slots = [await unit.slot(31337, sender.address, p.act_key) for p in sent]
        for payout, slot in zip(sent, slots, strict=True):
            if slot is None or slot.state is SlotState.FINAL:
                continue
            if await sender._inclusions.nonce("latest") <= slot.nonce:
                continue
            receipts = await sender._rpc.many(
                [("eth_getTransactionReceipt", attempt.tx) for attempt in slot.attempts]
            )
            if all(r is None or isinstance(r, WorkbenchError) for r in receipts):
                again = replace(slot, attempt=1000 + slot.nonce, state=SlotState.LOST)
                async with self.store.unit() as unit:
                    await unit.put_slot(again)
                    alone = replace(payout, state=PayoutState.APPROVED, batch="", place=0)
                    await unit.put_payout(alone)


class Hasty(EvmPayments):
    """The first receipt that says "failed" is believed; of a batch, what it says of one payment."""

    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[PayoutVerdict]:
        hashes = list(dict.fromkeys(each.tx for _, slot in cases for each in slot.attempts))
        told = await self._rpc.many([("eth_getTransactionReceipt", tx) for tx in hashes])
        receipts = {tx: a for tx, a in zip(hashes, told, strict=True) if isinstance(a, dict)}
        verdicts: dict[str, PayoutVerdict] = {}
        for payout, slot in cases:
            for attempt in slot.attempts:
                receipt = receipts.get(attempt.tx)
                if receipt and self._says_no(payout, slot, attempt, receipt):
                    gas = 21_000 * int(receipt["effectiveGasPrice"], 16)
                    failed = PayoutVerdict(
                        PayoutOutcome.REFUSED, attempt.tx, gas_wei=gas, reason="failed"
                    )
                    verdicts[payout.id] = failed
        left = [(payout, slot) for payout, slot in cases
                if payout.id not in verdicts and slot.state is SlotState.FINAL]  # fmt: skip
        judged = await super().judge(left) if left else []
        verdicts |= {p.id: verdict for (p, _), verdict in zip(left, judged, strict=True)}
        return [verdicts.get(payout.id, PayoutVerdict(PayoutOutcome.WAIT)) for payout, _ in cases]

    def _says_no(self, payout: Payout, slot: Slot, attempt: Attempt, receipt: Any) -> bool:
        if not payout.batch:
            return int(receipt["status"], 16) == 0
        _, found = self._outcomes(slot, attempt, receipt)
        return found[batching.payment_id(payout.id)][0] is PayoutOutcome.REFUSED


class AsksEarly(Payouts):
    """And is asked for before anything is final."""

    async def _judge(self) -> None:
        finals = []
        async with self.store.unit() as unit:
            for payout in await unit.payouts(PayoutState.SENT):
                slot = await unit.slot(31337, self.payments.address, payout.act_key)
                if slot is not None:
                    finals.append((payout, slot))
        for (payout, _), verdict in zip(finals, await self.payments.judge(finals), strict=True):
            if verdict.outcome is not PayoutOutcome.WAIT:
                async with self.store.unit() as unit:
                    await self.end(unit, payout, verdict)


WRONG = {
    "the hash is stored after it was sent": (Rules(sender=SendsFirst), "paid 2 times"),
    "requeued once the nonce has passed": (Rules(payouts=Requeues), "paid 2 times"),
    "refunded on the first failed receipt": (
        Rules(payments=Hasty, payouts=AsksEarly), "was paid and refunded",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_rule_is_caught(rule: str) -> None:
    """Within some seeds the storm shows what it costs."""
    rules, symptom = WRONG[rule]
    for seed in range(20):
        # Reconciliation would stop the signer at the first trace of it.
        storm = Storm(seed, replace(rules, reconcile_s=1e9), count=60)
        storm.chain.bad.update(dict.fromkeys(storm.receivers[::3], False))
        with suppress(WorkbenchError, AssertionError):
            storm.play(80)  # A wrong rule may also run into a wall; what it paid is what counts.
        paid = storm.chain.paid()
        found = [f"{r} was paid {n} times" for r, n in paid.items() if n > 1]
        found += [
            f"{p.id} was paid and {p.state.value}"
            for p in storm.all()
            if p.state is PayoutState.REFUNDED and paid[p.address]
        ]
        if any(symptom.replace("2 times", "") in each for each in found):
            return
    raise AssertionError(f"{rule}: never caught")


def lawless(storm: Storm) -> None:
    """A database that lets a payout leave its batch."""
    with storm.store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER payout_together")


def paid_wrongly(storm: Storm) -> list[str]:
    """Who was paid more than once, or was also given the credits back."""
    paid = storm.chain.paid()
    found = [f"paid {times} times" for times in paid.values() if times > 1]
    refunded = (p for p in storm.all() if p.state is PayoutState.REFUNDED and paid[p.address])
    return found + [f"{p.id} was paid and refunded" for p in refunded]


@pytest.mark.slow
@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_rule_is_caught_in_batches(rule: str) -> None:
    """By a contract without a memory. The real one has it: then nobody is paid twice even so.

    (A refund that comes too early is nobody's to mend but ours.)
    """
    rules, symptom = WRONG[rule]
    for seed in range(8):
        played = []
        for remembers in (False, True):
            storm = Storm(seed, replace(rules, reconcile_s=1e9), count=60, batch=5)
            storm.chain.bad.update(dict.fromkeys(storm.receivers[::3], False))
            storm.chain.remembers = remembers
            if "refunded" in symptom:  # Fewer and larger targets than single payments.
                storm.reorgs = 0.3
            lawless(storm)
            with suppress(WorkbenchError, AssertionError):
                storm.play(80)
            played.append(paid_wrongly(storm))
        without, with_memory = played
        twice = [each for each in with_memory if "times" in each]
        assert [] == twice, f"seed {seed}"
        if any(symptom.replace("2 times", "") in each for each in without):
            return
    raise AssertionError(f"{rule}: never caught")

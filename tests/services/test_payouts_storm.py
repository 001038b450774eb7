"""Payouts in a storm: none paid twice, none refunded and paid, none marked paid and unpaid.

The storm itself is in `storm.py`; `make soak ARGS="payouts"` plays many more. Each wrong rule that
other senders live by is planted, and must be caught.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.services.storm import EACH, FOREIGN, Killed, Rules, Storm
from workbench.chain.payments import EvmPayments
from workbench.chain.sender import SlotSender
from workbench.chain.slots import CountOn
from workbench.core.errors import StateMoved, WorkbenchError
from workbench.core.events import SignerQuarantined, TransactionSigned
from workbench.core.payout import ACT, Outcome, Payout, State, Verdict
from workbench.core.ports import Act, Attempt, Slot, SlotState
from workbench.services.payout_input import Asked
from workbench.services.payouts import Payouts

PAYOUTS = int(os.environ.get("STORM_PAYOUTS", "2000"))
"""In all; `make test` has 2,000. More: `STORM_PAYOUTS=10000 pytest …`."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_storm_of_payouts(part: int) -> None:
    """2,000 of them, in worlds of 100: exactly once, whatever happens."""
    for seed in range(part, PAYOUTS // EACH, 4):
        storm = Storm(seed, foreign=FOREIGN)
        storm.play()
        assert [] == storm.problems(), f"seed {seed}"
        states = {payout.state for payout in storm.all()}
        assert {State.PAID, State.REFUNDED} == states, "some receivers refuse, others do not"


def test_a_seed_is_a_storm() -> None:
    """The same seed gives the same blocks: what was found can be found again."""
    first, second = (Storm(5, count=20, foreign=FOREIGN) for _ in range(2))
    for storm in (first, second):
        storm.play(40)
    assert [b.hash for b in first.chain.blocks] == [b.hash for b in second.chain.blocks]


def test_foreign_nonces_stop_the_signer_and_a_person_lets_it_go_on() -> None:
    """Every few steps another program takes a nonce of ours, in this storm among all the rest."""
    storm = Storm(1, foreign=0.05)
    storm.play()
    assert [] == storm.problems()
    assert len(storm.chain.strange) > 2
    assert storm.chain.foreign_cost() > 0
    assert len([f for f in storm.facts() if isinstance(f, SignerQuarantined)]) > 2
    given_back = [p for p in storm.all() if "by the person on call" in p.reason]
    assert given_back, "none of ours has lost its nonce"


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_killed_around_every_commit(moment: str) -> None:
    """In turn, each commit of one payout's life: a new process goes on, and it is paid once."""
    step = 0
    while True:
        step += 1
        storm = Storm(3, count=1)
        commits: list[int] = []
        storm.chain.bad.clear()
        storm.loop.run_until_complete(storm.payouts.check())

        def count(step: int = step, commits: list[int] = commits) -> None:
            commits.append(1)
            if len(commits) == step:
                raise Killed

        storm.start()
        setattr(storm.store, moment, count)
        for _ in range(40):
            if storm.do(storm.payouts.earn(Asked("user", 10**6, "credits"))):
                storm.ask(0)
            storm.do(storm.payouts.tick())
            storm.chain.mine()
            storm.loop.jump(2)
        done = len(commits)
        setattr(storm.store, moment, lambda: None)
        assert [] == storm.problems(), f"step {step}"
        assert {State.PAID} == {payout.state for payout in storm.all()}
        if done < step:
            break
    assert step > 9, "a payout has more commits than that"


# --- Wrong rules, each of which some sender lives by ---


class SendsFirst(SlotSender):
    """Sends, and stores afterwards: what was sent before a death is not known any more."""

    def __init__(self, *ports: Any, **named: Any) -> None:
        super().__init__(*ports, **{**named, "nonces": CountOn()})
        self._book.take = self._put  # type: ignore[method-assign]

    async def _signed(self, unit: Any, nonce: int, fields: dict[str, Any], act: Act) -> Slot:
        raw, tx = self._signer.sign_transaction({**fields, "nonce": nonce})
        try:
            await self._rpc.call("eth_sendRawTransaction", raw)
        except WorkbenchError as why:
            raise StateMoved("it did not work: once more, later.") from why
        slot = Slot(
            self._chain_id, self.address, nonce, act.subject, act.call.act, act.attempt,
            SlotState.SENT, (Attempt(tx, raw),), sent_ms=self._clock.now_ms(),
        )  # fmt: skip
        if act.within is not None:
            await act.within(unit, slot)
        return slot

    async def _put(self, unit: Any, fresh: Sequence[Slot]) -> None:
        for slot in fresh:
            await unit.put_slot(slot)
            own = {"signer": slot.signer, "nonce": slot.nonce}
            await unit.record(self._book.about(slot, TransactionSigned, **own))

    async def _choose(self, unit: Any, on_chain: int) -> int | None:
        """And the node is asked for the nonce, its pool included."""
        while on_chain in self._rpc.chain.pool:  # type: ignore[attr-defined]
            on_chain += 1
        return on_chain


class Requeues(Payouts):
    """The nonce has passed and no receipt is found: another nonce, then."""

    async def _judge(self, sent: Sequence[Payout]) -> None:
        await super()._judge(sent)
        sender: Any = self._sender
        for payout in sent:
            async with self.store.unit() as unit:
                slot = await unit.slot(31337, sender.address, (payout.id, ACT, 1))
            if slot is None or slot.state is SlotState.FINAL:
                continue
            if await sender._outcomes.nonce("latest") <= slot.nonce:
                continue
            receipts = await sender._rpc.many(
                [("eth_getTransactionReceipt", attempt.tx) for attempt in slot.attempts]
            )
            if all(r is None or isinstance(r, WorkbenchError) for r in receipts):
                again = replace(slot, attempt=1000 + slot.nonce, state=SlotState.LOST)
                async with self.store.unit() as unit:
                    await unit.put_slot(again)
                    await unit.put_payout(replace(payout, state=State.APPROVED))


class Hasty(EvmPayments):
    """The first receipt that says "failed" is believed."""

    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[Verdict]:
        verdicts = []
        for payout, slot in cases:
            verdict = Verdict(Outcome.WAIT)
            for attempt in slot.attempts:
                receipt = await self._rpc.call("eth_getTransactionReceipt", attempt.tx)
                if receipt and int(receipt["status"], 16) == 0:
                    gas = 21_000 * int(receipt["effectiveGasPrice"], 16)
                    verdict = Verdict(Outcome.REFUSED, attempt.tx, gas_wei=gas, reason="failed")
            if verdict.outcome is Outcome.WAIT and slot.state is SlotState.FINAL:
                (verdict,) = await super().judge([(payout, slot)])
            verdicts.append(verdict)
        return verdicts


class AsksEarly(Payouts):
    """And is asked for before anything is final."""

    async def _judge(self, sent: Sequence[Payout]) -> None:
        finals = []
        async with self.store.unit() as unit:
            for payout in sent:
                slot = await unit.slot(31337, self.payments.address, (payout.id, ACT, 1))
                if slot is not None:
                    finals.append((payout, slot))
        for (payout, _), verdict in zip(finals, await self.payments.judge(finals), strict=True):
            if verdict.outcome is not Outcome.WAIT:
                async with self.store.unit() as unit:
                    await self._end(unit, payout, verdict)


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
            if p.state is State.REFUNDED and paid[p.address]
        ]
        if any(symptom.replace("2 times", "") in each for each in found):
            return
    raise AssertionError(f"{rule}: never caught")

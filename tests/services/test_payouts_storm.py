"""Payouts in a storm: none paid twice, none refunded and paid, none marked paid and unpaid.

Real services, sender, signer and database on a chain in memory: lost requests and answers, lagging
nodes, reorgs up to the finality depth, deaths between any two steps, fee spikes, evictions,
receivers that refuse. Once the faults stop, everything ends. Each wrong rule that other senders
live by is planted, and must be caught.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.services.fake_chain import FakeChain, Line
from workbench.chain.guard import PaymentSigner
from workbench.chain.keys import key_of
from workbench.chain.payments import EvmPayments
from workbench.chain.quarantine import Quarantine
from workbench.chain.sender import SlotSender
from workbench.chain.slots import CountOn
from workbench.core import ledger
from workbench.core.errors import StateMoved, WorkbenchError
from workbench.core.events import TransactionSigned
from workbench.core.finality import Policy
from workbench.core.payout import ACT, ENDED, Outcome, Payout, State, Verdict, fold
from workbench.core.ports import Act, Attempt, Slot, SlotState
from workbench.services.payout_input import Asked
from workbench.services.payouts import PayoutRules, Payouts
from workbench.sim.loop import VirtualClock, VirtualLoop
from workbench.store.ledger import LedgerStore
from workbench.wiring import SeededRandomness

DEPTH = 6
PAYOUTS = int(os.environ.get("STORM_PAYOUTS", "2000"))
"""In all; `make test` has 2,000. More: `STORM_PAYOUTS=10000 pytest …`."""
EACH = 100
KEY = key_of("payer").secret
FUNDS = 10**24


class Killed(BaseException):
    """The process is gone. Nothing catches this on the way out."""


@dataclass
class Rules:
    """The parts of the machine that a test may exchange for wrong ones."""

    sender: type[SlotSender] = SlotSender
    payouts: type[Payouts] = Payouts
    payments: type[EvmPayments] = EvmPayments
    line: type[Line] = Line
    store: type[LedgerStore] = LedgerStore
    reconcile_s: float = 20.0
    bump_after_s: float = 20.0


class Storm:
    """One wallet, `EACH` payouts to as many receivers, everything drawn from one seed."""

    def __init__(
        self, seed: int, rules: Rules | None = None, *, count: int = EACH, url: str = "sqlite://"
    ) -> None:
        self.rules = rules or Rules()
        self.chance = random.Random(seed)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, 1_767_225_600)
        self.store = self.rules.store(url)
        self.tokens = SeededRandomness(random.Random(seed))
        self.signer = PaymentSigner(KEY, chain_id=31337, token=None)
        self.chain = FakeChain(self.chance, self.signer.address, DEPTH, FUNDS)
        self.receivers = [f"0x{n + 1:040x}" for n in range(count)]
        for receiver in self.chance.sample(self.receivers, min(count, max(2, count // 10))):
            self.chain.bad[receiver] = self.chance.random() < 0.4
        self.deaths, self.bad = 0.0, 0.0
        self.accepted = 0
        self.start()

    def start(self) -> None:
        """A new process on the same database."""
        self.line = self.rules.line(self.chain, self.chance, self.bad)
        self.line.before = self.perhaps_die
        self.store.before_commit = self.store.after_commit = self.perhaps_die
        signer = PaymentSigner(KEY, chain_id=31337, token=None)
        known: dict[str, Any] = {"chain_id": 31337, "source": "payouts"}
        policy = Policy(DEPTH)
        sender = self.rules.sender(
            self.line, signer, self.store, self.clock, finality=policy,
            nonces=Quarantine(self.clock, address=signer.address, **known),
            bump_after_s=self.rules.bump_after_s, is_thrifty=True, **known,
        )  # fmt: skip
        payments = self.rules.payments(
            self.line, signer, chain_id=31337, token=None, decimals=None, finality=policy
        )
        every_s = self.rules.reconcile_s
        self.payouts = self.rules.payouts(
            store=self.store, sender=sender, payments=payments, clock=self.clock,
            random=self.tokens,
            rules=PayoutRules(chain_id=31337, units_per_credit=10**15, reconcile_s=every_s),
        )  # fmt: skip

    def perhaps_die(self) -> None:
        if self.deaths and self.chance.random() < self.deaths:
            raise Killed

    def do(self, work: Any) -> Any:
        """What the process does, unless it dies: then a new one is started."""
        try:
            return self.loop.run_until_complete(work)
        except Killed:
            self.deaths, kept = 0.0, self.deaths
            self.start()
            self.deaths = kept
        except WorkbenchError as why:
            assert why.transient, why
        return None

    def ask(self, number: int) -> None:
        """A client asks until it has an answer, always with the same key."""
        asked = Asked("user", 1 + number % 7, f"key-{number}", self.receivers[number])
        self.do(self.payouts.request(asked))

    def step(self) -> None:
        if self.accepted < len(self.receivers):
            for _ in range(self.chance.randint(0, 3)):
                self.ask(self.chance.randrange(self.accepted + 1))
                self.ask(self.accepted)
                self.accepted = min(self.accepted + 1, len(self.receivers) - 1)
        for _ in range(self.chance.randint(1, 2)):
            self.do(self.payouts.tick())
        self.loop.jump(self.chance.choice((1, 2, 6)))
        if self.chance.random() < 0.8:
            self.chain.mine()

    def strike(self) -> None:
        draw = self.chance.random()
        if draw < 0.06:
            self.chain.reorg(self.chance.randint(1, DEPTH - 1))
        elif draw < 0.10:
            self.chain.evict()
        elif draw < 0.12:
            self.chain.spike = self.chance.randint(1, 6)

    def play(self, steps: int = 110) -> None:
        """The storm, and then calm until everything has ended."""
        self.loop.run_until_complete(self.payouts.check())
        self.loop.run_until_complete(self.payouts.earn(Asked("user", 10**6, "credits")))
        self.bad, self.deaths = 0.05, 0.003
        self.start()
        for _ in range(steps):
            self.step()
            self.strike()
        self.bad = self.deaths = 0.0
        self.start()
        for number in range(len(self.receivers)):
            self.ask(number)
        for _ in range(600):
            self.loop.run_until_complete(self.payouts.tick())
            self.chain.mine()
            self.loop.jump(6)
            if all(payout.state in ENDED for payout in self.all()):
                break
        for _ in range(DEPTH + 1):
            self.chain.mine()

    # --- What is true, and what the books say ---

    def all(self) -> Sequence[Payout]:
        async def read() -> Sequence[Payout]:
            async with self.store.unit() as unit:
                return await unit.payouts()

        return asyncio.run(read())

    def problems(self) -> list[str]:
        """What must never be."""
        paid, found = self.chain.paid(), []
        payouts = self.all()
        if len(payouts) != len(self.receivers):
            found.append(f"{len(payouts)} payouts for {len(self.receivers)} keys")
        for payout in payouts:
            times = paid[payout.address]
            if times > 1:
                found.append(f"{payout.id} was paid {times} times")
            if times and payout.state in (State.REFUNDED, State.CANCELLED):
                found.append(f"{payout.id} was paid and {payout.state.value}")
            if not times and payout.state is State.PAID:
                found.append(f"{payout.id} is called paid, and is not")
            if payout.state not in ENDED:
                found.append(f"{payout.id} has not ended: {payout.state.value}")
        return found + self._books(payouts)

    def _books(self, payouts: Sequence[Payout]) -> list[str]:
        async def read() -> list[str]:
            async with self.store.unit() as unit:
                accounts = {a.id: a for a in await unit.accounts()}
                ledger.check(accounts.values(), await unit.transfers())
                facts = [fact for _, fact in await unit.facts()]
            redeemed = sum(p.credits for p in payouts if p.state is State.PAID)
            found = []
            if accounts["redeemed"].balance != redeemed:
                found.append(f"{accounts['redeemed'].balance} redeemed, {redeemed} paid")
            if accounts["user:user"].available != 10**6 - redeemed:
                found.append("credits were lost or made")
            if fold(facts) != {payout.id: payout for payout in payouts}:
                found.append("the rows are not the fold of the facts")
            report = await self.payouts.reconciler.run()
            if not report.is_right or set(report.booked.values()) - {FUNDS}:
                found.append(f"the ledger is not the chain: {report}")
            return found

        return self.loop.run_until_complete(read())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_storm_of_payouts(part: int) -> None:
    """2,000 of them, in worlds of 100: exactly once, whatever happens."""
    for seed in range(part, PAYOUTS // EACH, 4):
        storm = Storm(seed)
        storm.play()
        assert [] == storm.problems(), f"seed {seed}"
        states = {payout.state for payout in storm.all()}
        assert {State.PAID, State.REFUNDED} == states, "some receivers refuse, others do not"


def test_a_seed_is_a_storm() -> None:
    """The same seed gives the same blocks: what was found can be found again."""
    first, second = Storm(5, count=20), Storm(5, count=20)
    for storm in (first, second):
        storm.play(40)
    assert [b.hash for b in first.chain.blocks] == [b.hash for b in second.chain.blocks]


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

    async def _judge(self) -> None:
        await super()._judge()
        sender: Any = self._sender
        async with self.store.unit() as unit:
            sent = await unit.payouts(State.SENT)
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

    async def _judge(self) -> None:
        finals = []
        async with self.store.unit() as unit:
            for payout in await unit.payouts(State.SENT):
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

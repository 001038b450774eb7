"""A storm around the payout service: what `test_payouts_storm` and `make soak` play, seed by seed.

Real services, sender, signer and database on a chain in memory: lost requests and answers, lagging
nodes, reorgs up to the finality depth, deaths between any two steps, fee spikes, evictions, foreign
nonces, receivers that refuse. Where the signer is stopped, a person looks, gives back what lost its
nonce, and lets it go on. Once the faults stop, everything ends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.services.fake_chain import BATCHER, FakeChain, Line
from workbench.core import ledger
from workbench.core.errors import WorkbenchError
from workbench.core.facts import Event
from workbench.core.finality import FinalityPolicy
from workbench.core.payout import ENDED, Payout, PayoutState, fold
from workbench.core.ports import SlotState
from workbench.evm.payments.guard import PaymentSigner
from workbench.evm.payments.wallet import EvmPayments
from workbench.evm.transactions.quarantine import Quarantine
from workbench.evm.transactions.sender import SlotSender
from workbench.evm.transactions.test_keys import key_of
from workbench.services.common.loop import FaultPolicy
from workbench.services.payouts.input import PayoutInput
from workbench.services.payouts.rounds import Payouts
from workbench.services.payouts.rules import PayoutRules
from workbench.sim.time.loop import VirtualClock, VirtualLoop
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.rules import SeededRandomness
from workbench.worlds.wiring import loop_of

DEPTH = 6
EACH = 100
KEY = key_of("payer").secret
FUNDS = 10**24
FOREIGN = 0.01
"""How often, in a step, another program takes a nonce of our key."""


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
    """One wallet, `EACH` payouts to as many receivers, everything drawn from one seed.

    `foreign`: how often, in a step, another program takes a nonce of our key. `batch`: the most
    payouts that are paid together.
    """

    def __init__(
        self,
        seed: int,
        rules: Rules | None = None,
        *,
        count: int = EACH,
        url: str = "sqlite://",
        foreign: float = 0.0,
        batch: int = 1,
    ) -> None:
        self.rules, self.foreign, self.batch = rules or Rules(), foreign, batch
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
        self.deaths, self.bad, self.reorgs = 0.0, 0.0, 0.06
        self.accepted = 0
        self.start()

    def start(self) -> None:
        """A new process on the same database."""
        self.line = self.rules.line(self.chain, self.chance, self.bad)
        self.line.before = self.perhaps_die
        self.store.before_commit = self.store.after_commit = self.perhaps_die
        batcher = BATCHER if self.batch > 1 else None
        signer = PaymentSigner(KEY, chain_id=31337, token=None, batcher=batcher)
        known: dict[str, Any] = {"chain_id": 31337, "source": "payouts"}
        policy = FinalityPolicy(DEPTH)
        loop = loop_of("payouts", self.clock, FaultPolicy.RAISE)
        sender = self.rules.sender(
            self.line, signer, self.store, self.clock, finality=policy,
            nonces=Quarantine(self.clock, address=signer.address, **known),
            bump_after_s=self.rules.bump_after_s, is_thrifty=True, reports=loop.health, **known,
        )  # fmt: skip
        payments = self.rules.payments(
            self.line, signer, chain_id=31337, token=None, decimals=None, finality=policy,
            batcher=batcher, most=self.batch,
        )  # fmt: skip
        every_s = self.rules.reconcile_s
        self.payouts = self.rules.payouts(
            store=self.store, sender=sender, payments=payments, clock=self.clock,
            loop=loop, random=self.tokens,
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
        asked = PayoutInput("user", 1 + number % 7, f"key-{number}", self.receivers[number])
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
        if draw < self.reorgs:
            self.chain.reorg(self.chance.randint(1, DEPTH - 1))
        elif draw < self.reorgs + 0.04:
            self.chain.evict()
        elif draw < self.reorgs + 0.06:
            self.chain.spike = self.chance.randint(1, 6)
        elif draw < self.reorgs + 0.06 + self.foreign:
            next_ = self.chain.count(self.chain.head)
            self.chain.foreign(next_ + self.chance.randint(0, 2))

    # --- The person who is called when the signer stands still ---

    async def look_after_the_signer(self) -> None:
        """Nothing is done before all that was mined is final, and no foreign nonce is next.

        What lost its nonce is given back; whether that is so, the service itself says.
        """
        chain, address = self.chain, self.payouts.payments.address
        if chain.count(chain.final) < chain.count(chain.head) or chain.is_foreign_next():
            return
        async with self.store.unit() as unit:
            standing = await unit.signer(31337, address)
            sent = await unit.payouts(PayoutState.SENT)
            slots = [await unit.slot(31337, address, payout.act_key) for payout in sent]
        if standing is None or not standing.quarantine:
            return
        for payout, slot in zip(sent, slots, strict=True):
            if slot is not None and slot.state is SlotState.LOST:
                by = "the person on call"
                if slot.nonce % 2:  # Without a draw: the storm of a seed stays what it was.
                    await self.payouts.refund(payout.id, by)
                else:
                    await self.payouts.resolve(payout.id, "refunded", by, "looked at the chain")
        await self.payouts.release("the person on call", "looked at the chain")

    def play(self, steps: int = 110) -> None:
        """The storm, and then calm until everything has ended."""
        self.loop.run_until_complete(self.payouts.check())
        self.loop.run_until_complete(self.payouts.earn(PayoutInput("user", 10**6, "credits")))
        self.bad, self.deaths = 0.05, 0.003
        self.start()
        for _ in range(steps):
            self.step()
            self.strike()
            if self.foreign and self.chance.random() < 0.3:
                self.do(self.look_after_the_signer())
        self.bad = self.deaths = 0.0
        self.start()
        for number in range(len(self.receivers)):
            self.ask(number)
        for _ in range(600):
            self.calm()
            if all(payout.state in ENDED for payout in self.all()):
                break
        for _ in range(DEPTH + 1):
            self.chain.mine()
        for _ in range(DEPTH if self.foreign else 0):  # Until what others spent is booked, too.
            self.calm()

    def calm(self) -> None:
        """A round without faults, and a block."""
        self.loop.run_until_complete(self.payouts.tick())
        self.chain.mine()
        self.loop.jump(6)
        if self.foreign:
            self.loop.run_until_complete(self.look_after_the_signer())

    # --- What is true, and what the books say ---

    def all(self) -> Sequence[Payout]:
        async def read() -> Sequence[Payout]:
            async with self.store.unit() as unit:
                return await unit.payouts()

        return asyncio.run(read())

    def facts(self) -> list[Event]:
        async def read() -> list[Event]:
            async with self.store.unit() as unit:
                return [fact for _, fact in await unit.facts()]

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
            if times and payout.state in (PayoutState.REFUNDED, PayoutState.CANCELLED):
                found.append(f"{payout.id} was paid and {payout.state.value}")
            if not times and payout.state is PayoutState.PAID:
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
            redeemed = sum(p.credits for p in payouts if p.state is PayoutState.PAID)
            found, others = [], self.chain.foreign_cost()
            # What others spent is in suspense, or was gone before the first reconciliation.
            held = [accounts.get(f"{name}:eip155:31337/native") for name in ("funding", "suspense")]
            if any(held) and FUNDS + sum(a.balance for a in held if a) != others:
                found.append(f"{held} is not what came, less what others spent, {others}")
            if accounts["redeemed"].balance != redeemed:
                found.append(f"{accounts['redeemed'].balance} redeemed, {redeemed} paid")
            if accounts["user:user"].available != 10**6 - redeemed:
                found.append("credits were lost or made")
            if fold(facts) != {payout.id: payout for payout in payouts}:
                found.append("the rows are not the fold of the facts")
            report = await self.payouts.reconciler.conclude()
            if not report.is_right or set(report.booked.values()) - {FUNDS - others}:
                found.append(f"the ledger is not the chain: {report}")
            return found

        return self.loop.run_until_complete(read())

"""Several processes with one key on one database: each payout is paid once, and nonces have no gap.

First in a storm on virtual time, where the processes' rounds interleave at every question to the
node; on SQLite with its lease taken away, and on PostgreSQL. Then as real processes, of which one
is killed at its work again and again.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.services.fake_chain import Line
from tests.services.payouts.storm import Rules, Storm
from tests.services.payouts.test_killed import Process
from workbench.core.errors import WorkbenchError
from workbench.core.payout import ENDED
from workbench.core.ports import SlotState
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.transactions.test_keys import key_of
from workbench.services.payouts.input import PayoutInput
from workbench.sim.time.loop import VirtualLoop
from workbench.store.ledger.database import LedgerStore

NEEDS_POSTGRES = pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)


class Slow(Line):
    """Every question takes its time, before and after the node has done what was asked."""

    async def call(self, method: str, *params: Any) -> Any:
        await asyncio.sleep(self.chance.random() / 10)
        try:
            return await super().call(method, *params)
        finally:
            await asyncio.sleep(self.chance.random() / 10)


class Shared(LedgerStore):
    """Every process believes that it may sign, and that it is the one that looks after."""

    is_shared = True

    def lease(self) -> bool:
        return True


class Several:
    """So many processes in one world; `storm` is the first, and has the chain and the questions."""

    def __init__(self, seed: int, url: str, count: int, processes: int = 3) -> None:
        self.storms = [Storm(seed, Rules(line=Slow, store=Shared), count=count, url=url)]
        self.storm = self.storms[0]
        self.most = 0
        for _ in range(processes - 1):
            other = Storm(seed, Rules(line=Slow, store=Shared), count=count, url=url)
            other.loop.close()
            other.loop, other.clock = self.storm.loop, self.storm.clock
            other.chain, other.chance = self.storm.chain, self.storm.chance
            other.tokens, other.receivers = self.storm.tokens, self.storm.receivers
            other.start()
            self.storms.append(other)

    @property
    def loop(self) -> VirtualLoop:
        return self.storm.loop

    def tick(self) -> None:
        """A round of each, all at once. None of the errors that may happen is a lasting one."""

        async def rounds() -> list[Any]:
            works = [storm.payouts.tick() for storm in self.storms]
            return await asyncio.gather(*works, return_exceptions=True)

        before = self.signed
        for why in self.loop.run_until_complete(rounds()):
            assert why is None or (isinstance(why, WorkbenchError) and why.transient), why
        if self.signed > before:  # A reorg may put back more than the limit; nothing is added then.
            self.most = max(self.most, self.loop.run_until_complete(self.unmined()))

    @property
    def signed(self) -> int:
        return sum(storm.payouts.signed for storm in self.storms)

    async def unmined(self) -> int:
        async with self.storm.store.unit() as unit:
            return await unit.count_unmined(31337, self.storm.payouts.payments.address)

    def play(self) -> None:
        storm, chance = self.storm, self.storm.chance
        self.loop.run_until_complete(storm.payouts.check())
        self.loop.run_until_complete(storm.payouts.earn(PayoutInput("user", 10**6, "credits")))
        for each in self.storms:
            each.line.bad = 0.03
        for number in range(len(storm.receivers)):
            chance.choice(self.storms).ask(number)
            if chance.random() < 0.6:
                self.tick()
            if chance.random() < 0.5:
                storm.chain.mine()
            if chance.random() < 0.2:
                storm.strike()
        for each in self.storms:
            each.line.bad = 0.0
            each.ask(0)
        for _ in range(300):
            self.tick()
            storm.chain.mine()
            self.loop.jump(6)
            if all(payout.state in ENDED for payout in storm.all()):
                break
        for _ in range(storm.chain.depth + 1):
            storm.chain.mine()

    def problems(self) -> list[str]:
        found = self.storm.problems()
        slots = self.loop.run_until_complete(slots_of(self.storm))
        if [slot.nonce for slot in slots] != list(range(len(slots))):
            found.append("the nonces have a gap")
        if len({slot.subject for slot in slots}) != len(slots):
            found.append("a payout has two nonces")
        return found

    def close(self) -> None:
        for storm in self.storms:
            storm.store.close()
        self.loop.close()


async def slots_of(storm: Storm) -> Sequence[Any]:
    async with storm.store.unit() as unit:
        return await unit.slots(31337, storm.payouts.payments.address, *SlotState)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRES)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'app.db'}"
        return
    with postgres.cluster() as server:
        yield server.fresh()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 7])
def test_processes_interleaved_at_every_question(database: str, seed: int) -> None:
    several = Several(seed, database, count=40)
    try:
        several.play()
        assert [] == several.problems(), f"seed {seed}"
        assert several.most <= 16, "unmined transactions are counted over all processes"
        signed = [storm.payouts.signed for storm in several.storms]
        assert sum(map(bool, signed)) > 1, f"seed {seed}: the work was shared: {signed}"
    finally:
        several.close()


# --- Real processes ---

DEATHS, PART = 3, 60
PAYOUTS = (DEATHS + 1) * PART
PATIENCE_S = 60


class Trio:
    """Three servers on one database and one node; a client asks one after the other."""

    def __init__(self, node: Anvil, folder: Path, url: str, chance: random.Random) -> None:
        # At most as many open nonces as a block has room for, so that all have work all the time.
        database = {"DATABASE_URL": url, "PAYOUTS_IN_FLIGHT": "48"}
        self.processes = [Process(node, folder, database, "spare3") for _ in range(3)]
        self.chance, self.deaths = chance, 0
        self.signed = [0, 0, 0]

    def live(self, process: Process, step: int = 0) -> None:
        """One life, which ends at that commit (0: never), just before it or just after."""
        process.end()
        process.start(self.chance.choice(("before", "after")), step)

    def step(self) -> int:
        """A commit that surely comes: every third question is asked of each."""
        return self.chance.randint(1, PART // 3)

    def play(self, pool: ThreadPoolExecutor) -> None:
        """Two of them die in turn, at their work, and come back while the others go on."""
        steps = [self.step(), self.step(), 0]
        lives = [pool.submit(self.live, *each) for each in zip(self.processes, steps, strict=True)]
        lives[2].result()
        self.ask("/earn", {"user_id": "u", "credits": PAYOUTS, "idempotency_key": "e"}, 2)
        for part in range(DEATHS):
            victim = self.processes[part % 2]
            lives[part % 2].result()
            list(pool.map(self.pay, range(part * PART, (part + 1) * PART)))
            limit = time.monotonic() + PATIENCE_S
            while not victim.is_dead():
                assert time.monotonic() < limit, victim.ask("/readyz")
                time.sleep(0.02)  # Another process' death cannot be awaited otherwise.
            self.deaths += 1
            self.count()
            step = self.step() if part < DEATHS - 2 else 0
            lives[part % 2] = pool.submit(self.live, victim, step)
        for life in lives:
            life.result()
        list(pool.map(self.pay, range(DEATHS * PART, PAYOUTS)))

    def count(self) -> None:
        """How many each has signed so far; what a dead one did since we asked is not counted."""
        for number, process in enumerate(self.processes):
            told = metrics(process.url)
            found = re.search(r"payouts_signed_here_total (\d+)", told)
            self.signed[number] = max(self.signed[number], int(found[1]) if found else 0)

    def pay(self, number: int) -> str:
        body = {"user_id": "u", "credits": 1, "address": receiver(number)}
        told = self.ask("/payout", {**body, "idempotency_key": f"k{number}"}, number)
        return str(told["id"])

    def ask(self, path: str, body: dict[str, Any], turn: int = 0) -> Any:
        limit = time.monotonic() + PATIENCE_S
        while (told := self.processes[turn % 3].ask(path, body)) is None:
            turn += 1
            assert time.monotonic() < limit
        return told

    def states(self) -> Counter[str]:
        told = metrics(self.processes[2].url)
        found = re.findall(r'payouts\{state="(\w+)"\} (\d+)', told)
        return Counter({state: int(number) for state, number in found if int(number)})

    def end(self) -> None:
        for process in self.processes:
            process.end()


def metrics(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError, EOFError):
        return ""


def receiver(number: int) -> str:
    return f"0x{number + 0x3AFE000:040x}"


@pytest.mark.slow
@NEEDS_POSTGRES
def test_three_processes_one_of_which_is_killed(tmp_path: Path) -> None:
    """All accept, all sign; one of them dies at random commits, and comes back each time."""
    seed = int(os.environ.get("MANY_SEED", "0")) or random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"MANY_SEED={seed}\n")
    with postgres.cluster() as server, Anvil(block_time=0.2) as node:
        node.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
        trio = Trio(node, tmp_path, server.fresh(), random.Random(seed))
        try:
            _play(trio)
            _is_right(trio, node)
        finally:
            trio.end()


def _play(trio: Trio) -> None:
    with ThreadPoolExecutor(6) as pool:
        trio.play(pool)
        assert PAYOUTS == len(set(pool.map(trio.pay, range(PAYOUTS)))), "all asked again"
    limit = time.monotonic() + PATIENCE_S
    while trio.states() != {"paid": PAYOUTS}:
        assert time.monotonic() < limit, [p.ask("/readyz") for p in trio.processes]
        time.sleep(0.1)  # Nor what three of them do.
    trio.count()
    sys.stdout.write(f"signed by each, as far as known: {trio.signed}; deaths: {trio.deaths}\n")


def _is_right(trio: Trio, node: Anvil) -> None:
    got = [int(node.call("eth_getBalance", receiver(n), "latest"), 16) for n in range(PAYOUTS)]
    assert [10**15] * PAYOUTS == got, "each was paid exactly once"
    payer = key_of("spare3").address.lower()
    assert PAYOUTS == int(node.call("eth_getTransactionCount", payer, "latest"), 16)
    assert sum(map(bool, trio.signed)) > 1, f"the work was shared: {trio.signed}"
    assert DEATHS == trio.deaths
    told = [process.ask("/readyz") for process in trio.processes]
    assert ["sender"] * 3 == [each["role"] for each in told]
    assert [False, False, True] == sorted(each["has_lease"] for each in told)

    async def nonces() -> list[int]:
        store = LedgerStore(trio.processes[0].database["DATABASE_URL"])
        async with store.unit() as unit:
            slots = await unit.slots(node.chain_id, payer, *SlotState)
        store.close()
        return [slot.nonce for slot in slots]

    assert list(range(PAYOUTS)) == asyncio.run(nonces()), "no gap, none twice"
    for command in ("verify", "reconcile"):
        done = subprocess.run(
            [sys.executable, "-c", "from workbench.cli import main; main()", "ledger", command],
            cwd=trio.processes[0].folder, env=trio.processes[0].environment,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

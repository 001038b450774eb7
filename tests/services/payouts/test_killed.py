"""kill -9 of the real process, at one persisted step after the other: each payout is paid once.

A real node, a real socket, a database on disk: SQLite, and PostgreSQL where it is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from workbench.evm.build.artifacts import load
from workbench.evm.deploy.addresses import CREATE2_DEPLOYER, create2_address
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.transactions.test_keys import key_of

REPO = Path(__file__).resolve().parents[3]
STEPS = 9
"""As many commits as one payout needs from its acceptance to its end, the credits' included."""
BATCH_STEPS = 12
"""As many as three payouts need that are asked for one by one, and paid together."""
PATIENCE_S = 60


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with Anvil(block_time=0.2) as anvil:
        anvil.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
        code = load("PayoutBatcher").bytecode
        fields = {"from": key_of("deployer").address, "to": CREATE2_DEPLOYER}
        data = {"data": "0x" + (bytes(32) + code).hex(), "gas": hex(3_000_000)}
        anvil.call("eth_sendTransaction", {**fields, **data})
        yield anvil


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)),
    ]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables that name it."""
    if request.param == "sqlite":
        yield {"DB_PATH": str(tmp_path / "data" / "app.db")}
        return
    with postgres.cluster() as server:
        yield {"DATABASE_URL": server.fresh()}


@dataclass
class Process:
    """One life after the other of the same service; `key`: the wallet's role."""

    node: Anvil
    folder: Path
    database: dict[str, str]
    role: str
    batch: int = 1
    running: subprocess.Popen[str] | None = None
    url: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "WEB3_PROVIDER_URL": self.node.url,
            "PAYOUT_PRIVATE_KEY": key_of(self.role).secret,
            "CHAIN_ID": str(self.node.chain_id),
            "FINALITY_CONFIRMATIONS": "2",
            "POLL_INTERVAL_MS": "30",
            "PORT": "0",
            "RECONCILE_EVERY_S": "1",
            "PAYOUT_BATCH": str(self.batch),
            "PAYOUT_BATCHER": create2_address(load("PayoutBatcher").bytecode),
        }
        path = {"PYTHONPATH": str(REPO), "WORKBENCH_ROOT": str(REPO)}
        return {**os.environ, **path, **own, **self.database}

    def start(self, moment: str = "after", step: int = 0) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-m", "tests.services.payouts.crashing_process", moment, str(step)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.running.stdout is not None
        self.url = self.running.stdout.readline().strip()

    def is_dead(self) -> bool:
        return self.running is None or self.running.poll() is not None

    def told(self) -> str:
        """How it is, for whoever reads a failure."""
        return json.dumps([self.ask("/readyz"), self.ask("/v1/payouts")])

    def end(self) -> None:
        if self.running is not None:
            self.running.kill()
            self.running.wait(10)
            assert self.running.stdout is not None
            self.running.stdout.close()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer as JSON; None if nobody answered."""
        if not self.url:
            return None  # It died before it had a port.
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as why:
            raise AssertionError(why.read()) from why
        except (OSError, ValueError, EOFError):
            return None


def payee(number: int) -> str:
    return f"0x{number + 0xBEEF00:040x}"


def is_over(process: Process, number: int) -> bool:
    """Asks for the payout until somebody answers, and looks whether it is paid."""
    asked = {
        "user_id": "u",
        "credits": 3,
        "address": payee(number),
        "idempotency_key": f"k{number}",
    }
    process.ask("/payout", asked)
    told = process.ask("/user/u") or {"payouts": []}
    states = {p["idempotency_key"]: p["state"] for p in told["payouts"]}
    return states.get(f"k{number}") == "paid"


@pytest.mark.slow
def test_killed_at_each_persisted_step(
    node: Anvil, tmp_path: Path, database: dict[str, str]
) -> None:
    """A life ends at its first commit, the next one at its second, and so on; a payout for each.

    Just before and just after in turn; what is before in SQLite is after in PostgreSQL.
    """
    on_file = "DB_PATH" in database
    process = Process(node, tmp_path, database, "spare2" if on_file else "spare3")
    before = [int(node.call("eth_getBalance", payee(n), "latest"), 16) for n in range(STEPS + 1)]
    deaths = 0
    try:
        for step in range(1, STEPS + 1):
            process.start("before" if on_file == bool(step % 2) else "after", step)
            limit = time.monotonic() + PATIENCE_S
            process.ask("/earn", {"user_id": "u", "credits": 1_000, "idempotency_key": "e"})
            while not process.is_dead() and not is_over(process, step):
                assert time.monotonic() < limit, process.told()
            deaths += process.is_dead()
            process.end()
        process.start()
        limit = time.monotonic() + PATIENCE_S
        process.ask("/earn", {"user_id": "u", "credits": 1_000, "idempotency_key": "e"})
        for number in range(1, STEPS + 1):
            while not is_over(process, number):
                assert time.monotonic() < limit, process.told()
    finally:
        process.end()
    assert deaths >= STEPS - 2, "it died at the steps, and not beside them"
    gained = [
        int(node.call("eth_getBalance", payee(n), "latest"), 16) - before[n]
        for n in range(STEPS + 1)
    ]
    assert [0] + [3 * 10**15] * STEPS == gained
    _books_are_right(process, tmp_path)


@pytest.mark.slow
def test_killed_with_a_batch_on_its_way(
    node: Anvil, tmp_path: Path, database: dict[str, str]
) -> None:
    """The same with three at a time, paid together: whatever step a life ends at, each once."""
    on_file = "DB_PATH" in database
    process = Process(node, tmp_path, database, "buyer" if on_file else "seller", batch=3)
    payees = range(1_000 if on_file else 2_000, (1_000 if on_file else 2_000) + 3 * BATCH_STEPS)
    deaths = 0
    try:
        for step in range(1, BATCH_STEPS + 1):
            process.start("before" if on_file == bool(step % 2) else "after", step)
            process.ask("/earn", {"user_id": "u", "credits": 1_000, "idempotency_key": "e"})
            pay_together(process, payees[3 * step - 3 : 3 * step])
            deaths += process.is_dead()
            process.end()
        process.batch = 1  # What was signed as a batch stays one.
        process.start()
        process.ask("/earn", {"user_id": "u", "credits": 1_000, "idempotency_key": "e"})
        pay_together(process, payees)
        told = process.ask("/user/u")["payouts"]
    finally:
        process.end()
    assert deaths >= BATCH_STEPS - 2
    assert any("batch" in each for each in told)
    balances = {int(node.call("eth_getBalance", payee(n), "latest"), 16) for n in payees}
    assert {3 * 10**15} == balances
    _books_are_right(process, tmp_path)


def pay_together(process: Process, numbers: Sequence[int]) -> None:
    """Until all of them are paid, or the process has died."""
    limit = time.monotonic() + PATIENCE_S
    while not process.is_dead():
        over = [is_over(process, number) for number in numbers]
        if all(over):
            return
        assert time.monotonic() < limit, process.told()


def _books_are_right(process: Process, tmp_path: Path) -> None:
    for command in ("verify", "reconcile"):
        done = subprocess.run(
            [sys.executable, "-c", "from workbench.cli import main; main()", "ledger", command],
            cwd=tmp_path, env=process.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

"""`tools/soak.py`, stopped: what was played is said, and nothing runs on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import until
from tests.commands.test_play import below, is_anvil
from tests.sim.scenarios import SMALL

SOAK = Path(__file__).resolve().parents[1] / "tools" / "soak.py"
LIMIT_S = 60


def soak(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SOAK, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Ctrl-C as a terminal does it: to the whole group; SIGTERM as `kill` does, to one."""
    if number is signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def rest_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it says until it ends. `communicate` would miss what `readline` has read ahead."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = process.stdout.read(), process.stderr.read()
    process.wait(LIMIT_S)
    return said


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds anvil through Linux's /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_soak_of_a_scenario(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """After a first seed, while two others are played: their nodes go with it."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL, encoding="utf-8")
    process = soak(file, "--seeds", "50")
    assert process.stdout is not None
    said: list[str] = []
    while not (said and said[-1].startswith("seed ")):
        said.append(process.stdout.readline())
        assert said[-1], "it ended"
    nodes: list[int] = until(lambda: [pid for pid in below(process.pid) if is_anvil(pid)])
    interrupt(process, number)
    out, err = rest_of(process)
    assert (process.returncode, err) == (code, "")
    told = re.search(r"interrupted after (\d+) of 50 seeds", out)
    assert told, out
    assert int(told[1]) == sum(line.startswith("seed ") for line in [*said, *out.splitlines()])
    assert "'executed': 2" in "".join(said)
    assert re.search(r"^{'executed': \d+.*paths taken: {", out, re.MULTILINE)
    assert "seeds that were not sound: 0" in out
    assert [] == [pid for pid in nodes if is_anvil(pid)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_soak_of_payouts(number: signal.Signals, code: int) -> None:
    process = soak("payouts", "--payouts", "100000")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("payouts: seeds 1 to 1000")
    until(lambda: below(process.pid))
    interrupt(process, number)
    out, err = rest_of(process)
    assert (process.returncode, err) == (code, "")
    assert re.search(r"interrupted after \d+ of 1000 seeds", out)
    assert "seeds that were not sound: 0" in out


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes through Linux's /proc")
def test_a_stopped_soak_of_kills() -> None:
    """The node and the service go with it."""
    process = soak("kills", "--kills", "1000", "--payouts", "20")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("kills: seeds 1 to 1")
    begun: list[int] = until(lambda: len(below(process.pid)) > 1 and below(process.pid))
    interrupt(process, signal.SIGINT)
    out, _ = rest_of(process)
    assert process.returncode == 130
    assert "interrupted after 0 of 1 seeds" in out
    assert not [pid for pid in begun if Path(f"/proc/{pid}").is_dir()]

"""`workbench run` and `workbench replay`: what they say, what they keep, and how they end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sim.scenarios import SMALL, small
from workbench.commands import play as play_command
from workbench.commands.play import play, replay
from workbench.core.errors import (
    RpcUnreachable,
    RunDamaged,
    StoreError,
    TraceDiffers,
    WorkbenchError,
)
from workbench.results.run import Run
from workbench.worlds.experiment import Experiment
from workbench.worlds.experiment_setup import ScenarioProgress

LIMIT_S = 120
WORKBENCH = (str(Path(sys.executable).with_name("workbench")),)


def quiet(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run."""
    runs = tmp_path_factory.mktemp("runs")
    return play(small(), None, runs=runs, notebook=False, say=quiet).run_dir


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def command(*arguments: str | int | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WORKBENCH, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S
    )


def test_run_tells_and_keeps_what_happened_and_replay_agrees(file: Path, tmp_path: Path) -> None:
    ran = command("run", file, "--seed", 5, "--runs", tmp_path, "--no-notebook", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert {"executed": 2, "refunded": 3} == told["outcomes"]
    assert (5, True, {}) == (told["seed"], told["finished"], told["invariants_broken"])
    run = Run.load(told["run_dir"])
    assert told["trace_hash"] == run.trace_hash
    assert [2, 3] == [told["metrics"]["outcome"][n]["count"] for n in ("executed", "refunded")]
    again = command("replay", told["run_dir"], "--json")
    assert (0, "equal") == (again.returncode, json.loads(again.stdout)["status"]), again.stderr


def test_a_planted_breach_ends_with_1_and_is_named(file: Path, tmp_path: Path) -> None:
    ran = command("run", file, "--set", "plant=leak", "--runs", tmp_path, "--no-notebook")
    assert ran.returncode == 1
    assert "broken: vault_holds_what_it_owes" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere.yaml",), "nowhere.yaml: there is no such file"),
        (("FILE", "--set", "chain.finalty=2 blocks"), 'did you mean "finality"'),
        (("FILE", "--set", "chain.finality=2"), "has no unit"),
        (("FILE", "--set", "chain.finality=60 blocks"), "do not fit in seller.swap_window"),
        (("FILE", "--set", "duration"), "write such as"),
        (("FILE", "--seed", "-1"), "not in the range"),
        (("FILE", "--runs", "/dev/null/runs"), "/dev/null/runs (--runs) cannot be made"),
    ],
)
def test_bad_input_is_named_before_anything_is_booted(
    file: Path, arguments: tuple[str, ...], told: str
) -> None:
    ran = command("run", *(str(file) if each == "FILE" else each for each in arguments))
    assert ran.returncode != 0
    assert told in ran.stderr
    assert "virtual time" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_another_fact_is_named_by_its_line(kept: Path, tmp_path: Path) -> None:
    run = Run.load(kept)
    folder = run.save(tmp_path / "edited")
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    fact = json.loads(lines[6])
    lines[6] = json.dumps(fact | {"at_ms": fact["at_ms"] + 1})
    text = "\n".join(lines) + "\n"
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(RunDamaged, match="events.jsonl is not as it was saved"):
        replay(folder, quiet)
    # As another version of the workbench would have saved it.
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    about["trace_hash"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(TraceDiffers, match="from line 7 of events.jsonl"):
        replay(folder, quiet)


def test_folders_that_cannot_be_replayed_say_why(kept: Path, tmp_path: Path) -> None:
    run = Run.load(kept)
    stopped = Run(run.events, scenario=run.scenario, seed=3, finished=False)
    cases = {
        "is no run folder": tmp_path / "nothing",
        "stopped before its end": stopped.save(tmp_path / "stopped"),
        "not the run of a scenario": Run(run.events).save(tmp_path / "bought"),
        "is of format 1": run.save(tmp_path / "older"),
        "run.json is missing or damaged": run.save(tmp_path / "damaged"),
    }
    about = json.loads((tmp_path / "older/run.json").read_text(encoding="utf-8"))
    (tmp_path / "older/run.json").write_text(json.dumps(about | {"format": 1}), encoding="utf-8")
    (tmp_path / "damaged/run.json").write_text("{", encoding="utf-8")
    for told, folder in cases.items():
        with pytest.raises(StoreError, match=told):
            replay(folder, quiet)


@pytest.mark.parametrize("stopped_by", [None, RpcUnreachable("no chain there.")])
def test_a_replay_that_was_stopped_is_not_called_different(
    kept: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: WorkbenchError | None
) -> None:
    """By Ctrl-C, or because its node died: nothing is known about the facts that are missing."""

    class Stopped(Experiment):
        def _play(self) -> None:
            raise stopped_by or KeyboardInterrupt

    monkeypatch.setattr(play_command, "Experiment", Stopped)
    with pytest.raises(type(stopped_by) if stopped_by else KeyboardInterrupt):
        replay(kept, quiet)


def below(pid: int) -> list[int]:
    """The processes that a process has started, and theirs, by Linux's /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="utf-8").split()):
            found += [child, *below(child)]
    return found


def is_anvil(pid: int) -> bool:
    try:
        return b"anvil" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds anvil through Linux's /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_was_run(
    file: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A market of a day, stopped at the first sign of progress; its node goes with it."""
    process = subprocess.Popen(
        [*WORKBENCH, "run", file, "--set", "duration=1 d", "--runs", tmp_path, "--no-notebook"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " left" in line:
            nodes = [pid for pid in below(process.pid) if is_anvil(pid)]
            if number is signal.SIGINT:
                os.killpg(process.pid, number)  # As a terminal does: to the whole group.
            else:
                process.send_signal(number)  # As `kill` and `docker stop` do.
            break
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code, err
    assert "stopped before its end" in out
    assert "Traceback" not in err
    assert nodes
    assert [] == [pid for pid in nodes if is_anvil(pid)]
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir()]
    run = Run.load(folder)
    assert not run.finished
    assert len(run.events) > 10
    assert run.invariants_broken == {}


@contextmanager
def killing_the_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """anvil is killed once two settlements are there."""

    class Mortal(Experiment):
        def _report(self, now_s: int) -> None:
            super()._report(now_s)
            if len(self.auditor.settlements) >= 2 and self.world.node.alive:
                leash = self.world.node.pid
                child = Path(f"/proc/{leash}/task/{leash}/children").read_text(encoding="utf-8")
                os.kill(int(child), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(play_command, "Experiment", Mortal)
        yield


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds anvil through Linux's /proc")
def test_a_node_that_dies_is_named_and_the_folder_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killing_the_node(monkeypatch), pytest.raises(RpcUnreachable, match="anvil.*in mid-run"):
        play(small(), None, runs=tmp_path, notebook=False, say=quiet)
    (folder,) = tmp_path.iterdir()
    run = Run.load(folder)
    assert not run.finished
    assert len(run.settlements()) >= 2


def test_progress_says_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play_command, "TELL_EVERY_S", 0.0)
    said: list[str] = []
    teller = play_command.ProgressReporter(said.append)
    teller(ScenarioProgress(2, 100, 0, 0))
    assert [] == said, "what was booted until then says nothing about the pace"
    teller(ScenarioProgress(50, 100, 4, 3))
    teller(ScenarioProgress(120, 100, 4, 3))
    assert "50 s of 100 s: 4 settlements, 3 ended; about 0 s left" in said[0]
    assert "waiting for the last ones to end" in said[1]

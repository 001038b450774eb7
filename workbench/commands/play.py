"""`workbench run` and `workbench replay`: play a scenario, keep the run, compare it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from workbench.core.errors import NotebookFailed, StoreError, TraceDiffers, WorkbenchError
from workbench.core.facts import to_json
from workbench.core.ports import ReportProgress
from workbench.lab.execute import WarmKernel
from workbench.results.run import Run
from workbench.results.run_folder import FORMAT
from workbench.scenario import Scenario
from workbench.settings import make_folder
from workbench.worlds.experiment import Experiment
from workbench.worlds.experiment_setup import ScenarioProgress

NOTEBOOK = "04_scenario.ipynb"
TELL_EVERY_S = 2.0


@dataclass(frozen=True)
class KeptRun:
    """A run that was kept. `notebook`: its executed notebook, or None.

    `interrupt`: Ctrl-C or SIGTERM, if that ended it.
    """

    run: Run
    run_dir: Path
    notebook: Path | None
    interrupt: KeyboardInterrupt | None = None

    @property
    def sound(self) -> bool:
        """True if it was played to its end and no invariant was broken."""
        return self.run.finished and not self.run.invariants_broken

    def summary(self) -> dict[str, Any]:
        """Return the line of `run --json`."""
        from workbench.results.metrics import nested

        run = self.run
        return {
            "trace_hash": run.trace_hash,
            "scenario": run.scenario.name if run.scenario else None,
            "seed": run.seed,
            "finished": run.finished,
            "outcomes": run.outcomes,
            "invariants_broken": run.invariants_broken,
            "sometimes": run.sometimes,
            "metrics": nested(run.metrics()),
            "run_dir": str(self.run_dir),
            "notebook": str(self.notebook) if self.notebook else None,
        }


def play(
    scenario: Scenario, seed: int | None, *, runs: Path, notebook: bool, say: ReportProgress
) -> KeptRun:
    """Run the world, keep the run, and execute its notebook.

    A run that was stopped (Ctrl-C, SIGTERM, a dead node) is kept so far, without a notebook. Raises
    the errors of booting a world, and StoreError if the folder cannot be written.
    """
    make_folder(runs, "--runs")  # A run that cannot be kept is not started.
    experiment = Experiment(scenario, seed, ProgressReporter(say))
    say(f"{scenario.name}, seed {experiment.seed}: {scenario.duration_s} s of virtual time")
    kernel = WarmKernel() if notebook else None
    try:
        with _quiet_services():
            run = experiment.run()
        run_dir = _kept(run, runs, say)
        say(f"kept in {run_dir}")
        if experiment.failure is not None:
            raise experiment.failure
        if experiment.interrupt is not None:  # The notebook process ends with this block.
            return KeptRun(run, run_dir, None, experiment.interrupt)
        return KeptRun(run, run_dir, _shown(run_dir, kernel, say))
    finally:
        if kernel is not None:
            kernel.close()


def replay(run_dir: Path, say: ReportProgress) -> Run:
    """Play the run of this folder again.

    Raises TraceDiffers with the first different fact; the interrupt (Ctrl-C, SIGTERM) that ended
    it.
    """
    kept = Run.load(run_dir)
    if kept.scenario is None:
        raise StoreError(
            f"{run_dir} is not the run of a scenario, so there is nothing to play again.",
            hint="Runs of `workbench run` can be replayed.",
        )
    if not kept.finished:
        raise StoreError(
            f"the run of {run_dir} was stopped before its end.",
            hint=f"Play it to its end first: workbench run with --seed {kept.seed}.",
        )
    say(f"{kept.scenario.name}, seed {kept.seed}: once more")
    experiment = Experiment(kept.scenario, kept.seed, ProgressReporter(say), kept.orders)
    with _quiet_services():
        again = experiment.run()
    if experiment.failure is not None:
        raise experiment.failure
    if experiment.interrupt is not None:
        raise experiment.interrupt
    if again.trace_hash != kept.trace_hash:
        raise _difference(kept, again)
    return again


@contextmanager
def _reporting(say: ReportProgress, what: str) -> Iterator[None]:
    """Report an error of ours in one line, and continue."""
    try:
        yield
    except WorkbenchError as why:
        say(f"{what}: {why}")


@contextmanager
def _quiet_services() -> Iterator[None]:
    """Silence the services: faults of a simulated world are ordered, and are facts of the run."""
    services = logging.getLogger("workbench")
    before = services.level
    if logging.getLogger().level >= logging.WARNING:
        services.setLevel(logging.ERROR)
    try:
        yield
    finally:
        services.setLevel(before)


def _kept(run: Run, runs: Path, say: ReportProgress) -> Path:
    """Keep the facts always, and charts if they can be folded: a run may have broken the very rules
    of the fold."""
    name = run.scenario.name if run.scenario else "run"
    folder = runs / f"{name}-{run.seed}-{run.name}"
    try:
        run.save_facts(folder)
        with _reporting(say, "no charts"):
            run.save_views(folder)
        return folder
    except OSError as why:
        raise StoreError(
            f"the run cannot be kept in {folder}: {why.strerror}.",
            hint="Name another folder with --runs.",
        ) from why


def _shown(run_dir: Path, kernel: WarmKernel | None, say: ReportProgress) -> Path | None:
    """Execute the notebook of a run. Return its path, or None after an error."""
    if kernel is None:
        return None
    say(f"executing {NOTEBOOK} …")
    try:
        made = kernel.execute(NOTEBOOK, run_dir, {"run_dir": "."}, name="scenario.ipynb")
        return run_dir / made.name
    except NotebookFailed as why:
        say(f"no notebook: {why}")
    return None


def _difference(kept: Run, again: Run) -> TraceDiffers:
    """Return the error that names the first different fact."""
    pairs = enumerate(zip_longest(kept.events, again.events), 1)
    line, (was, now) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    hint = "Another version of the workbench, its contracts or anvil may have run it."
    if kept.format != FORMAT:
        hint = (
            f"The folder is of format {kept.format}, whose facts lack what format {FORMAT} has: "
            "the buyers that were planned, what faults hit, and when services were back. So the "
            "hashes must differ. Play it with the version that wrote it, or run the scenario again."
        )
    return TraceDiffers(
        f"the run differs from line {line} of events.jsonl on. It was {_short(was)}; now it is "
        f"{_short(now)}.",
        hint=hint,
        line=line,
        trace_hash=kept.trace_hash,
        trace_hash_now=again.trace_hash,
    )


def _short(fact: Any) -> str:
    return "nothing" if fact is None else to_json(fact)[:160]


class ProgressReporter:
    """Reports from time to time how far a run is, and how long it will take."""

    def __init__(self, say: ReportProgress) -> None:
        self._say, self._reporting = say, time.monotonic()
        self._began: tuple[float, int] | None = None
        """When virtual time began to pass, and its value: the boot does not count for the pace."""

    def __call__(self, progress: ScenarioProgress) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began, self._reporting = (now, progress.now_s), now
            return
        if now - self._reporting < TELL_EVERY_S:
            return
        self._reporting = now
        left = progress.duration_s - progress.now_s
        rest = "waiting for the last ones to end"
        if left > 0:
            began, at = self._began
            seconds = (now - began) * left / max(progress.now_s - at, 1)
            rest = f"about {seconds:.0f} s left"
        done = f"{progress.settlements} settlements, {progress.ended} ended"
        with suppress(BrokenPipeError):
            self._say(f"  {progress.now_s:5d} s of {progress.duration_s} s: {done}; {rest}")

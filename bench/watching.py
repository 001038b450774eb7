"""What watching costs: CPU seconds that a session with a tracker on it adds to a run.

Pairs of runs of the same scenario, one after the other, each in a process of its own: one that
nobody watches (`Experiment.run`), and one in the background whose facts go through a tracker with a
view, at 15 frames a second, messages and buffers packed as for a kernel's comm. Traces must be
equal. Figures are CPU seconds of the process (the node is another), medians over the pairs.

    python -m bench.watching [--buyers 900] [--pairs 9] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from workbench import Experiment
from workbench.core.errors import WorkbenchError
from workbench.scenario import Scenario, parse

SCENARIO = """
about: What does watching cost?
duration: {duration} s
chain: {{block_time: 2 s, finality: 2 blocks}}
buyers:
  - {{count: {buyers}, arrivals: {{model: poisson, every: 500 ms}}}}
"""
BUYERS, PAIRS = 900, 9
LEAST_S = 20.0
"""A shorter run says little: the start and the end weigh too much in it."""


def scenario(buyers: int) -> Scenario:
    """Buyers who come twice a second, so that the run is busy to its end."""
    return parse(SCENARIO.format(buyers=buyers, duration=buyers // 2 + 30), "watching.yaml")


def plain(buyers: int) -> dict[str, Any]:
    """A run that nobody watches."""
    began, cpu = time.monotonic(), time.process_time()
    run = Experiment(scenario(buyers)).run()
    return _told(run.trace_hash, began, cpu, 0, 0)


def watched(buyers: int) -> dict[str, Any]:
    """The same in the background, with a tracker that has a view."""
    from workbench.lab.tracker import Tracker

    began, cpu = time.monotonic(), time.process_time()
    sent: list[int] = []

    def pack(message: Any, buffers: Any = None) -> None:
        """What a comm does with a message before it leaves the process."""
        sent.append(len(json.dumps(message)) + sum(len(bytes(each)) for each in buffers or ()))

    session = Experiment(scenario(buyers)).start()
    tracker = Tracker(session)
    tracker.send = pack
    tracker._hear({"kind": "hello"}, [])
    run = session.wait()
    told = _told(run.trace_hash, began, cpu, len(sent), sum(sent))
    tracker.close()
    return told


def _told(trace: str, began: float, cpu: float, messages: int, size: int) -> dict[str, Any]:
    took = {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
    return took | {"trace": trace, "messages": messages, "bytes": size}


def _elsewhere(how: str, buyers: int) -> dict[str, Any]:
    """One run in a new process."""
    command = [sys.executable, "-m", "bench.watching", "--one", how, "--buyers", str(buyers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(buyers: int = BUYERS, pairs: int = PAIRS) -> dict[str, Any]:
    """The figures of this many pairs. Raises WorkbenchError where they mean nothing."""
    shares, seconds, walls = [], [], []
    for n in range(pairs):
        order = ("plain", "watched") if n % 2 == 0 else ("watched", "plain")
        ran = {how: _elsewhere(how, buyers) for how in order}
        one, other = ran["plain"], ran["watched"]
        if one["trace"] != other["trace"]:
            raise WorkbenchError("void: watching changed the trace.")
        seconds.append(other["cpu_s"] - one["cpu_s"])
        shares.append(seconds[-1] / one["cpu_s"])
        walls.append(other["wall_s"])
    if min(walls) < LEAST_S:
        raise WorkbenchError(
            f"void: a run took {min(walls):.1f} s, and {LEAST_S:g} s are wanted.",
            hint="Give more --buyers.",
        )
    return {
        "watching_pairs": pairs,
        "watching_run_wall_s": round(statistics.median(walls), 1),
        "watching_cpu_s": round(statistics.median(seconds), 2),
        "watching_cpu_share": round(statistics.median(shares), 3),
        "watching_cpu_shares": [round(each, 3) for each in shares],
        "watching_messages": other["messages"],
    }


def main() -> int:
    """Prints the figures; 1 if watching adds more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buyers", type=int, default=BUYERS)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=("plain", "watched"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps((plain if chosen.one == "plain" else watched)(chosen.buyers)))
        return 0
    told = measure(chosen.buyers, chosen.pairs)
    if chosen.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:22} {value}")
    return 0 if told["watching_cpu_share"] <= 0.10 else 1


if __name__ == "__main__":
    sys.exit(main())

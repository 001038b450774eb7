"""Many seeds of a scenario, on two processes: what none of the tests has time for.

    make soak ARGS="scenarios/storm.yaml --seeds 200 --first 1000"

Every tenth seed is played twice, and must give the same bytes. Whatever is not sound is told with
the command that plays it again. Ctrl-C ends it, and tells what was found so far.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

WORKBENCH = str(Path(sys.executable).with_name("workbench"))
TWICE_EVERY = 10
LIMIT_S = 900


def play(scenario: str, seed: int, runs: str) -> dict[str, Any]:
    """One run in a process of its own: its summary, or what it said instead."""
    command = [WORKBENCH, "run", scenario, "--seed", str(seed), "--runs", runs, "--no-notebook"]
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode not in (0, 1) or not lines:
        return {"seed": seed, "error": (done.stderr or "ended without a word")[-2000:]}
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def judge(scenario: str, seed: int, runs: str) -> tuple[dict[str, Any], str]:
    """A run's summary, and what is wrong with it ("": nothing)."""
    told = play(scenario, seed, runs)
    if "trace_hash" not in told:
        return told, str(told.get("error") or told)
    if told["invariants_broken"] or not told["finished"]:
        return told, f"broken: {told['invariants_broken']}, finished: {told['finished']}"
    if seed % TWICE_EVERY == 0:
        again = play(scenario, seed, runs).get("trace_hash")
        if again != told["trace_hash"]:
            return told, f"two traces: {told['trace_hash']} and {again}"
    return told, ""


def main() -> int:
    """1 if any seed was not sound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("scenario", nargs="?", default="scenarios/storm.yaml")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    asked = parser.parse_args()
    seeds, bad = range(asked.first, asked.first + asked.seeds), 0
    outcomes: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    began = time.monotonic()
    print(f"{asked.scenario}: seeds {seeds[0]} to {seeds[-1]}")
    with (
        tempfile.TemporaryDirectory(prefix="workbench-soak-") as runs,
        ThreadPoolExecutor(2) as two,
    ):
        for told, wrong in two.map(lambda seed: judge(asked.scenario, seed, runs), seeds):
            outcomes.update(told.get("outcomes", {}))
            paths.update(told.get("sometimes", {}))
            if wrong:
                bad += 1
                print(f"seed {told['seed']}: {wrong}")
                print(f"  again: workbench run {asked.scenario} --seed {told['seed']}")
            else:
                print(f"seed {told['seed']}: {told['outcomes']}", flush=True)
    print(f"{dict(outcomes)} in {time.monotonic() - began:.0f} s; paths taken: {dict(paths)}")
    never = [name for name, count in paths.items() if not count]
    print(f"never taken: {', '.join(never) or 'none'}; seeds that were not sound: {bad}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

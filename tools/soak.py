"""Many seeds, on two processes: what none of the tests has time for.

    make soak ARGS="scenarios/storm.yaml --seeds 200 --first 1000"
    make soak ARGS="payouts --payouts 1000000 --first 5000"

Of a scenario, every tenth seed is played twice, and must give the same bytes. `payouts` plays the
storm of tests/services/storm.py: each seed is a world of 100 payouts, foreign nonces included. What
is not sound is told with the command that plays it again. Ctrl-C tells what was found so far.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

WORKBENCH = str(Path(sys.executable).with_name("workbench"))
ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
TELL_EVERY_S = 10.0
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


# --- Payouts ---


def storm(seed: int) -> tuple[int, dict[str, int], list[str]]:
    """The seed, how its payouts ended, and what is wrong with them."""
    from tests.services import fake_chain
    from tests.services.storm import FOREIGN, Storm

    fake_chain.forget()  # What it remembers of the transactions of other seeds.
    played = Storm(seed, foreign=FOREIGN)
    try:
        played.play()
        ends = Counter(payout.state.value for payout in played.all())
        ends["foreign nonces"] = len(played.chain.strange)
        return seed, dict(ends), played.problems()
    except Exception:  # noqa: BLE001 - whatever it was, it is told with its seed
        return seed, {}, [traceback.format_exc()]
    finally:
        played.loop.close()
        played.store.close()


def _as_worker() -> None:
    """Ctrl-C is the parent's to answer; what services warn of was ordered."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)


def soak_payouts(payouts: int, first: int) -> int:
    """Print seeds, progress and ends; 1 if any seed was not sound."""
    sys.path.insert(0, str(ROOT))
    from tests.services.storm import EACH

    seeds = range(first, first + -(-payouts // EACH))
    print(f"payouts: seeds {seeds[0]} to {seeds[-1]}, {EACH} payouts each, on {WORKERS} processes")
    ends: Counter[str] = Counter()
    done, bad, began, told = 0, list[int](), time.monotonic(), 0.0
    try:
        with multiprocessing.Pool(WORKERS, _as_worker) as pool:
            for seed, ended, problems in pool.imap_unordered(storm, seeds):
                done += 1
                ends.update(ended)
                if problems:
                    bad.append(seed)
                    print(f"seed {seed}: {'; '.join(problems[:3])}")
                    print(f'  again: make soak ARGS="payouts --payouts {EACH} --first {seed}"')
                seconds = time.monotonic() - began
                if seconds - told >= TELL_EVERY_S:
                    told = seconds
                    left = seconds * (len(seeds) - done) / done / 60
                    rate = done * EACH / seconds
                    some = f"{done * EACH:,} of {len(seeds) * EACH:,} payouts, {rate:.0f}/s"
                    print(f"  {some}; about {left:.0f} min left", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {done} of {len(seeds)} seeds.")
    seconds = time.monotonic() - began
    print(
        f"{done * EACH:,} payouts in {seconds:.0f} s, {done * EACH / seconds:.0f}/s: {dict(ends)}"
    )
    print(f"seeds that were not sound: {len(bad)} {sorted(bad) if bad else ''}")
    return int(bool(bad))


# --- Scenarios ---


def soak_scenario(scenario: str, seeds: range) -> int:
    """Print each seed's outcomes, and all paths taken; 1 if any seed was not sound."""
    bad = 0
    outcomes: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    began = time.monotonic()
    print(f"{scenario}: seeds {seeds[0]} to {seeds[-1]}")
    with tempfile.TemporaryDirectory(prefix="workbench-soak-") as runs:
        two = ThreadPoolExecutor(WORKERS)
        try:
            for told, wrong in two.map(lambda seed: judge(scenario, seed, runs), seeds):
                outcomes.update(told.get("outcomes", {}))
                paths.update(told.get("sometimes", {}))
                if wrong:
                    bad += 1
                    print(f"seed {told['seed']}: {wrong}")
                    print(f"  again: workbench run {scenario} --seed {told['seed']}")
                else:
                    print(f"seed {told['seed']}: {told['outcomes']}", flush=True)
        except KeyboardInterrupt:
            print("interrupted; what was found until then:")
        two.shutdown(cancel_futures=True)
    print(f"{dict(outcomes)} in {time.monotonic() - began:.0f} s; paths taken: {dict(paths)}")
    never = [name for name, count in paths.items() if not count]
    print(f"never taken: {', '.join(never) or 'none'}; seeds that were not sound: {bad}")
    return int(bad > 0)


def main() -> int:
    """1 if any seed was not sound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("subject", nargs="?", default="scenarios/storm.yaml",
                        help="a scenario file, or payouts")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=100, help="how many, of a scenario")
    parser.add_argument("--payouts", type=int, default=10_000, help="how many, in all")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    asked = parser.parse_args()
    if asked.subject == "payouts":
        return soak_payouts(asked.payouts, asked.first)
    return soak_scenario(asked.subject, range(asked.first, asked.first + asked.seeds))


if __name__ == "__main__":
    sys.exit(main())

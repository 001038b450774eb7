"""Many seeds, on two processes: what none of the tests has time for.

    make soak ARGS="scenarios/storm.yaml --seeds 200 --first 1000"
    make soak ARGS="payouts --payouts 1000000 --first 5000"
    make soak ARGS="kills --kills 100 --payouts 500 --first 7 --seeds 3"

Every tenth seed of a scenario is played twice and must give the same bytes. `payouts` plays
tests/services/payouts/storm.py: each seed is a world of 100 payouts, some with foreign nonces.
`kills` plays tests/services/payouts/kill_storm.py with real processes: `--kills` and `--payouts`
count for each seed. A failure is printed with the command that repeats it. Ctrl-C and SIGTERM print
the findings so far and leave no process.
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
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

WORKBENCH = str(Path(sys.executable).with_name("workbench"))
ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
TELL_EVERY_S = 10.0
TWICE_EVERY = 10
LIMIT_S = 900
LOOK_EVERY_S = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Ctrl-C and SIGTERM as something to look at: nothing is torn in the middle of a fork."""

    def __init__(self) -> None:
        self.number = 0
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        self.number = number

    @property
    def code(self) -> int:
        """What to exit with: 130 or 143; 0 if nobody wants us to stop."""
        return 128 + self.number if self.number else 0


# --- Scenarios ---


class Players:
    """Run a scenario with many seeds, each in a process of its own, until stopped."""

    def __init__(self, scenario: str, runs: str) -> None:
        self._scenario, self._runs = scenario, runs
        self._lock, self._is_stopped = threading.Lock(), False
        self._running: set[subprocess.Popen[str]] = set()

    def stop(self) -> None:
        """No new one begins; those under way end, and their nodes with them."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.terminate()

    def judge(self, seed: int) -> tuple[dict[str, Any], str]:
        """A run's summary, and what is wrong with it ("": nothing)."""
        told = self._play(seed)
        if "trace_hash" not in told:
            return told, str(told.get("error") or told)
        if told["invariants_broken"] or not told["finished"]:
            return told, f"broken: {told['invariants_broken']}, finished: {told['finished']}"
        if seed % TWICE_EVERY == 0:
            again = self._play(seed).get("trace_hash")
            if again != told["trace_hash"]:
                return told, f"two traces: {told['trace_hash']} and {again}"
        return told, ""

    def _play(self, seed: int) -> dict[str, Any]:
        """One run: its summary, or what it said instead."""
        process = self._begin(seed)
        if process is None:
            return {"seed": seed, "error": "stopped"}
        try:
            said, complaints = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.communicate()
            return {"seed": seed, "error": f"not over after {LIMIT_S} s"}
        finally:
            with self._lock:
                self._running.discard(process)
        lines = said.splitlines()
        if process.returncode not in (0, 1) or not lines:
            return {"seed": seed, "error": (complaints or "ended without a word")[-2000:]}
        told: dict[str, Any] = json.loads(lines[-1])
        return {"seed": seed, **told}

    def _begin(self, seed: int) -> subprocess.Popen[str] | None:
        words = ["run", self._scenario, "--seed", str(seed), "--runs", self._runs]
        pipe = subprocess.PIPE
        with self._lock:
            if self._is_stopped:
                return None
            process = subprocess.Popen(
                [WORKBENCH, *words, "--no-notebook", "--json"],
                stdout=pipe, stderr=pipe, text=True,
                start_new_session=True,  # Ctrl-C is ours to answer: two signals are one too many.
            )  # fmt: skip
            self._running.add(process)
        return process


def soak_scenario(scenario: str, seeds: range, stop: Stop) -> int:
    """Print each seed's outcomes, and all paths taken; 1 if any seed was not sound."""
    done, bad = 0, 0
    outcomes: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    began = time.monotonic()
    print(f"{scenario}: seeds {seeds[0]} to {seeds[-1]}", flush=True)
    with tempfile.TemporaryDirectory(prefix="workbench-soak-") as runs:
        players, two = Players(scenario, runs), ThreadPoolExecutor(WORKERS)
        for played in [two.submit(players.judge, seed) for seed in seeds]:
            while not (played.done() or stop.code):
                wait([played], LOOK_EVERY_S)
            if stop.code:
                print(f"interrupted after {done} of {len(seeds)} seeds; stopping …", flush=True)
                break
            told, wrong = played.result()
            done += 1
            outcomes.update(told.get("outcomes", {}))
            paths.update(told.get("sometimes", {}))
            if wrong:
                bad += 1
                print(f"seed {told['seed']}: {wrong}")
                print(f"  again: workbench run {scenario} --seed {told['seed']}", flush=True)
            else:
                print(f"seed {told['seed']}: {told['outcomes']}", flush=True)
        players.stop()
        two.shutdown(cancel_futures=True)
    print(f"{dict(outcomes)} in {time.monotonic() - began:.0f} s; paths taken: {dict(paths)}")
    never = [name for name, count in paths.items() if not count]
    print(f"never taken: {', '.join(never) or 'none'}; seeds that were not sound: {bad}")
    return stop.code or int(bad > 0)


# --- Payouts ---


def storm(seed: int) -> tuple[int, dict[str, int], list[str]]:
    """The seed, how its payouts ended, and what is wrong with them."""
    from tests.services import fake_chain
    from tests.services.payouts.storm import FOREIGN, Storm

    fake_chain.forget()  # What it remembers of the transactions of other seeds.
    played = Storm(seed, foreign=FOREIGN)
    try:
        played.play()
        ends = Counter(payout.state.value for payout in played.all())
        ends["foreign nonces"] = len(played.chain.strange)
        return seed, dict(ends), played.problems()
    except Exception:  # noqa: BLE001 - reported with its seed
        return seed, {}, [traceback.format_exc()]
    finally:
        played.loop.close()
        played.store.close()


def _as_worker() -> None:
    """Ctrl-C is the parent's to answer, which ends us by SIGTERM; warnings were ordered."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    logging.disable(logging.CRITICAL)


@contextmanager
def _workers() -> Iterator[Pool]:
    """Who are forked while no signal comes in: none has the parent's answers to them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with multiprocessing.Pool(WORKERS, _as_worker) as pool:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield pool


def soak_payouts(payouts: int, first: int, stop: Stop) -> int:
    """Print seeds, progress and ends; 1 if any seed was not sound."""
    sys.path.insert(0, str(ROOT))
    from tests.services.payouts.storm import EACH

    seeds = range(first, first + -(-payouts // EACH))
    each = f"{EACH} payouts each, on {WORKERS} processes"
    print(f"payouts: seeds {seeds[0]} to {seeds[-1]}, {each}", flush=True)
    ends: Counter[str] = Counter()
    done, bad, began, told = 0, list[int](), time.monotonic(), 0.0
    with _workers() as pool:
        playing = pool.imap_unordered(storm, seeds)
        while done < len(seeds) and not stop.code:
            try:
                seed, ended, problems = playing.next(LOOK_EVERY_S)
            except multiprocessing.TimeoutError:
                continue
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
    if stop.code:
        print(f"interrupted after {done} of {len(seeds)} seeds.")
    seconds = time.monotonic() - began
    print(
        f"{done * EACH:,} payouts in {seconds:.0f} s, {done * EACH / seconds:.0f}/s: {dict(ends)}"
    )
    print(f"seeds that were not sound: {len(bad)} {sorted(bad) if bad else ''}")
    return stop.code or int(bool(bad))


# --- Kills ---


def soak_kills(kills: int, payouts: int, seeds: range, stop: Stop) -> int:
    """Print each seed's figures; 1 if any seed was not sound."""
    sys.path.insert(0, str(ROOT))
    from tests.services.payouts.kill_storm import KillStorm

    bad = list[int]()
    print(f"kills: seeds {seeds[0]} to {seeds[-1]}, {kills} kills, {payouts} payouts", flush=True)
    for done, seed in enumerate(seeds):
        with tempfile.TemporaryDirectory(prefix="workbench-soak-") as folder:
            began = time.monotonic()
            played = KillStorm(
                Path(folder), seed, kills=kills, payouts=payouts, stop=lambda: bool(stop.code)
            )
            problems = played.play()
        if stop.code:
            print(f"interrupted after {done} of {len(seeds)} seeds.")
            break
        figures = f"{dict(played.seen)}, answers {dict(played.liar.told)}"
        print(f"seed {seed}: {figures} in {time.monotonic() - began:.0f} s", flush=True)
        if problems:
            bad.append(seed)
            print(f"  not sound: {'; '.join(problems[:5])}")
            again = f"kills --kills {kills} --payouts {payouts} --seeds 1 --first {seed}"
            print(f'  again: make soak ARGS="{again}"', flush=True)
    print(f"seeds that were not sound: {len(bad)} {bad or ''}")
    return stop.code or int(bool(bad))


def main() -> int:
    """1 if any seed was not sound; 130 after Ctrl-C, 143 after SIGTERM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("subject", nargs="?", default="scenarios/storm.yaml",
                        help="a scenario file, payouts, or kills")  # fmt: skip
    parser.add_argument("--seeds", type=int, help="how many; 100 of a scenario, 1 of kills")
    parser.add_argument("--payouts", type=int, help="how many; 10000 in all, 200 of kills")
    parser.add_argument("--kills", type=int, default=30, help="how many, of kills")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    asked = parser.parse_args()
    stop = Stop()
    if asked.subject == "payouts":
        return soak_payouts(asked.payouts or 10_000, asked.first, stop)
    if asked.subject == "kills":
        seeds = range(asked.first, asked.first + (asked.seeds or 1))
        return soak_kills(asked.kills, asked.payouts or 200, seeds, stop)
    return soak_scenario(
        asked.subject, range(asked.first, asked.first + (asked.seeds or 100)), stop
    )


if __name__ == "__main__":
    sys.exit(main())

"""Check the coverage of each folder of the package against its floor: `make coverage`.

    python tools/coverage_floors.py                 # run the tests not marked slow, compare
    python tools/coverage_floors.py --write         # run them, and store today's figures as floors
    python tools/coverage_floors.py tests/core      # run some tests and print figures only

A figure is the share of lines that ran, in percent, of the modules directly in a folder. The floors
are in tests/coverage.json. A floor is two points below the figure of the day it was stored, because
a few lines run only in some orders of events. Processes that tests start are not measured: tracing
their imports would double the time. Exit code 1: a floor is not reached.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ROOT / "tests" / "coverage.json"
DATA = ROOT / ".cache" / "coverage"
OPTIONS = (
    "-n",
    "3",
    "--dist",
    "loadscope",
    "--no-loadscope-reorder",
    "-m",
    "not slow and not check",
)


def main(arguments: list[str]) -> int:
    """Run the tests, print a table, and return the exit code."""
    write = "--write" in arguments
    chosen = [argument for argument in arguments if argument != "--write"]
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    if run_tests(chosen or ["tests"]):
        print("Some tests failed under coverage. `make test` judges them; the figures are below.")
    found = figures()
    if write:
        text = json.dumps({name: max(1, int(share) - 2) for name, share in found.items()}, indent=2)
        FLOORS.write_text(text + "\n", encoding="utf-8")
    floors: dict[str, int] = json.loads(FLOORS.read_text(encoding="utf-8"))
    for name, share in found.items():
        print(f"{name:32} {share:5.1f} %   floor {floors.get(name, '-'):>3}")
    problems = [] if chosen else floor_problems(found, floors)
    print(*problems, sep="\n")
    return 1 if problems else 0


def run_tests(chosen: list[str]) -> int:
    """Run pytest under coverage and return its exit code."""
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", *OPTIONS, *chosen]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def figures() -> dict[str, float]:
    """Return the percentage of each folder, relative to the package; "." is its top."""
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.combine([str(DATA)])
    lines: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    package = ROOT / "workbench"
    for path in sorted(package.rglob("*.py")):
        _, statements, _, missing, _ = measured.analysis2(str(path))
        counts = lines[path.parent.relative_to(package).as_posix()]
        counts[0] += len(statements)
        counts[1] += len(statements) - len(missing)
    # A folder whose only module is an empty `__init__` counts as covered.
    return {
        name: 100 * ran / count if count else 100.0 for name, (count, ran) in sorted(lines.items())
    }


def floor_problems(found: Mapping[str, float], floors: Mapping[str, int]) -> list[str]:
    """Report each folder below its floor, and each folder or floor without the other."""
    problems = [
        f"workbench/{name} has a coverage of {found[name]:.1f} %, its floor is {floors[name]} %"
        for name in found
        if name in floors and found[name] < floors[name]
    ]
    without = [
        f"workbench/{name} has no floor: run this with --write" for name in found.keys() - floors
    ]
    gone = [f"workbench/{name} has a floor and no code" for name in floors.keys() - found]
    return problems + sorted(without) + sorted(gone)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

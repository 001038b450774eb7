"""Worlds for all tests: a real chain and the real services on virtual time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.hypothesis_profile  # noqa: F401 - loads the profile for all tests
from workbench import World, simulated

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and hands that down to the commands we interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # `make coverage` measures the workers, and not the processes that tests start.
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    """One world for the whole session; tests take it through `world`, which puts it back."""
    with simulated(seed=7) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The shared world as it was at the beginning; conservation is asserted after every test."""
    beginning = shared_world.snapshot()
    yield shared_world
    try:
        shared_world.audit()
    finally:  # A test that fails must not fail the next ones.
        beginning.restore()


ROOT = Path(__file__).resolve().parents[1]
LONG = (
    "tests/test_howtos.py",
    "tests/services/otc/test_crashes.py",
    "notebooks/01_quickstart.ipynb",
    "notebooks/02_run.ipynb",
    "notebooks/04_scenario.ipynb",
    "tests/lab/test_execute.py",
    "tests/cli/test_cli.py",
    "tests/commands/test_settlement.py",
    "tests/services/otc/test_offers.py",
    "tests/worlds/test_served_idle.py",
    "tests/commands/test_deploy.py",
    "tests/evm/node/test_fork.py",
)
"""Files that take long for their few tests: begun first, so that no worker is left with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; all else as it is collected."""
    rank = {ROOT / name: n for n, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))

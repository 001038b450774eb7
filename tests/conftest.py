"""Worlds for all tests: a real chain and the real services on virtual time."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import tests.hypothesis_profile  # noqa: F401 - loads the profile for all tests
from workbench import World, simulated

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and hands that down to the commands we interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


LONG = (
    "test_howtos.py",
    "test_crashes.py",
    "01_quickstart.ipynb",
    "02_run.ipynb",
    "04_scenario.ipynb",
    "test_papers.py",
    "test_cli.py",
    "test_byhand.py",
    "test_offers.py",
    "test_served_idle.py",
    "test_deploy_command.py",
    "test_fork.py",
)
"""Files that take long for their few tests: begun first, so that no worker is left with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; all else as it is collected."""
    rank = {name: n for n, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))

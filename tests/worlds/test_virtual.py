"""A world in a person's hands: amounts that are none, worlds that are over or left open."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from workbench import World, simulated
from workbench.core.errors import InvalidAmount, UnknownWorld

OPEN = """
from workbench import simulated
world = simulated()
print(world.buy("1").purchase.status)
"""


@pytest.mark.parametrize("amount", [0, -1, "0", 1.5, None, "abc", "1e3", ""])
def test_amounts_that_are_none(world: World, amount: object) -> None:
    """Named as they are, with what to write instead."""
    with pytest.raises(InvalidAmount, match=repr(amount)) as wrong:
        world.buy(amount)  # type: ignore[arg-type]
    assert wrong.value.hint or "1.10" in str(wrong.value)


def test_a_closed_world_says_so() -> None:
    """Whatever is asked of it, and without a word about coroutines; closing again is no matter."""
    world = simulated()
    moment = world.snapshot()
    world.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask = (lambda: world.buy("1"), lambda: world.get("http://seller/health"))
        for act in (*ask, world.advance, lambda: world.skip(9), world.snapshot, moment.restore):
            with pytest.raises(UnknownWorld, match="this world is closed"):
                act()
    world.close()


def test_a_script_may_leave_its_world_open() -> None:
    """It ends in order all the same, and says nothing about that."""
    command = [sys.executable, "-c", OPEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (0, "executed\n", "") == (done.returncode, done.stdout, done.stderr)


def test_after_a_return_to_a_snapshot_its_facts_are_those_that_are_known() -> None:
    """Any number of times, and later facts are recorded anew."""
    with simulated(seed=3) as world:
        world.buy("1")
        here = world.snapshot()
        known = world.run.events
        first = world.buy("2")
        for _ in range(2):
            here.restore()
            assert known == world.run.events
            assert first.events == world.buy("2").events


def test_a_journal_that_is_replaced_by_hand_is_gathered_again() -> None:
    """Facts of the journal before are not left among those of the new one."""
    with simulated(seed=3) as world:
        world.buy("1")
        known = set(world.run.events)
        world.kill("tracker")
        world.stores["tracker"].restore(type(world.stores["tracker"])().dump())
        assert () == world.run.events
        world.restart("tracker")
        world.advance(3)
        assert known == set(world.run.events)

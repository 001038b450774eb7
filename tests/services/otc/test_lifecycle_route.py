"""The tracker tells pages which states there are, and how they are shown."""

from __future__ import annotations

from workbench import World
from workbench.core import lifecycle


def test_the_tracker_tells_the_table_of_states(world: World) -> None:
    """All of it, as JSON."""
    answer = world.get("http://tracker/api/lifecycle")
    assert 200 == answer.status
    assert lifecycle.to_json() == answer.data()

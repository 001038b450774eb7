"""How a finished run is played again.

Runs are in a layer below worlds, so they cannot import what plays them. The package's public face
sets the player here; it is imported when a run is played again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Player = Callable[..., Any]
"""Takes a run and the changes of `Run.again`, and returns the new run."""

_find: Callable[[], Player] | None = None


def found_by(find: Callable[[], Player]) -> None:
    """Set the function that returns the player."""
    global _find  # noqa: PLW0603 - the one place where the face of the package is heard
    _find = find


def play_again() -> Player:
    """Return the function that plays a run again."""
    assert _find is not None, "the package `workbench` says at its import who plays runs"
    return _find()

"""How a finished run is played again, without knowing who plays it.

Runs lie below worlds, and so may not import what plays them. The package's public face, which
knows everything, says here where the player is; it is imported when a run is played again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Player = Callable[..., Any]
"""Takes a run and the changes of `Run.again`, and returns the new run."""

_find: Callable[[], Player] | None = None


def found_by(find: Callable[[], Player]) -> None:
    """From now on `play_again` is what `find` returns."""
    global _find  # noqa: PLW0603 - the one place where the face of the package is heard
    _find = find


def play_again() -> Player:
    """What plays a run again."""
    assert _find is not None, "the package `workbench` says at its import who plays runs"
    return _find()

"""Conclusions from a node's answers that need a second, equal answer.

One answer may be wrong in its content (a lagging node, a proxy that mixes answers), and no check of
its form finds that. A conclusion that cannot be undone needs two equal readings at different times.
Readings are in memory: a new process reads twice again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

AGAIN_MS = 3_000
"""Shortest time between two readings, in milliseconds of the clock."""


class ConfirmedReadings:
    """The first readings, by their subject."""

    def __init__(self) -> None:
        self._first: dict[Hashable, tuple[Any, int]] = {}

    def confirms(self, of: Hashable, value: Any, now_ms: int) -> bool:
        """Return True if `value` was read at least `AGAIN_MS` ago, and nothing else since.

        Another value, or a clock that went back, makes this the first reading.
        """
        known = self._first.get(of)
        if known is None or known[0] != value or now_ms < known[1]:
            self._first[of] = (value, now_ms)
            return False
        return now_ms - known[1] >= AGAIN_MS

    def forget(self, of: Hashable) -> None:
        """Drop the reading: the answer was as expected, or the conclusion was drawn."""
        self._first.pop(of, None)

    def first(self, of: Hashable) -> Any:
        """Return the first reading, or None."""
        known = self._first.get(of)
        return known[0] if known else None

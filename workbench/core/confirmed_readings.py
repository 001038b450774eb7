"""What is concluded from a node's answers only after a second, equal one.

One answer may be wrong in its content alone (a node that lags, a proxy that mixes answers up): no
check of its form finds that. Where a conclusion cannot be taken back, it needs two equal readings,
the second at a later time. Readings are held in memory: a new process reads twice again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

AGAIN_MS = 3_000
"""Milliseconds of the clock between two readings at least."""


class ConfirmedReadings:
    """First readings by what they are of."""

    def __init__(self) -> None:
        self._first: dict[Hashable, tuple[Any, int]] = {}

    def confirms(self, of: Hashable, value: Any, now_ms: int) -> bool:
        """Whether `value` was read before, `AGAIN_MS` ago or longer, and nothing else since.

        Another value, or a clock that was set back, makes this the first reading.
        """
        known = self._first.get(of)
        if known is None or known[0] != value or now_ms < known[1]:
            self._first[of] = (value, now_ms)
            return False
        return now_ms - known[1] >= AGAIN_MS

    def forget(self, of: Hashable) -> None:
        """It was read as it should be, or the conclusion was drawn."""
        self._first.pop(of, None)

    def first(self, of: Hashable) -> Any:
        """The first reading, None where there is none."""
        known = self._first.get(of)
        return known[0] if known else None

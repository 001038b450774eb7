"""A loss is not concluded from one answer of a node: a second, later reading must say the same."""

from __future__ import annotations

from collections.abc import Hashable

GAP_MS = 4_000
"""How much later the second reading must be, in milliseconds: longer than one answer is cached."""


class SecondReading:
    """The first readings of what would be a loss, by name. They are kept in memory alone: after a
    restart, both are taken again."""

    def __init__(self, gap_ms: int = GAP_MS) -> None:
        self._gap_ms = gap_ms
        self._first: dict[Hashable, tuple[int, object]] = {}

    def confirms(self, name: Hashable, reading: object, now_ms: int) -> bool:
        """Whether an earlier reading of this name, at least the gap before, was equal to this one.
        One that differs takes its place, and begins anew."""
        known = self._first.get(name)
        if known is None or known[1] != reading or now_ms < known[0]:
            self._first[name] = (now_ms, reading)
            return False
        return now_ms - known[0] >= self._gap_ms

    def forget(self, name: Hashable) -> None:
        """There is no loss after all, or it was acted upon."""
        self._first.pop(name, None)

    def __contains__(self, name: Hashable) -> bool:
        """Whether a first reading waits for its second."""
        return name in self._first

    def first(self, name: Hashable) -> object:
        """The first reading, None where there is none."""
        known = self._first.get(name)
        return known[1] if known else None

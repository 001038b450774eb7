"""How often Python looks for garbage in cycles while a world is at work."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
OBJECTS = 500_000
"""New objects between two looks. A world keeps one or two thousand for each settlement, and makes
hardly any in cycles: looking through all of it every 700, as is usual, took a tenth of its time."""


@contextmanager
def seldom_searched() -> Iterator[None]:
    """For as long as a world works; then as usual again."""
    gc.set_threshold(OBJECTS, *USUAL[1:])
    try:
        yield
    finally:
        gc.set_threshold(*USUAL)

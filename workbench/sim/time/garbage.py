"""The interval of Python's cyclic garbage collection while a world runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
OBJECTS = 500_000
"""New objects between two collections. A world keeps one or two thousand objects for each
settlement, almost none in cycles. With the default of 700 the collector took a tenth of the time.
"""


@contextmanager
def seldom_searched() -> Iterator[None]:
    """Raise the interval inside the `with`, and restore it after."""
    gc.set_threshold(OBJECTS, *USUAL[1:])
    try:
        yield
    finally:
        gc.set_threshold(*USUAL)

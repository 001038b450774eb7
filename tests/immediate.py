"""Coroutines that never wait, run without a loop: a thousand of them cost nothing."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns or raises. It must not wait: in-memory adapters and stubs do not.

    Raises AssertionError if it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("it waits")

"""A virtual loop with a node, for the tests of overlapping calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from workbench.sim.time.loop import VirtualLoop

NOBODY = "0x" + "ab" * 20


@contextlib.contextmanager
def playing() -> Iterator[tuple[VirtualLoop, Callable[..., list[Any]]]]:
    """A loop, and a function that runs coroutines on it together: their results or errors."""
    loop = VirtualLoop()

    def play(*works: Coroutine[Any, Any, Any]) -> list[Any]:
        async def together() -> list[Any]:
            return await asyncio.gather(*works, return_exceptions=True)

        return loop.run_until_complete(together())

    try:
        yield loop, play
    finally:
        loop.close()

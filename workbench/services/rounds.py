"""The loop of every service: one round after another, until cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock
from workbench.services.routes import log


async def rounds(
    name: str, tick: Callable[[], Awaitable[None]], clock: Clock, poll_s: float
) -> None:
    """Call `tick` every `poll_s` seconds. A transient error is waited out, and told once.

    Raises the first error that waiting cannot heal.
    """
    told = ""
    while True:
        try:
            await tick()
            if told:
                log.warning("%s: goes on", name)
            told = ""
        except WorkbenchError as why:
            if not why.transient:
                raise
            if why.code != told:
                log.warning("%s waits: %s", name, why)
            told = why.code
        await clock.sleep(poll_s)


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Several loops at once. The first that fails ends the others; its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

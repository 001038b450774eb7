"""The loop of every service: one round after another, until cancelled.

The policy is explicit. A served process never ends by a fault: whatever a round raises is logged,
becomes an alarm and a count, and the round is tried again with back-off. In tests and simulated
runs only transient faults are waited out, and everything else is raised: it fails the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from workbench.core.errors import (
    ChainError,
    RpcLimited,
    RpcUnreachable,
    StoreError,
    WorkbenchError,
    WrongChain,
)
from workbench.core.ports import Clock
from workbench.services.common.health import Health, brief, log

BACKOFF_MOST_S = 15.0
"""Longest wait between two tries of a round that fails, in seconds."""
FAULTS = ("chain", "chain_id", "store", "rounds")
"""The checks that faults of rounds belong to; see `_check_of`."""
RETRY_AFTER_MOST_S = 300.0
"""A node that limits us is believed up to this many seconds."""


class FaultPolicy(Enum):
    """What becomes of a fault that waiting is not known to heal."""

    RAISE = "raise"
    RETRY = "retry"


class ServiceLoop:
    """Rounds of one service, and where their faults are reported.

    `before`: called before each round of the main loop, the one of the service's own name; where it
    raises, there is no round.
    """

    def __init__(
        self,
        clock: Clock,
        health: Health,
        on_fault: FaultPolicy,
    ) -> None:
        self.clock, self.health, self.on_fault = clock, health, on_fault
        self.before: Callable[[], Awaitable[None]] | None = None
        self.failed: set[str] = set()
        """The parts that failed in the round that goes on."""
        self._parts: set[str] = set()
        """The parts that failed when they were last tried."""
        self._failing: set[str] = set()
        self._traced: dict[str, str] = {}

    async def rounds(self, name: str, tick: Callable[[], Awaitable[None]], poll_s: float) -> None:
        """Call `tick` every `poll_s` seconds; after faults later, at most `BACKOFF_MOST_S`.

        Raises, where the policy is RAISE, the first error that is not transient.
        """
        failures = 0
        while True:
            wait_s = poll_s
            try:
                await (self.once(tick) if name == self.health.service else tick())
            except Exception as why:
                if not self._goes_on(why):
                    raise
                failures += 1
                self.note(name, why)
                wait_s = self._wait_s(why, poll_s, failures)
            else:
                failures = 0
                self.clear(name)
            await self.clock.sleep(wait_s)

    async def once(self, tick: Callable[[], Awaitable[None]]) -> None:
        """One round of the main loop. Raises what ends it before its end."""
        self.failed.clear()
        if self.before is not None:
            await self.before()
        await tick()
        for name in self._parts - self.failed:
            self.clear(name)  # It succeeded, or there is nothing more to do for it.
        self._parts &= self.failed

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of a round that fails by itself: what follows it in the round is still done.

        A fault that other parts would meet as well (no node, a node that limits us, no database)
        ends the round.
        """
        try:
            yield
        except Exception as why:
            if not self.contains(name, why):
                raise

    def contains(self, name: str, why: Exception) -> bool:
        """Whether a fault of a part was noted, and the round goes on; else it must be raised."""
        is_common = isinstance(why, RpcUnreachable | RpcLimited | StoreError)
        if is_common or self.on_fault is FaultPolicy.RAISE:
            return False
        self.failed.add(name)
        self._parts.add(name)
        self.note(name, why)
        return True

    def note(self, name: str, why: Exception) -> None:
        """Report and count a fault of `name` (a loop, or a part of its round). The trace of a
        defect is logged, once for each reason."""
        check, reason, key = _check_of(why), brief(why), self._key(name)
        self.health.count(why)
        self._failing.add(name)
        if not isinstance(why, WorkbenchError) and self._traced.get(name) != repr(why):
            self._traced[name] = repr(why)
            log.error("%s: a defect: %r", name, why, exc_info=why)
        for other in FAULTS:
            if other != check:
                self.health.clear(other, key)
        self.health.fails(check, reason, key)

    def clear(self, name: str) -> None:
        """`name` has succeeded."""
        if name in self._failing:
            self._failing.discard(name)
            self._traced.pop(name, None)
            for check in FAULTS:
                self.health.clear(check, self._key(name))
        if name == self.health.service:
            self.health.ok("rounds")

    def _key(self, name: str) -> str:
        return "" if name == self.health.service else name

    def _goes_on(self, why: Exception) -> bool:
        is_transient = isinstance(why, WorkbenchError) and why.transient
        return is_transient or self.on_fault is FaultPolicy.RETRY

    def _wait_s(self, why: Exception, poll_s: float, failures: int) -> float:
        if self.on_fault is FaultPolicy.RAISE:
            return poll_s  # Simulated time costs nothing, and traces stay as they are.
        doubled = poll_s * 2.0 ** min(failures - 1, 16)
        asked = why.details.get("retry_after_s") if isinstance(why, WorkbenchError) else None
        asked_s = min(float(asked), RETRY_AFTER_MOST_S) if isinstance(asked, int | float) else 0.0
        return max(min(doubled, max(poll_s, BACKOFF_MOST_S)), asked_s)


def _check_of(why: Exception) -> str:
    """The check that a fault of a round belongs to."""
    if isinstance(why, WrongChain):
        return "chain_id"
    if isinstance(why, StoreError):
        return "store"
    return "chain" if isinstance(why, ChainError) else "rounds"


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Several loops at once. The first that fails ends the others; its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

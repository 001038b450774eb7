"""The loop of every service: rounds, one after another, until cancelled.

A fault never ends a served process: it is logged, counted and raised as an alarm, and the round is
retried with back-off. In tests and simulated runs only transient faults are retried; any other
fails the run.
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
"""Longest wait between two tries of a failing round, in seconds."""
FAULTS = ("chain", "chain_id", "store", "rounds")
"""The checks that faults of rounds belong to. See `_check_of`."""
RETRY_AFTER_MOST_S = 300.0
"""The longest Retry-After of a node that is obeyed, in seconds."""


class FaultPolicy(Enum):
    """How faults are handled that are not transient."""

    RAISE = "raise"
    RETRY = "retry"


class ServiceLoop:
    """The rounds of one service, and the reports of their faults.

    `before`: called before each round of the main loop, which has the name of the service. If it
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
        """The parts that failed in this round."""
        self._parts: set[str] = set()
        """The parts that failed at their last try."""
        self._failing: set[str] = set()
        self._traced: dict[str, str] = {}

    async def rounds(self, name: str, tick: Callable[[], Awaitable[None]], poll_s: float) -> None:
        """Call `tick` every `poll_s` seconds; after faults later, at most after `BACKOFF_MOST_S`.

        With the policy RAISE, raises the first error that is not transient.
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
        """Run one round of the main loop. Raises the fault that ended it."""
        self.failed.clear()
        if self.before is not None:
            await self.before()
        await tick()
        for name in self._parts - self.failed:
            self.clear(name)  # It succeeded, or there is nothing left to do.
        self._parts &= self.failed

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Run a part of a round whose fault does not stop the rest of the round.

        A fault that would stop other parts as well (no node, rate limit, no database) ends the
        round.
        """
        try:
            yield
        except Exception as why:
            if not self.contains(name, why):
                raise

    def contains(self, name: str, why: Exception) -> bool:
        """Return True if the fault of a part was recorded and the round continues; else it must be
        raised."""
        is_common = isinstance(why, RpcUnreachable | RpcLimited | StoreError)
        if is_common or self.on_fault is FaultPolicy.RAISE:
            return False
        self.failed.add(name)
        self._parts.add(name)
        self.note(name, why)
        return True

    def note(self, name: str, why: Exception) -> None:
        """Report and count a fault of `name` (a loop, or a part of its round). The stack trace of a
        defect is logged once for each reason."""
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
        """Record that `name` has succeeded."""
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
        """Return the seconds until the next try."""
        if self.on_fault is FaultPolicy.RAISE:
            return poll_s  # Simulated time is free, and traces stay equal.
        doubled = poll_s * 2.0 ** min(failures - 1, 16)
        asked = why.details.get("retry_after_s") if isinstance(why, WorkbenchError) else None
        asked_s = min(float(asked), RETRY_AFTER_MOST_S) if isinstance(asked, int | float) else 0.0
        return max(min(doubled, max(poll_s, BACKOFF_MOST_S)), asked_s)


def _check_of(why: Exception) -> str:
    """Return the check that the fault of a round belongs to."""
    if isinstance(why, WrongChain):
        return "chain_id"
    if isinstance(why, StoreError):
        return "store"
    return "chain" if isinstance(why, ChainError) else "rounds"


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run several loops. The first failure cancels the others and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""An event loop whose time is virtual: when nothing can run, it jumps to the next timer.

RPC to the node blocks inside the loop, so it takes no virtual time, and "nothing can run" means
that every service waits for a time to come. Equal timers fire first in, first out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")


class _Timer(asyncio.TimerHandle):
    """A TimerHandle that breaks ties by the order in which timers were set."""

    __slots__ = ("_order",)

    def __init__(self, order: int, when: float, *rest: Any) -> None:
        super().__init__(when, *rest)
        self._order = order

    def __lt__(self, other: Any) -> bool:
        return bool((self._when, self._order) < (other._when, other._order))  # type: ignore[attr-defined]


class _Jump(selectors.DefaultSelector):
    """Never waits for a timer: moves the clock instead. Waits only when there is none."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.loop.jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Seconds since the loop began; they pass only by jumping."""

    def __init__(self, start: float = 0.0) -> None:
        jump = _Jump()
        super().__init__(jump)
        jump.loop = self
        self._now = start
        self._order = itertools.count()

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = _Timer(next(self._order), when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer


class VirtualClock:
    """The Clock port on a VirtualLoop. `epoch_s`: Unix seconds at the loop's time 0."""

    def __init__(self, loop: VirtualLoop, epoch_s: int) -> None:
        self._loop, self.epoch_s = loop, epoch_s

    def now_ms(self) -> int:
        return self.epoch_s * 1000 + round(self._loop.time() * 1000)

    def now_s(self) -> int:
        return self.now_ms() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SkewedClock:
    """A service's own clock, which may be off by `skew_s`. Sleeping takes as long as for others."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.skew_s = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + 1000 * self.skew_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

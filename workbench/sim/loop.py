"""An event loop whose time is virtual: when nothing can run, it jumps to the next timer.

RPC to the node takes no virtual time: while somebody waits for an answer, time stands still. The
node works on while others run; when none of them can go on, the loop waits for the next answer,
and which one that is depends on the order of the questions alone. So "nothing can run" means that
every service waits for a time to come. Equal timers fire first in, first out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol, TypeVarTuple

Ts = TypeVarTuple("Ts")


LAST = 9
"""The rank of all who have none of their own."""


class Line(Protocol):
    """A connection whose answers are read when nothing else can go on."""

    def read_next(self) -> bool:
        """Read, blocking, until somebody can go on; False if nobody waits for an answer."""


class _Timer(asyncio.TimerHandle):
    """A TimerHandle that breaks ties by rank, then by the order in which timers were set."""

    __slots__ = ("_place",)

    def __init__(self, rank: int, order: int, when: float, *rest: Any) -> None:
        super().__init__(when, *rest)
        self._place = (when, rank, order)

    def __lt__(self, other: Any) -> Any:  # A hundred times a settlement.
        return self._place < other._place


class _Jump(selectors.DefaultSelector):
    """Never waits for a timer: moves the clock instead. Waits only when there is none."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout != 0 and any(line.read_next() for line in self.loop.lines):
            return []
        if timeout != 0 and self.loop.end_of_moment():
            return []
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
        self.lines: list[Line] = []
        self._resting: list[asyncio.Future[None]] = []

    async def rest(self) -> None:
        """Until all that happens at this moment has happened, answers of the node included."""
        over = self.create_future()
        self._resting.append(over)
        await over

    def end_of_moment(self) -> bool:
        """Nothing can go on: wake those who waited for that. False if nobody did."""
        resting, self._resting = self._resting, []
        for over in resting:
            _wake(over)
        return bool(resting)

    def wait_for(self, line: Line) -> None:
        """From now on, time stands still while somebody waits for an answer of this line."""
        if line not in self.lines:
            self.lines.append(line)

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
        return self.call_ranked(LAST, when, callback, *args, context=context)

    def call_ranked(
        self,
        rank: int,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """`call_at`. Of equal timers those of a lower rank come first."""
        timer = _Timer(rank, next(self._order), when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer


class VirtualClock:
    """The Clock port on a VirtualLoop. `epoch_s`: Unix seconds at the loop's time 0.

    `rank`: who wakes first of those who sleep until the same moment.
    """

    def __init__(self, loop: VirtualLoop, epoch_s: int, rank: int = LAST) -> None:
        self._loop, self.epoch_s, self._rank = loop, epoch_s, rank

    def now_ms(self) -> int:
        return self.epoch_s * 1000 + round(self._loop.time() * 1000)

    def now_s(self) -> int:
        return self.now_ms() // 1000

    async def sleep(self, seconds: float) -> None:
        woken = self._loop.create_future()
        due = self._loop.time() + seconds
        timer = self._loop.call_ranked(self._rank, due, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class SkewedClock:
    """A service's own clock, which may be off by `skew_s`. Sleeping takes as long as for others."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.skew_s = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + 1000 * self.skew_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

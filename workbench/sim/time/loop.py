"""An event loop on virtual time: when no task can run, time jumps to the next timer.

RPC calls take no virtual time: while a task waits for an answer, time stands still. The node works
while other tasks run; when none can run, the loop waits for the next answer, in the order of the
questions. So time advances only when every task waits for a time. Equal timers fire first in, first
out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
TimerEntry = tuple[float, int, int, asyncio.TimerHandle | asyncio.Future[None]]
"""(deadline, rank, sequence, handle)."""

LAST = 9
"""The rank of tasks without one."""
FEW_TIMERS = 1_000


class IdleConnection(Protocol):
    """A connection whose answers are read when no task can run."""

    def read_next(self) -> bool:
        """Read, blocking, until a task can run. Return False if no task waits for an answer."""


class TimeGate(Protocol):
    """Called before each moment to which virtual time advances. It must not touch the loop."""

    def before(self, at_s: float) -> None:
        """Time is about to advance to `at_s` (seconds of the loop). May block or raise."""

    def after(self) -> None:
        """Time has advanced, and no task has run in the new moment yet."""


TURNS_UNSEEN = 64
"""Poll the operating system only every N iterations in which a task can run. Signals and threads
wait for that."""


class JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits for a timer: it advances the clock instead."""

    loop: VirtualLoop
    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        if timeout == 0:  # A task can run.
            self.turns += 1
            return super().select(0) if self.turns % TURNS_UNSEEN == 0 else ()
        if any(line.read_next() for line in self.loop.lines) or self.loop.end_of_moment():
            return ()
        if not self.loop.has_timers():
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.loop.go_on()
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Seconds since the start of the loop; they pass only by jumps.

    It keeps its own timers: asyncio's compare themselves in Python, a hundred times per settlement.
    """

    def __init__(self, start: float = 0.0) -> None:
        jump = JumpingSelector()
        super().__init__(jump)
        jump.loop = self
        self._now = start
        self._order = itertools.count()
        self._timers: list[TimerEntry] = []
        self._many = FEW_TIMERS
        self.lines: list[IdleConnection] = []
        self.gate: TimeGate | None = None
        self._resting: list[asyncio.Future[None]] = []

    async def rest(self) -> None:
        """Wait until everything of this moment has happened, answers of the node included."""
        over = self.create_future()
        self._resting.append(over)
        await over

    def end_of_moment(self) -> bool:
        """No task can run: wake those that wait for this. Return False if there are none."""
        resting, self._resting = self._resting, []
        for over in resting:
            _wake(over)
        return bool(resting)

    def wait_for(self, line: IdleConnection) -> None:
        """Let time stand still while a task waits for an answer of this connection."""
        if line not in self.lines:
            self.lines.append(line)

    def time(self) -> float:
        return self._now

    # --- Timers ---

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._set(when, LAST, timer)
        return timer

    async def sleep(self, seconds: float, rank: int = LAST) -> None:
        """Sleep. Of tasks that wake at the same moment, those of a lower rank run first."""
        woken = self.create_future()
        self._set(self._now + seconds, rank, woken)
        await woken

    def _set(
        self, when: float, rank: int, what: asyncio.TimerHandle | asyncio.Future[None]
    ) -> None:
        heapq.heappush(self._timers, (when, rank, next(self._order), what))
        if len(self._timers) > self._many:  # Most of them may have been cancelled.
            self._timers = [timer for timer in self._timers if not timer[3].cancelled()]
            heapq.heapify(self._timers)
            self._many = max(FEW_TIMERS, 2 * len(self._timers))

    def has_timers(self) -> bool:
        """Return True if a task waits for a time."""
        while self._timers and self._timers[0][3].cancelled():
            heapq.heappop(self._timers)
        return bool(self._timers)

    def jump(self, seconds: float) -> None:
        """Let time pass. Timers that are due fire when no task can run."""
        self._now += seconds

    def go_on(self) -> None:
        """Advance to the next timer and fire all timers of that moment."""
        at_s = max(self._now, self._timers[0][0])
        if self.gate is not None:
            self.gate.before(at_s)
        self._now = at_s
        if self.gate is not None:
            self.gate.after()
        while self._timers and self._timers[0][0] <= self._now:
            what = heapq.heappop(self._timers)[3]
            if isinstance(what, asyncio.TimerHandle):
                self._ready.append(what)  # type: ignore[attr-defined]
            else:
                _wake(what)


class VirtualClock:
    """The Clock port on a VirtualLoop. `epoch_s`: Unix seconds at time 0 of the loop.

    `rank`: order among sleepers that wake at the same moment.
    """

    def __init__(self, loop: VirtualLoop, epoch_s: int, rank: int = LAST) -> None:
        self._loop, self.epoch_s, self._rank = loop, epoch_s, rank
        self._epoch_ms = epoch_s * 1000

    def now_ms(self) -> int:
        return self._epoch_ms + round(self._loop._now * 1000)

    def now_s(self) -> int:
        return self.now_ms() // 1000

    async def sleep(self, seconds: float) -> None:
        await self._loop.sleep(seconds, self._rank)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, such as a read of a SQLite store."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("something was waited for")


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class SkewedClock:
    """A service's own clock, which may differ by `skew_s`. Sleeping takes the same time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.skew_s = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + 1000 * self.skew_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

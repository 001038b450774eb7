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
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
TimerEntry = tuple[float, int, int, asyncio.TimerHandle | asyncio.Future[None]]
"""When, the rank, the place among equals, and what is to go on."""

LAST = 9
"""The rank of all who have none of their own."""
FEW_TIMERS = 1_000


class IdleConnection(Protocol):
    """A connection whose answers are read when nothing else can go on."""

    def read_next(self) -> bool:
        """Read, blocking, until somebody can go on; False if nobody waits for an answer."""


class TimeGate(Protocol):
    """Stands before each moment to which virtual time moves. It must not touch the loop."""

    def before(self, at_s: float) -> None:
        """Time is about to move to `at_s` (seconds of the loop). May block, or raise."""

    def after(self) -> None:
        """Time has moved, and nothing of the new moment has happened yet."""


TURNS_UNSEEN = 64
"""So many turns in which something can run pass between two looks at what the system has to say:
a signal, or a thread's answer."""


class JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: moves the clock instead. Waits only when there is none."""

    loop: VirtualLoop
    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        if timeout == 0:  # Something can run.
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
    """Seconds since the loop began; they pass only by jumping.

    Its timers are its own: asyncio's compare themselves in Python, a hundred times a settlement.
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

    def wait_for(self, line: IdleConnection) -> None:
        """From now on, time stands still while somebody waits for an answer of this line."""
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
        """Of those who wake at the same moment, the ones of a lower rank come first."""
        woken = self.create_future()
        self._set(self._now + seconds, rank, woken)
        await woken

    def _set(
        self, when: float, rank: int, what: asyncio.TimerHandle | asyncio.Future[None]
    ) -> None:
        heapq.heappush(self._timers, (when, rank, next(self._order), what))
        if len(self._timers) > self._many:  # Nobody waits for most of them any more, perhaps.
            self._timers = [timer for timer in self._timers if not timer[3].cancelled()]
            heapq.heapify(self._timers)
            self._many = max(FEW_TIMERS, 2 * len(self._timers))

    def has_timers(self) -> bool:
        """Whether somebody waits for a time to come."""
        while self._timers and self._timers[0][3].cancelled():
            heapq.heappop(self._timers)
        return bool(self._timers)

    def jump(self, seconds: float) -> None:
        """Let time pass; timers that are due by then go off when nothing else can run."""
        self._now += seconds

    def go_on(self) -> None:
        """To the next timer, which goes off, with all others of that moment."""
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
    """The Clock port on a VirtualLoop. `epoch_s`: Unix seconds at the loop's time 0.

    `rank`: who wakes first of those who sleep until the same moment.
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
    """The result of a coroutine that waits for nothing, such as a look into a SQLite store."""
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
    """A service's own clock, which may be off by `skew_s`. Sleeping takes as long as for others."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.skew_s = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + 1000 * self.skew_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

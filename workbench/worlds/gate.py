"""The gate of a run: it is passed before each moment to which virtual time advances.

Nothing in the loop notices the gate, so holding and reading change no byte of the trace. Only an
order changes it. An order takes effect at the beginning of a moment, and that moment is stored with
it, so that a replay repeats it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from workbench.scenario import Order
from workbench.sim.time.loop import TimeGate
from workbench.worlds.virtual import World


def go_through(at_ms: int) -> None:
    """Hold nothing."""


class RunGate(TimeGate):
    """The gate of one run. `hold(at_ms)` is called before time advances; it may block or raise.

    `orders`: of a run that is played again, with the moments at which they took effect. All times
    are virtual milliseconds since the start of the scenario.
    """

    def __init__(
        self, orders: Iterable[Order] = (), hold: Callable[[int], None] = go_through
    ) -> None:
        self._hold = hold
        self._planned = sorted(orders, key=_moment)
        self._asked: deque[Order] = deque()
        self._world: World | None = None
        self._start_ms = self._now_ms = 0
        self.taken: list[Order] = []
        """Orders that took effect, each with its moment."""

    def begin(self, world: World) -> None:
        """Start the clock of the scenario. No order takes effect before."""
        self._world = world
        self._start_ms = self._now_ms = world.clock.now_ms()
        self._take_due(world)

    def ask(self, order: Order) -> None:
        """Let an order take effect at its moment, or at the next one. Called from any thread."""
        self._asked.append(order)

    @property
    def now_ms(self) -> int:
        """Return the present moment; 0 before the start of the scenario."""
        return self._now_ms - self._start_ms

    def before(self, at_s: float) -> None:
        if self._world is None:
            self._hold(0)
        else:
            self._hold(self._world.clock.epoch_s * 1000 + round(at_s * 1000) - self._start_ms)

    def after(self) -> None:
        if self._world is None:
            return
        now_ms = self._world.clock.now_ms()
        # The same moment continues; orders take effect at its beginning.
        if now_ms == self._now_ms:
            return
        self._now_ms = now_ms
        self._take_due(self._world)

    def _take_due(self, world: World) -> None:
        """Let due orders take effect."""
        if self._asked:
            while self._asked:
                self._planned.append(self._asked.popleft())
            self._planned.sort(key=_moment)
        while self._planned and _moment(self._planned[0]) <= self.now_ms:
            order = replace(self._planned.pop(0), at_s=self.now_ms / 1000)
            self.taken.append(order)
            world.take_order(order)


def _moment(order: Order) -> int:
    return -1 if order.at_ms is None else order.at_ms

"""Where a run can be held: before each moment to which virtual time moves.

The gate tells nobody in the loop that it was asked, so holding, looking and counting change no byte
of the trace. What does change it is an order, which takes effect at the beginning of a moment; that
moment is kept with the order, so that a replay finds it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from workbench.scenario import Order
from workbench.sim.time.loop import TimeGate
from workbench.worlds.virtual import World


def go_through(at_ms: int) -> None:
    """Holds nobody."""


class RunGate(TimeGate):
    """The gate of one run. `hold(at_ms)`: called before time moves there; may block, or raise.

    `orders`: those of a run that is played again, with the moments at which they took effect.
    All times are virtual milliseconds from the scenario's start.
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
        """The orders that took effect, each with its moment."""

    def begin(self, world: World) -> None:
        """The scenario's clock starts now; before, no order takes effect."""
        self._world = world
        self._start_ms = self._now_ms = world.clock.now_ms()
        self._take_due(world)

    def ask(self, order: Order) -> None:
        """Let an order take effect at its moment, or at the next one. From any thread."""
        self._asked.append(order)

    @property
    def now_ms(self) -> int:
        """The moment at which the run is; 0 before the scenario's start."""
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
        if now_ms == self._now_ms:  # The same moment goes on; orders take effect at its beginning.
            return
        self._now_ms = now_ms
        self._take_due(self._world)

    def _take_due(self, world: World) -> None:
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

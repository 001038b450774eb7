"""Listeners of a run: each receives every fact once, in order, from a thread beside the run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from workbench.core.facts import Event

FactListener = Callable[[int, tuple[Event, ...]], None]
"""Called with the number of facts delivered so far, and the new ones."""
RunMoment = tuple[str, int]
"""The state of a run, and the block of a pause: a step may bring no fact."""
log = logging.getLogger(__name__)


class Listeners:
    """The listeners of one run. `events`: the append-only list of facts. `over`: set when it is
    complete.

    `run` is the body of the delivering thread. `told_all` is set when it has delivered everything.
    """

    def __init__(
        self,
        events: Callable[[], list[Event]],
        moment: Callable[[], RunMoment],
        over: threading.Event,
    ) -> None:
        self._events, self._moment, self._over = events, moment, over
        self._changed = threading.Condition()
        self._subscriptions: list[FactSubscription] = []
        self.told_all = threading.Event()

    def add(self, on_facts: FactListener, after: int, at_most_hz: float) -> Callable[[], None]:
        """Add a listener. Return a function that removes it."""
        added = FactSubscription(on_facts, after, 1 / at_most_hz)
        with self._changed:
            is_late = self.told_all.is_set()
            if not is_late:
                self._subscriptions.append(added)
                self._changed.notify_all()
        if is_late:
            added.tell(self._events(), self._moment())
        return added.end

    def is_calling(self) -> bool:
        """Return True if the calling thread is delivering facts."""
        return any(each.thread == threading.get_ident() for each in self._subscriptions)

    def wake(self) -> None:
        """End after the remaining facts are delivered."""
        with self._changed:
            self._changed.notify_all()

    def run(self) -> None:
        """Deliver facts until the run is over and every listener has all of them."""
        while True:
            is_last = self._over.is_set()
            with self._changed:
                self._subscriptions = [each for each in self._subscriptions if not each.is_over]
                told = list(self._subscriptions)
            moment = self._moment()
            for each in told:
                if is_last or each.is_due(self._events(), moment):
                    each.tell(self._events(), moment)
            if is_last:
                with self._changed:
                    if len(self._subscriptions) > len(told):
                        continue  # A fact came meanwhile.
                    self.told_all.set()
                return
            if told:
                self._over.wait(min(each.period_s for each in told))
            else:
                with self._changed:
                    self._changed.wait_for(lambda: self._subscriptions or self._over.is_set())


class FactSubscription:
    """One listener, and the number of facts it has received."""

    def __init__(self, on_facts: FactListener, cursor: int, period_s: float) -> None:
        self._on_facts, self._cursor, self.period_s = on_facts, cursor, period_s
        self._moment: RunMoment = ("", 0)
        self._next = 0.0
        self.thread = 0
        self.is_over = False

    def is_due(self, events: list[Event], moment: RunMoment) -> bool:
        news = len(events) > self._cursor or moment != self._moment
        return news and time.monotonic() >= self._next

    def tell(self, events: list[Event], moment: RunMoment) -> None:
        """Deliver new facts, if the rate allows it."""
        fresh = tuple(events[self._cursor :])
        if self.is_over or not (fresh or moment != self._moment):
            return
        self._cursor += len(fresh)
        self._moment, self._next = moment, time.monotonic() + self.period_s
        self.thread = threading.get_ident()
        try:
            self._on_facts(self._cursor, fresh)
        except Exception:
            log.exception("a listener of a session failed; it gets no more facts")
            self.is_over = True
        finally:
            self.thread = 0

    def end(self) -> None:
        """Deliver nothing more."""
        self.is_over = True

"""A run in the background that can be watched, paused, stepped, stopped, and given faults.

The run is played in a thread of its own. Before each moment to which virtual time advances it
passes a gate (`worlds/gate`), where it waits while it is paused or ahead of its pace. Readers use
an append-only list. So neither changes a byte of the trace. Wall-clock time is read here and
nowhere below. It decides how fast a run is shown, never what happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from weakref import WeakSet

from workbench.core import facts as ev
from workbench.core.errors import OrderRefused, RunOver, RunUnderWay
from workbench.results.run import Run
from workbench.scenario import Order, Scenario, order_for
from workbench.worlds.gate import RunGate
from workbench.worlds.listeners import FactListener, Listeners, RunMoment
from workbench.worlds.progress import FactCounts, SessionProgress
from workbench.worlds.state_reader import ViewRequest, WorldView
from workbench.worlds.virtual import World

PAUSE_S = 5.0
"""Longest wait of `pause()`."""
CATCH_UP_S = 0.25
"""A run that is behind its pace by more than this does not catch up."""
KILL_S = 5.0


class RunStopped(KeyboardInterrupt):
    """Raised in the run by `Session.stop()`. Code that answers Ctrl-C answers it as well."""


_OPEN: WeakSet[Session] = WeakSet()


def _stop_all() -> None:
    """A script or a kernel may end while a session is paused."""
    for session in list(_OPEN):
        session._release()


# Executors join their threads before `atexit`, and a paused run would never end.
threading._register_atexit(_stop_all)  # type: ignore[attr-defined]


class Session:
    """See the module. `Experiment.start()` returns it. Methods may be called from any thread."""

    def __init__(
        self, scenario: Scenario, seed: int, orders: Sequence[Order] = (), pace: float | None = None
    ) -> None:
        self.scenario, self.seed = scenario, seed
        self.gate = RunGate(orders, self._hold)
        self.run: Run | None = None
        """The run, once the session is over."""
        self.failure: Exception | None = None
        """The error that ended the session, or None."""
        self.origin_ms: int | None = None
        """Start of the scenario in Unix milliseconds of the virtual clock; None before."""
        self._changed = threading.Condition()
        self._phase, self._is_held, self._wants_pause = "booting", False, False
        self._until_block: int | None = None
        self._is_stopping = self._is_released = False
        self._world: World | None = None
        self._events: list[ev.Event] = []
        self._views: list[ViewRequest] = []
        self._counts = FactCounts()
        self._over = threading.Event()
        self._listeners = Listeners(lambda: self._events, lambda: self._moment, self._over)
        self._began, self._ended = time.monotonic(), 0.0
        self._set_pace(pace)
        self._anchor: tuple[float, int] | None = None
        self._played_from: float | None = None

    def __repr__(self) -> str:
        return f"Session({self.scenario.name}, seed {self.seed}, {self.state})"

    # --- What the experiment calls, from the thread of the run ---

    def play(self, run: Callable[[], Run], failure: Callable[[], Exception | None]) -> None:
        """Start the run in one thread, and the delivery of its facts in another."""
        _OPEN.add(self)

        def work() -> None:
            try:
                self.run = run()
                self.failure = failure()
            except RunStopped:  # It failed before there was a world.
                self.run = Run((), scenario=self.scenario, seed=self.seed, finished=False)
            except Exception as why:  # noqa: BLE001 - `wait` raises it
                self.failure = why
            finally:
                self._end()

        threading.Thread(target=work, name="session", daemon=True).start()
        threading.Thread(target=self._listeners.run, name="session-facts", daemon=True).start()

    def boots(self, world: World) -> None:
        """The world exists: its facts can be watched from now on."""
        if self._is_stopping:
            raise RunStopped
        self._world, self._events = world, world.events
        self._notify()

    def begins(self, world: World) -> None:
        """The clock of the scenario has started."""
        self.origin_ms = world.clock.now_ms() - self.gate.now_ms
        self._phase, self._played_from = "faults", time.monotonic()
        self._notify()

    def quiets(self) -> None:
        """Faults have ended; the run continues until everything has ended."""
        self._phase = "quiet"
        self._notify()

    def _end(self) -> None:
        with self._changed:
            self._phase, self._ended = "over", time.monotonic()
            self._is_held = False
            for look in self._views:
                look.refuse()
            self._over.set()
            self._changed.notify_all()
        self._listeners.wake()
        _OPEN.discard(self)

    def _hold(self, at_ms: int) -> None:
        """The gate: answer readers; wait while paused or ahead of the pace. Raises RunStopped."""
        with self._changed:
            while not self._is_released:
                self._serve()
                if self._is_stopping:
                    self._is_released = True
                    raise RunStopped
                if self._has_stepped():
                    self._until_block, self._wants_pause = None, True
                if self._wants_pause and self._until_block is None and self._phase != "booting":
                    self._set_held(True)
                    self._changed.wait()
                    self._anchor = None
                    continue
                ahead_s = 0.0 if self._until_block is not None else self._ahead_s(at_ms)
                if ahead_s <= 0:
                    break
                self._changed.wait(ahead_s)
            self._set_held(False)

    def _has_stepped(self) -> bool:
        return self._until_block is not None and (self._block or 0) >= self._until_block

    def _set_held(self, held: bool) -> None:
        if held != self._is_held:
            self._is_held = held
            self._changed.notify_all()

    def _ahead_s(self, at_ms: int) -> float:
        """Return the wall seconds until virtual time may reach `at_ms`; 0 or less: now."""
        if self._pace is None or self._phase == "booting":
            return 0.0
        now = time.monotonic()
        if self._anchor is None:
            self._anchor = now, self.gate.now_ms
        due = self._anchor[0] + (at_ms - self._anchor[1]) / 1000 / self._pace
        if due < now - CATCH_UP_S:
            self._anchor = now, at_ms
        return due - now

    # --- What a notebook calls ---

    @property
    def state(self) -> str:
        """Return booting, running, paused, quieting, done, stopped or failed."""
        if self._phase == "over":
            if self.failure is not None:
                return "failed"
            return "done" if self.run is not None and self.run.finished else "stopped"
        if self._is_held:
            return "paused"
        return {"booting": "booting", "faults": "running"}.get(self._phase, "quieting")

    @property
    def pace(self) -> float | None:
        """Virtual seconds per second of wall time; None: as fast as possible."""
        return self._pace

    @pace.setter
    def pace(self, pace: float | None) -> None:
        with self._changed:
            self._set_pace(pace)
            self._anchor = None
            self._changed.notify_all()

    def _set_pace(self, pace: float | None) -> None:
        if pace is not None and not pace > 0:
            raise OrderRefused(
                f"a pace of {pace!r} would never end.", hint="Give a number above 0, or None."
            )
        self._pace = pace

    @property
    def orders(self) -> tuple[Order, ...]:
        """Return the orders that took effect so far, each with its moment."""
        return tuple(self.gate.taken)

    def pause(self) -> None:
        """Stop virtual time at the next moment, and return once it stands.

        During the boot it takes effect at the start of the scenario. Returns after 5 s at most.
        """
        with self._changed:
            self._wants_pause, self._until_block = True, None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_held or self._phase == "over", PAUSE_S)

    def resume(self) -> None:
        """Continue after a pause."""
        with self._changed:
            self._wants_pause, self._until_block, self._anchor = False, None, None
            self._changed.notify_all()

    def step(self, blocks: int = 1, timeout_s: float = 60.0) -> int:
        """Run exactly this many blocks, then pause. Return the number of the newest block.

        The pace is ignored. A running session is paused first. A step ends early where the run
        ends. Raises RunOver if the run had ended before, RunUnderWay after `timeout_s`.
        """
        if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 1:
            raise OrderRefused(f"a step of {blocks!r} blocks is none.", hint="Give 1 or more.")
        with self._changed:
            self._require_going()
            self._wants_pause = True
            self._changed.notify_all()
            self._wait_held(timeout_s)
            if self._is_held:
                self._until_block = (self._block or 0) + blocks
                self._is_held = False
                self._changed.notify_all()
                self._wait_held(timeout_s)
            return self._block or 0

    def _wait_held(self, timeout_s: float) -> None:
        if not self._changed.wait_for(lambda: self._is_held or self._phase == "over", timeout_s):
            raise RunUnderWay(
                f"the run has not come to a pause within {timeout_s:g} s.",
                hint="Look at session.progress; session.stop() ends it.",
            )

    def stop(self, timeout_s: float = 5.0) -> Run:
        """End the run now, and return its facts so far (`finished` is False), or the finished run.

        A node that does not answer for `timeout_s` is ended. Raises the failure of the run if there
        is nothing to return.
        """
        self._release()
        if not self._over.wait(timeout_s):
            if self._world is not None:
                self._world.node.stop()
            self._over.wait(KILL_S)
        return self.wait(KILL_S)

    def wait(self, timeout_s: float | None = None) -> Run:
        """Wait for the end of the run and return it: finished, stopped, or failed (see `failure`).

        All listeners have all facts by then. Raises RunUnderWay after `timeout_s`, and the failure
        of the session if nothing was run.
        """
        # A listener that waits here must not wait for itself.
        done = self._over if self._listeners.is_calling() else self._listeners.told_all
        if not done.wait(timeout_s):
            raise RunUnderWay(
                f"the run goes on after {timeout_s:g} s.",
                hint="Wait longer, or end it with session.stop().",
            )
        if self.run is None:
            assert self.failure is not None
            raise self.failure
        return self.run

    def subscribe(
        self, on_facts: FactListener, *, after: int = 0, at_most_hz: float = 15.0
    ) -> Callable[[], None]:
        """Call `on_facts(cursor, facts)` with each fact after number `after`, once, in order.

        `cursor`: number of facts delivered so far. It is called from a thread of the session, at
        most `at_most_hz` times a second, and without facts if only the state has changed or a step
        has ended. An exception ends the subscription. Returns a function that ends it.
        """
        return self._listeners.add(on_facts, after, at_most_hz)

    def facts(self, after: int = 0, limit: int | None = None) -> tuple[int, tuple[ev.Event, ...]]:
        """Return at most `limit` facts after number `after`, and the number for the next call."""
        found = tuple(self._events[after : None if limit is None else after + limit])
        return after + len(found), found

    def order(
        self,
        site: str,
        parameter: int | str | None = None,
        *,
        at_s: float | None = None,
        passes: int = 1,
        target: str | None = None,
    ) -> Order:
        """Let the next `passes` passes of a fault site fire. See `scenario.Order`.

        It takes effect at the next moment of the run, or at `at_s` (virtual seconds since the start
        of the scenario). Raises OrderRefused for what this run cannot do and after its faults have
        ended, RunOver after the end.
        """
        order = order_for(self.scenario, site, parameter, at_s=at_s, passes=passes, target=target)
        with self._changed:
            self._require_going()
            if self._phase == "quiet":
                raise OrderRefused(
                    "the faults of this run have ended, so that everything can come to its end.",
                    hint=f"Order before {self.scenario.duration_s} s of virtual time.",
                )
            self.gate.ask(order)
        return order

    @property
    def progress(self) -> SessionProgress:
        """Return how far the run is."""
        now_s, duration_s = self.gate.now_ms / 1000, self.scenario.duration_s
        end = self._ended or time.monotonic()
        return SessionProgress(
            state=self.state,
            phase=self._phase,
            block=self._block,
            now_s=now_s,
            duration_s=duration_s,
            wall_s=end - self._began,
            left_s=self._left_s(duration_s - now_s),
            facts=len(self._events),
            **self._counts.of(self._events),
        )

    def look(self, timeout_s: float = 10.0) -> WorldView:
        """Return balances, pool, mempool and the heads of the services at one moment.

        They are read between two moments of the run, over a separate connection. Raises RunOver if
        the node is gone, RunUnderWay if the run reaches no such moment within `timeout_s`.
        """
        look = ViewRequest()
        with self._changed:
            self._require_going()
            self._views.append(look)
            self._changed.notify_all()
        return look.result(timeout_s)

    # --- How it works ---

    @property
    def _block(self) -> int | None:
        return self._world.miner.block if self._world is not None else None

    def _require_going(self) -> None:
        if self._phase == "over":
            raise RunOver(
                f"this run is over ({self.state}).",
                hint="Start another: Experiment(scenario, seed).start().",
            )

    def _left_s(self, virtual_s: float) -> float | None:
        """Return the wall seconds for these virtual seconds, at the pace or at the measured
        rate."""
        if self._phase == "over":
            return 0.0
        rate = self._pace
        if rate is None and self._played_from is not None:
            rate = self.gate.now_ms / 1000 / max(time.monotonic() - self._played_from, 1e-9)
        return max(virtual_s, 0.0) / rate if rate else None

    def _serve(self) -> None:
        """Answer waiting readers. Called by the gate."""
        views, self._views = self._views, []
        for look in views:
            if self._world is None or self._phase == "booting":
                self._views.append(look)  # There is no world yet.
            else:
                look.take(self._world)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _release(self) -> None:
        """Let the run end at its next moment."""
        self._is_stopping = True
        self._notify()

    @property
    def _moment(self) -> RunMoment:
        """Return the state, and the block of a pause: a step may bring no fact."""
        state = self.state
        return state, self.gate.now_ms if state == "paused" else 0

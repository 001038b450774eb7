"""A run in the background: it can be watched, paused, stepped, stopped, and hit by faults.

The run plays in a thread of its own. Before each moment to which virtual time moves it passes a
gate (`worlds/gate`), where it waits while it is paused or ahead of its pace. Who watches reads a
list that only grows. So neither changes a byte of the trace.

Wall-clock time is read here and nowhere below: it says how fast a run is shown, never what happens.
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
"""`pause()` waits for so long at most."""
CATCH_UP_S = 0.25
"""A run that is further behind its pace than this does not hurry to make up for it."""
KILL_S = 5.0


class RunStopped(KeyboardInterrupt):
    """`Session.stop()`: everything that answers Ctrl-C answers it, too."""


_OPEN: WeakSet[Session] = WeakSet()


def _stop_all() -> None:
    """A script, or a kernel, may end while a session is paused."""
    for session in list(_OPEN):
        session._release()


# Executors wait for their threads before `atexit` comes; a paused run would never end.
threading._register_atexit(_stop_all)  # type: ignore[attr-defined]


class Session:
    """See the module. Made by `Experiment.start()`; all methods may be called from any thread."""

    def __init__(
        self, scenario: Scenario, seed: int, orders: Sequence[Order] = (), pace: float | None = None
    ) -> None:
        self.scenario, self.seed = scenario, seed
        self.gate = RunGate(orders, self._hold)
        self.run: Run | None = None
        """What was run, once the session is over."""
        self.failure: Exception | None = None
        """Why the session failed, once it has."""
        self.origin_ms: int | None = None
        """The scenario's start in Unix milliseconds of the virtual clock; None before it."""
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
        """Begin the run in a thread of its own, and tell its facts from another."""
        _OPEN.add(self)

        def work() -> None:
            try:
                self.run = run()
                self.failure = failure()
            except RunStopped:  # Before there was a world: nothing was run.
                self.run = Run((), scenario=self.scenario, seed=self.seed, finished=False)
            except Exception as why:  # noqa: BLE001 - it is told by `wait`, whatever it was
                self.failure = why
            finally:
                self._end()

        threading.Thread(target=work, name="session", daemon=True).start()
        threading.Thread(target=self._listeners.run, name="session-facts", daemon=True).start()

    def boots(self, world: World) -> None:
        """The world is there: its facts can be watched from now on."""
        if self._is_stopping:
            raise RunStopped
        self._world, self._events = world, world.events
        self._notify()

    def begins(self, world: World) -> None:
        """The scenario's clock has started."""
        self.origin_ms = world.clock.now_ms() - self.gate.now_ms
        self._phase, self._played_from = "faults", time.monotonic()
        self._notify()

    def quiets(self) -> None:
        """No faults any more, until everything has ended."""
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
        """The gate: serve who looks; wait while paused, or ahead of the pace. Raises Stopped."""
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
        """Wall seconds until virtual time may come to `at_ms`; 0 or less: now."""
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
        """booting, running, paused, quieting, done, stopped or failed."""
        if self._phase == "over":
            if self.failure is not None:
                return "failed"
            return "done" if self.run is not None and self.run.finished else "stopped"
        if self._is_held:
            return "paused"
        return {"booting": "booting", "faults": "running"}.get(self._phase, "quieting")

    @property
    def pace(self) -> float | None:
        """Virtual seconds for each second of wall time; None: as fast as possible."""
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
        """The orders that took effect so far, each with its moment."""
        return tuple(self.gate.taken)

    def pause(self) -> None:
        """Let no virtual time pass from the next moment on; returns once it stands still.

        During the boot it takes effect at the scenario's start. Returns after 5 s at most.
        """
        with self._changed:
            self._wants_pause, self._until_block = True, None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_held or self._phase == "over", PAUSE_S)

    def resume(self) -> None:
        """Go on after a pause."""
        with self._changed:
            self._wants_pause, self._until_block, self._anchor = False, None, None
            self._changed.notify_all()

    def step(self, blocks: int = 1, timeout_s: float = 60.0) -> int:
        """Play exactly this many blocks, then pause; returns the number of the newest block.

        It does not wait for the pace. A run that goes on is paused first. It ends early where the
        run does. Raises RunOver when the run has ended before, RunUnderWay after `timeout_s`.
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
        """End the run now, and return what was run (`finished` is False), or had been.

        A node that does not answer for `timeout_s` is ended. Raises what the run failed with where
        there is nothing to return.
        """
        self._release()
        if not self._over.wait(timeout_s):
            if self._world is not None:
                self._world.node.stop()
            self._over.wait(KILL_S)
        return self.wait(KILL_S)

    def wait(self, timeout_s: float | None = None) -> Run:
        """The run, once it is over: to its end, stopped, or failed (then `failure` says why).

        All listeners have all facts by then. Raises RunUnderWay after `timeout_s`, and what the
        session failed with where nothing was run at all.
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
        """Call `on_facts(cursor, facts)` with each fact after `after` exactly once, in order.

        `cursor` is the number of facts handed over so far. It is called from a thread of the
        session's, at most `at_most_hz` times a second, and with no facts where only the state has
        changed, or a step has ended. An exception ends the subscription. Returns what ends it.
        """
        return self._listeners.add(on_facts, after, at_most_hz)

    def facts(self, after: int = 0, limit: int | None = None) -> tuple[int, tuple[ev.Event, ...]]:
        """Facts after the first `after`, at most `limit`; and the number to ask after next."""
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
        """Let the next `passes` passes of a fault site fire; see `scenario.Order`.

        It takes effect at the next moment of the run, or at `at_s` (virtual seconds from the
        scenario's start). Raises OrderRefused for what this run cannot do, and once its faults have
        ended, RunOver once it is over.
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
        """How far it is, now."""
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
        """Balances, pool, mempool and the heads that services have seen, at one moment.

        It is read between two moments of the run, over a connection of its own. Raises RunOver once
        the node is gone, RunUnderWay where the run comes to no such moment within `timeout_s`.
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
        """Wall seconds that these virtual ones take, at the pace or at the rate seen so far."""
        if self._phase == "over":
            return 0.0
        rate = self._pace
        if rate is None and self._played_from is not None:
            rate = self.gate.now_ms / 1000 / max(time.monotonic() - self._played_from, 1e-9)
        return max(virtual_s, 0.0) / rate if rate else None

    def _serve(self) -> None:
        """Answer those who look, at this moment. Called by the gate."""
        views, self._views = self._views, []
        for look in views:
            if self._world is None or self._phase == "booting":
                self._views.append(look)  # There is nothing to see yet.
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
        """The state, and where a pause stands: a step may bring no fact."""
        state = self.state
        return state, self.gate.now_ms if state == "paused" else 0

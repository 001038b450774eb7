"""`tracker(source)`: settlements as lanes in a notebook, live and afterwards."""

from __future__ import annotations

import base64
import binascii
import importlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbench.core.errors import InputError, WorkbenchError
from workbench.core.lanes.model import Lanes
from workbench.lab import encoding
from workbench.lab.fact_texts import fact_line
from workbench.lab.feeds import Feed, RunFeed, SessionFeed, broken_feed, folder_feed, no_feed
from workbench.lab.saved_picture import SavedPicture
from workbench.lab.served_feed import ServedFeed
from workbench.lab.states import SourceSetup, SourceState, setup_of
from workbench.results.run import Run
from workbench.scenario import Scenario

FRAMES_HZ = 15
FIGURES_S = 1.0
"""Interval of new sums over all lanes while facts come in, in seconds."""
MOST_LINES = 400
"""Most facts in the details of one lane."""
MOST_PICTURE = 8 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"
PLACEHOLDER = """
export default {
  render({ model, el }) {
    el.textContent = "The module of the lanes is not part of this installation.";
    model.send({ kind: "hello" });
  },
};
"""

CommandHandler = Callable[[str, dict[str, Any]], None]
"""Called with the name of a command, and the whole message."""


def module_text() -> str:
    """Return the ES module of the widget."""
    try:
        module = importlib.import_module("workbench.lab.module")
    except ModuleNotFoundError:
        return PLACEHOLDER
    return str(module.widget_module())


class Tracker(anywidget.AnyWidget):
    """Settlements, buyers and payouts as lanes over one time axis.

    At most 15 frames a second are sent. `on_command(name, message)` is called for a button of the
    view; `commands` names those that it can carry out. After `close` nothing is sent.
    """

    _esm = module_text()
    picture_key = traitlets.Unicode().tag(sync=True)

    def __init__(self, source: Any = None, **traits: Any) -> None:
        feed = feed_of(source)  # An invalid source raises before a widget exists.
        self.last_picture = SavedPicture()
        super().__init__(picture_key=self.last_picture.key, **traits)
        self.on_command: CommandHandler | None = None
        self._commands: tuple[str, ...] = ()
        self._lock = threading.RLock()
        self._has_view = False
        self._known: dict[int, encoding.LaneText] = {}
        self._sent_origin_ms = self._sent_now_ms = 0
        self._sent_state: encoding.EncodedMessage = {}
        self._sent_lanes: Lanes | None = None
        self._figures, self._figures_at = encoding.LaneFigures(), -FIGURES_S
        self._are_figures_old = True
        self._opened: int | None = None
        self._picture: bytes | None = None
        self._thread: threading.Thread | None = None
        self._feed: Feed = no_feed()
        self._finalizer = weakref.finalize(self, self._feed.close)
        self.on_msg(_heard)
        self._show(feed)

    # --- For Python ---

    @property
    def lanes(self) -> Lanes:
        """The model with all facts so far. Read-only."""
        with self._lock:
            self._feed.fold()
            return self._feed.lanes

    @property
    def state(self) -> str:
        """The state of the source: empty, loading, live, paused, done, stopped or broken."""
        with self._lock:
            return self._feed.state().state

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands whose buttons are shown instead of lanes."""
        return self._commands

    @commands.setter
    def commands(self, names: Iterable[str]) -> None:
        with self._lock:
            self._commands = tuple(names)
            if self._has_view:
                self.send(encoding.setup_message(self._feed.setup, self._commands))

    def show(
        self, source: Any, *, scenario: Scenario | None = None, seed: int = 0, text: str = ""
    ) -> None:
        """Show another source, and close the one before.

        `scenario`, `seed` and `text` describe the source None: what will be run, and what to do.
        Raises InputError for an invalid source; then nothing changes.
        """
        setup = setup_of(scenario, seed) if scenario is not None else None
        self._show(feed_of(source, setup, text))

    def _show(self, feed: Feed) -> None:
        """Start a feed and its thread."""
        with self._lock:
            before, self._feed = self._feed, feed
            before.close()
            self._opened, self._picture = None, None
            self._figures_at = -FIGURES_S
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, feed.close)
        feed.start()
        self._thread = threading.Thread(
            target=_pump, args=(weakref.ref(self), feed), name="tracker", daemon=True
        )
        self._thread.start()
        with self._lock:
            if self._has_view and self._feed is feed:
                self._snapshot()

    def close(self) -> None:
        """End the thread, close the source, and remove the views."""
        feed = getattr(self, "_feed", None)  # Missing after an invalid source, and so in `del`.
        if feed is not None:
            feed.close()
        super().close()

    def __repr__(self) -> str:
        return f"Tracker({len(self.lanes)} lanes, {self.state})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the view; for saved and exported notebooks also a picture and a line of text."""
        bundle = super()._repr_mimebundle_(**kwargs)
        assert bundle is not None
        data, about = bundle
        picture = base64.b64encode(self._picture_png()).decode()
        return data | {"image/png": picture, "text/plain": repr(self)}, about

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Show the view, and below it the picture that the notebook keeps; see `saved_picture`."""
        bundle = super()._repr_mimebundle_(**kwargs)
        assert bundle is not None
        self.last_picture.display(bundle[0], self._picture_png(), repr(self))

    def _keep_still(self, feed: Feed) -> None:
        """Keep a chart at the end of a run that no view has drawn."""
        with self._lock:
            is_wanted = feed is self._feed and not self._has_view and self.last_picture.is_shown
        if is_wanted and isinstance(feed, SessionFeed):
            self.last_picture.replace(self._picture_png(), is_going=False)

    def _picture_png(self) -> bytes:
        """Return the last picture of the view, or a chart of the same lanes."""
        if self._picture is not None:
            return self._picture
        from workbench.lab.still_picture import stages_frame, still_png

        feed = self._feed
        if isinstance(feed, RunFeed):
            self._picture = feed.run.lanes()._repr_png_()
            return self._picture
        with self._lock:
            feed.fold()
            stages = stages_frame(feed.lanes)
        return still_png(stages)

    # --- To the view ---

    def _frame(self, feed: Feed) -> None:
        """Send what changed, if a view shows this feed."""
        with self._lock:
            if feed is not self._feed:
                return
            feed.fold()
            if not self._has_view:
                return
            if feed.lanes is not self._sent_lanes or feed.origin_ms != self._sent_origin_ms:
                self._snapshot()
                return
            state = feed.state()
            origin_ms, now_ms = feed.origin_ms, feed.origin_ms + state.now_ms
            changed = set(feed.lanes.take())
            changed.update(feed.lanes.coming(self._sent_now_ms, now_ms))
            self._send_state(feed, state, bool(changed))
            if changed:
                self._send_lanes(feed, sorted(changed), now_ms, reset=False)
            if feed.lanes.marks.has_news:
                self._send_marks(feed, origin_ms)
            if self._opened in changed:
                self._send_facts()

    def _snapshot(self) -> None:
        """Send everything, for a new view."""
        feed = self._feed
        feed.fold()
        state = feed.state()
        self._sent_lanes, self._sent_origin_ms = feed.lanes, feed.origin_ms
        self.send(encoding.setup_message(feed.setup, self._commands))
        self._figures_at = -FIGURES_S
        self._sent_state = {}
        self._send_state(feed, state, True)
        feed.lanes.take()
        self._send_lanes(feed, range(len(feed.lanes)), feed.origin_ms + state.now_ms, reset=True)
        feed.lanes.marks.take()
        self._send_marks(feed, feed.origin_ms, whole=True)

    def _send_state(self, feed: Feed, state: SourceState, is_changed: bool) -> None:
        """Send the state with its figures."""
        now = time.monotonic()
        self._are_figures_old |= is_changed
        if self._are_figures_old and (feed.is_over or now - self._figures_at >= FIGURES_S):
            self._figures = encoding.figures_of(feed.lanes, is_over=feed.is_over)
            self._figures_at, self._are_figures_old = now, False
        message = encoding.state_message(
            state,
            figures=self._figures,
            broken=feed.lanes.marks.broken,
            rules=feed.setup.rules,
        )
        if message != self._sent_state:
            self._sent_state = message
            self.send(message)

    def _send_lanes(self, feed: Feed, which: Iterable[int], now_ms: int, *, reset: bool) -> None:
        """Send the lanes that changed."""
        self._sent_now_ms = now_ms
        message, buffers = encoding.lanes_message(
            feed.lanes,
            which,
            reset,
            origin_ms=feed.origin_ms,
            now_ms=now_ms,
            is_over=feed.is_over,
            known=self._known,
        )
        self.send(message, buffers)

    def _send_marks(self, feed: Feed, origin_ms: int, *, whole: bool = False) -> None:
        """Send the marks that changed."""
        marks = feed.lanes.marks
        reset, rows = (True, marks.rows) if whole else marks.take()
        if feed.is_over:
            reset, rows = True, (*marks.rows, *marks.finished())
        message, buffers = encoding.marks_message(
            rows, reset, origin_ms=origin_ms, services=feed.setup.services
        )
        self.send(message, buffers)

    def _send_facts(self) -> None:
        """Send the facts of the lane whose details are open."""
        number, feed = self._opened, self._feed
        if number is None or not 0 <= number < len(feed.lanes):
            return
        lane = feed.lanes.lane(number)
        told = feed.lanes.facts_of(number)
        lines = [fact_line(fact, struck, feed.origin_ms) for fact, struck in told[:MOST_LINES]]
        left = len(told) - len(lines)
        title = f"{'Payout' if lane.is_payout else 'Buyer'} {lane.name}"
        more = f"{left} later facts are not shown." if left else ""
        self.send({"kind": "facts", "lane": number, "title": title, "lines": lines, "more": more})

    # --- From the view ---

    def _hear(self, message: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Handle a message of the view."""
        kind = message.get("kind")
        with self._lock:
            if kind == "hello":
                self._has_view = True
                self._snapshot()
            elif kind == "open" and isinstance(message.get("lane"), int):
                self._opened = message["lane"]
                self._feed.fold()
                self._send_facts()
            elif kind == "close":
                self._opened = None
        if kind == "picture":
            self._take_picture(_png_of(message.get("png"), buffers))
        if kind == "command" and self.on_command is not None:
            self.on_command(str(message.get("name", "")), message)

    def _take_picture(self, png: bytes | None) -> None:
        """Store a picture that the view has drawn."""
        if png is not None:
            self._picture = png
            self.last_picture.replace(png, is_going=self.state in ("loading", "live"))


def tracker(source: Any = None) -> Tracker:
    """Return a widget that shows settlements as lanes.

    `source`: a running Session; a Run, or its folder; the http(s) address of a served tracker; or
    None. A damaged folder and an unreachable address are shown as such. Raises InputError for
    anything else.
    """
    return Tracker(source)


def feed_of(source: Any, setup: SourceSetup | None = None, text: str = "") -> Feed:
    """Return the feed of a source. Raises InputError for an invalid source."""
    if source is None:
        return no_feed(setup, text)
    if isinstance(source, Run):
        return RunFeed(source)
    if isinstance(source, str) and "://" in source:
        try:
            return ServedFeed(source)
        except WorkbenchError as why:
            return broken_feed(why)
    if isinstance(source, str | Path):
        return folder_feed(Path(source))
    if callable(getattr(source, "subscribe", None)):
        return SessionFeed(source)
    raise InputError(
        f"a tracker cannot show a {type(source).__name__}.",
        hint="Give it a Session, a Run, a run's folder, the address of a tracker, or None.",
    )


def _pump(widget_of: weakref.ref[Tracker], feed: Feed) -> None:
    """Send frames until the source ends or is closed, or the widget is gone."""
    seen = -1
    while not feed.is_closed:
        seen = feed.wait(seen)
        widget = widget_of()
        if widget is None or feed.is_closed:
            break
        widget._frame(feed)
        if feed.is_over:
            widget._keep_still(feed)
            break
        del widget
        if feed.pause(1 / FRAMES_HZ):
            break


def _heard(widget: Tracker, message: Any, buffers: Sequence[Any]) -> None:
    """Forward a message of the view. Not a method, because a bound one keeps its widget alive."""
    if isinstance(message, dict):
        widget._hear(message, buffers)


def _png_of(told: Any, buffers: Sequence[Any]) -> bytes | None:
    """Return the bytes of a PNG from a data URL, from base64, or from a buffer; None otherwise."""
    raw = b""
    if isinstance(told, str) and len(told) < 2 * MOST_PICTURE:
        try:
            raw = base64.b64decode(told.rpartition(",")[2], validate=True)
        except (binascii.Error, ValueError):
            return None
    elif buffers:
        raw = bytes(buffers[0])
    return raw if raw.startswith(PNG) and len(raw) <= MOST_PICTURE else None

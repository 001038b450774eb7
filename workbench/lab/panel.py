"""`panel(scenario)`: the controls of a run beside its lanes, in a notebook.

Clicks are handled in a thread of the kernel, beside cells and session threads. One lock guards
shared data.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.core.errors import InputError, OrderRefused, ScenarioError, WorkbenchError
from workbench.evm.build.toolchain import project_root
from workbench.lab import panel_parts as parts
from workbench.lab.comms import answer_while_busy
from workbench.lab.controls import CHOSEN, FieldControl, alert, settings_of
from workbench.lab.scenarios import found, names_of
from workbench.lab.tracker import Tracker
from workbench.results.run import Run
from workbench.scenario import Scenario, override
from workbench.worlds.experiment import Experiment, again
from workbench.worlds.session import Session

WATCH_S = 30
"""Seconds in which the default pace plays a whole run."""
GOING = frozenset({"booting", "running", "paused", "quieting"})
NOTE_LOCKED = "Fixed while the run goes on. Stop it to change them."

_OF_CELL: dict[str, weakref.ref[Panel]] = {}
"""The last panel of each cell: running the cell again ends the run of the panel before."""


class Panel(widgets.VBox):  # type: ignore[misc]
    """See `panel`. `session` and `run`: the last ones of this panel, or None."""

    def __init__(
        self, scenario: str | Path | Scenario | Run, settings: tuple[str, ...], runs: Path
    ) -> None:
        self.session: Session | None = None
        self.run: Run | None = None
        self._lock = threading.RLock()
        self._paths, self._runs, self._given = settings, runs, scenario
        self._base: Scenario | None = None
        self._settings: list[FieldControl] = []
        self._unsubscribe: Callable[[], None] = _nothing
        self._shown_state = ""
        self.tracker = Tracker(None)
        self.tracker.commands = ("again", "kept")
        self.tracker.on_command = self._on_command
        names, self._name = names_of(scenario)
        self.parts = parts.make((names, self._name))
        super().__init__([widgets.HTML(parts.style()), self.parts.left, self.tracker])
        self.add_class("wbp")
        self._listen()
        self._choose(scenario)
        answer_while_busy(self, self.tracker, *parts.inner(self.parts.left))

    def __repr__(self) -> str:
        name = self._base.name if self._base else "no scenario"
        return f"Panel({name}, {self.session.state if self.session else 'not started'})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the panel; for saved and exported notebooks also the last picture of its lanes."""
        data = super()._repr_mimebundle_(**kwargs)
        picture = self.tracker._repr_mimebundle_(**kwargs)[0]["image/png"]
        return data | {"image/png": picture, "text/plain": repr(self)}

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Show the panel, and below it the picture that the notebook keeps; see `saved_picture`."""
        view = super()._repr_mimebundle_(**kwargs)
        picture = self.tracker._picture_png()
        self.tracker.last_picture.display(view, picture, repr(self))

    def close(self) -> None:
        """End the present run, and remove the views."""
        self._unsubscribe()
        session = self.session
        if session is not None and session.state in GOING:
            with suppress(WorkbenchError):  # The failure of a closed run does not matter.
                session.stop()
        self.tracker.close()
        super().close()

    # --- Choosing ---

    def _listen(self) -> None:
        part = self.parts
        part.scenario.observe(self._on_scenario, "value")
        part.site.observe(lambda _: parts.show_site(part), "value")
        part.seed.observe(lambda _: self._check(), "value")
        part.pace.observe(self._on_pace, "value")
        for button, act in (
            (part.run, self._on_run),
            (part.step, self._on_step),
            (part.stop, self._on_stop),
            (part.order, self._on_order),
            (part.again, self._on_again),
            (part.next_seed, self._on_next_seed),
        ):
            button.on_click(self._guarded(act))
        parts.show_site(part)

    def _guarded(self, act: Callable[[], None]) -> Callable[[Any], None]:
        """Wrap a click so that its error appears as a sentence below the buttons."""

        def clicked(_: Any) -> None:
            try:
                self.parts.error.value = ""
                act()
            except WorkbenchError as why:
                self.parts.error.value = alert(str(why))

        return clicked

    def _on_scenario(self, change: Any) -> None:
        name = change["new"]
        self._choose(self._given if name == self._name else name)

    def _choose(self, chosen: str | Path | Scenario | Run) -> None:
        """Show the settings of this scenario. A scenario that cannot be read is reported and cannot
        be run."""
        part = self.parts
        self._unsubscribe()
        self.session = self.run = None
        part.repeat.value = ""
        try:
            run = chosen if isinstance(chosen, Run) else None
            self._base = found(chosen)
        except WorkbenchError as why:
            self._base, self._settings = None, []
            part.about.value = ""
            part.settings.children = []
            part.error.value = alert(str(why))
            self.tracker.show(None, text="This scenario cannot be played. The reason is beside it.")
            self._refresh()
            return
        base = self._base
        part.about.value = escape(base.about)
        part.error.value = ""
        part.seed.value = str(run.seed if run else base.seed)
        part.pace.value = str(max(1, round(base.duration_s / WATCH_S)))
        self._settings = settings_of(base, self._paths)
        for setting in self._settings:
            setting.input.observe(lambda _: self._check(), "value")
        answer_while_busy(*(setting.input for setting in self._settings))
        part.settings.children = [setting.box for setting in self._settings]
        if run is not None:
            self.run = run
        self._show(run)
        self._refresh()

    def _show(self, source: Session | Run | None) -> None:
        """Show `source`, or that nothing has been run."""
        if source is not None:
            self.tracker.show(source)
        elif self._base is not None:
            count = sum(group.count for group in self._base.buyers)
            text = (
                f"Run plays {count} purchases in about {WATCH_S} s. You can pause, step block by "
                "block, and order a fault at any time."
            )
            self.tracker.show(None, scenario=self._base, seed=self._base.seed, text=text)

    def _check(self) -> bool:
        """Return True if all entered values are valid. Problems are shown beside the inputs."""
        base = self._base
        if base is None:
            self.parts.run.disabled = True
            return False
        sound = [setting.check(base) for setting in self._settings]
        self.parts.seed_error.value = ""
        try:
            parts.seed_of(self.parts)
        except InputError as why:
            self.parts.seed_error.value = alert(str(why))
            sound.append(False)
        is_going = self.session is not None and self.session.state in GOING
        self.parts.run.disabled = not all(sound) and not is_going
        return all(sound)

    def _chosen(self) -> Scenario:
        """Return the scenario with the settings of the panel. Raises InputError."""
        if self._base is None or not self._check():
            raise InputError("a setting cannot be used; what is wrong stands below it.")
        changed = {each.field.path: each.words for each in self._settings if each.is_changed}
        try:
            return override(self._base, changed) if changed else self._base
        except ScenarioError as why:  # Each value is valid, but they contradict each other.
            raise InputError(why.message) from why

    # --- Acting ---

    def _on_run(self) -> None:
        session = self.session
        state = session.state if session else ""
        if session is None or state not in GOING:
            self._play(Experiment(self._chosen(), parts.seed_of(self.parts)))
        elif state == "paused":
            session.resume()
        else:
            session.pause()
        self._refresh()

    def _play(self, experiment: Experiment) -> None:
        with self._lock:
            if self.session is not None and self.session.state in GOING:
                return  # A second click.
            self._unsubscribe()
            self.session = session = experiment.start(pace=parts.pace_of(self.parts))
            self.run = None
            self._show(session)
            self._unsubscribe = session.subscribe(self._on_news, at_most_hz=5)
        self._refresh()

    def _on_step(self) -> None:
        if self.session is not None:
            self.session.step()
        self._refresh()

    def _on_stop(self) -> None:
        if self.session is not None:
            self.session.stop()
        self._refresh()

    def _on_order(self) -> None:
        if self.session is None:
            raise OrderRefused("nothing runs that a fault could hit.", hint="Press Run first.")
        part = self.parts
        at_s = parts.when_of(part, self.session.scenario.duration_s)
        self.session.order(part.site.value, part.parameter.value.strip(), at_s=at_s)
        self._refresh()

    def _on_again(self) -> None:
        run = self.run
        if run is not None:
            self._play(again(run, without=run.orders))

    def _on_next_seed(self) -> None:
        self.parts.seed.value = str(parts.seed_of(self.parts) + 1)

    def _on_pace(self, _: Any) -> None:
        parts.show_pace(self.parts)

        def change() -> None:
            if self.session is not None:
                self.session.pace = parts.pace_of(self.parts)
            else:
                parts.pace_of(self.parts)

        self._guarded(change)(None)

    def _on_command(self, name: str, _: dict[str, Any]) -> None:
        """Handle a key or a button of the lanes."""
        acts: dict[str, Callable[[], None]] = {
            **dict.fromkeys(("run", "pause", "resume"), self._on_run),
            "step": self._on_step,
            "stop": self._on_stop,
            "fault": self._on_order,
            "again": self._on_run,
            "kept": lambda: self._show(self.run),
        }
        if name in acts:
            self._guarded(acts[name])(None)

    # --- Showing ---

    def _on_news(self, _: int, __: Any) -> None:
        """Called from the session's thread: new facts, or another state."""
        session = self.session
        if session is None:
            return
        if session.state not in GOING and self.run is not session.run:
            self._keep(session)
        if session.state != self._shown_state or len(session.orders) != self.parts.orders_shown:
            self._refresh()

    def _keep(self, session: Session) -> None:
        """Keep the run in a folder that `workbench replay` takes."""
        run = self.run = session.run
        if run is None or not run.events:
            return
        folder = self._runs / f"{session.scenario.name}-{run.seed}-{run.name}"
        try:
            run.save_facts(folder)
        except OSError as why:
            told = f"the run cannot be kept in {folder}: {why.strerror}."
            self.parts.error.value = alert(told)
            return
        if run.finished:
            self.parts.repeat.value = parts.repeat_text(self._runs.name, folder.name)

    def _refresh(self) -> None:
        """Update buttons, locks and orders for the present state of the session."""
        with self._lock:
            session, part = self.session, self.parts
            state = self._shown_state = session.state if session else ""
            parts.show_state(part, state, has_orders=bool(self.run and self.run.orders))
            for setting in self._settings:
                setting.input.disabled = state in GOING
            part.note.value = NOTE_LOCKED if state in GOING else ""
            if state not in GOING:
                self._check()
            parts.show_orders(part, session.orders if session else ())


def panel(
    scenario: str | Path | Scenario | Run = "happy-path",
    *,
    settings: tuple[str, ...] = CHOSEN,
    runs: str | Path | None = None,
) -> Panel:
    """Return a widget that plays a scenario: run, pause, step, stop, order faults, look at lanes.

    `scenario`: the name of a file in scenarios/, a path, a Scenario, or a Run to be shown first.
    `settings`: paths of `scenario.fields()` that get a control. `runs`: the folder in which runs
    are kept (default: runs/ of the project). A scenario that cannot be read is reported in the
    panel.

    Running the cell again ends the run of the panel before.
    """
    cell = _cell()
    before = _OF_CELL[cell]() if cell in _OF_CELL else None
    if before is not None:
        before.close()
    made = Panel(scenario, settings, Path(runs) if runs else project_root() / "runs")
    _OF_CELL[cell] = weakref.ref(made)
    return made


def _nothing() -> None:
    """Do nothing: there is no subscription to end."""


def _cell() -> str:
    """Return the id of the running cell if the front end sends it, else one name for all."""
    try:
        from IPython.core.getipython import get_ipython

        parent = get_ipython().get_parent()  # type: ignore[no-untyped-call]
        return str(parent["metadata"]["cellId"])
    except (AttributeError, KeyError, TypeError):
        return ""

"""The left column of a panel: its widgets, their values, and their look in each state."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files

import ipywidgets as widgets

from workbench.core.errors import InputError
from workbench.lab.controls import text_input, with_unit
from workbench.scenario import Order, fault_fields

SITES = {
    "crash.facilitator": "Kill the facilitator",
    "crash.seller": "Kill the seller",
    "crash.tracker": "Kill the tracker",
    "crash.payouts": "Kill the payout service",
    "chain.reorg": "Replace the newest blocks",
    "fee.spike": "Raise the base fee",
    "pool.drained": "Pull liquidity from the pool",
    "clock.skew": "Set a service's clock wrong",
    "http.lost": "Lose a request",
    "http.delayed": "Delay a request",
    "http.duplicated": "Send a request twice",
    "http.cut": "Lose an answer",
    "rpc.error": "Let the node answer with an error",
    "rpc.delayed": "Let the node answer late",
    "rpc.stale": "Let the node answer from an older block",
    "tx.dropped": "Drop a transaction",
    "tx.delayed": "Mine a transaction late",
    "tx.reordered": "Mine a transaction before others",
}
"""The names of the fault sites in the panel, the most interesting first."""
PARAMETERS = {
    "crash": "Away for",
    "chain": "Depth",
    "fee": "Times",
    "pool": "Part",
    "clock": "Off by",
}
"""The label of a site's parameter, by the site's first word; else "By"."""
MOMENT = re.compile(
    r"([0-9]{1,6}):([0-5]?[0-9](?:\.[0-9]{1,3})?)|([0-9]{1,9}(?:\.[0-9]{1,3})?)(?: *s)?"
)
"""Minutes and seconds, or seconds."""
MOST_SEED = 2**63 - 1
MOST_ORDERS = 6


@dataclass
class PanelWidgets:
    """The widgets of the left column, by purpose. `left` holds them all."""

    scenario: widgets.Dropdown
    about: widgets.HTML
    settings: widgets.VBox
    note: widgets.HTML
    seed: widgets.Text
    next_seed: widgets.Button
    seed_error: widgets.HTML
    pace: widgets.Text
    pace_unit: widgets.Label
    run: widgets.Button
    step: widgets.Button
    stop: widgets.Button
    error: widgets.HTML
    site: widgets.Dropdown
    parameter: widgets.Text
    parameter_unit: widgets.Label
    parameter_row: widgets.HBox
    when: widgets.Text
    order: widgets.Button
    orders: widgets.HTML
    again: widgets.Button
    repeat: widgets.HTML
    left: widgets.VBox = field(default_factory=widgets.VBox)
    orders_shown: int = 0


@cache
def style() -> str:
    """Return the style sheet as HTML."""
    text = files("workbench.lab").joinpath("static/panel.css").read_text("utf-8")
    return f"<style>{text}</style>"


def make(names: tuple[list[str], str]) -> PanelWidgets:
    """Return all widgets, for the scenarios of these names."""
    options, chosen = names
    unit = _unit("")
    parameter = text_input("By", "")
    made = PanelWidgets(
        scenario=_dropdown("Scenario", options, chosen),
        about=_html("wbp-about"),
        settings=widgets.VBox(),
        note=_html("wbp-small"),
        seed=text_input("Seed", "1", tooltip="Everything random comes from it."),
        next_seed=_button("next", "wbp-next", "The next seed"),
        seed_error=_html("wbp-error"),
        pace=text_input("Pace", "20", tooltip='Virtual seconds for each second; "max": no limit.'),
        pace_unit=_unit("× real time"),
        run=_button("Run", "wbp-main"),
        step=_button("Step", "wbp-step", "Play one block, then pause"),
        stop=_button("Stop", "wbp-stop", "End the run; what was run is kept"),
        error=_html("wbp-error"),
        site=_dropdown("Fault", [(label, site) for site, label in SITES.items()]),
        parameter=parameter,
        parameter_unit=unit,
        parameter_row=with_unit(parameter, unit),
        when=text_input("When", "now", tooltip='"now", seconds from the start, or minutes:seconds'),
        order=_button("Order", "wbp-wide", "Let this fault happen"),
        orders=_html("wbp-orders"),
        again=_button("Play again without it", "wbp-wide"),
        repeat=_html("wbp-repeat"),
    )
    made.left.children = _layout(made)
    made.left.add_class("wbp-left")
    return made


def _layout(part: PanelWidgets) -> list[widgets.DOMWidget]:
    buttons = widgets.HBox([part.run, part.step, part.stop])
    buttons.add_class("wbp-buttons")
    pace = with_unit(part.pace, part.pace_unit)
    groups = [
        [_title("Scenario"), part.scenario, part.about],
        [_title("Settings"), part.settings, part.note],
        [with_unit(part.seed, part.next_seed), part.seed_error, pace, buttons, part.error],
        [_title("Order a fault"), part.site, part.parameter_row, with_unit(part.when), part.order,
         part.orders, part.again],
        [part.repeat],
    ]  # fmt: skip
    made = []
    for group in groups:
        box = widgets.VBox(group)
        box.add_class("wbp-group")
        made.append(box)
    return made


def inner(box: widgets.Box) -> Iterator[widgets.Widget]:
    """Yield all widgets inside a box and its inner boxes."""
    for child in box.children:
        yield child
        if isinstance(child, widgets.Box):
            yield from inner(child)


def _title(text: str) -> widgets.HTML:
    return _html("wbp-title", f"<b>{escape(text)}</b>")


def _unit(text: str) -> widgets.Label:
    made = widgets.Label(text)
    made.add_class("wbp-unit")
    return made


def _html(name: str, value: str = "") -> widgets.HTML:
    made = widgets.HTML(value)
    made.add_class(name)
    return made


def _button(text: str, name: str, tooltip: str = "") -> widgets.Button:
    made = widgets.Button(description=text, tooltip=tooltip or text)
    made.add_class(name)
    return made


def _dropdown(label: str, options: Sequence[object], value: object = None) -> widgets.Dropdown:
    made = widgets.Dropdown(options=options, description=label)
    if value is not None:
        made.value = value
    made.add_class("wbp-choice")
    return made


# --- What was entered ---


def seed_of(part: PanelWidgets) -> int:
    """Return the seed. Raises InputError."""
    text = part.seed.value.strip()
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= MOST_SEED):
        raise InputError(f"Seed is {text!r}, and not a whole number from 0 to {MOST_SEED}.")
    return int(text)


def pace_of(part: PanelWidgets) -> float | None:
    """Return virtual seconds per second; None: as fast as possible. Raises InputError."""
    text = part.pace.value.strip().lower()
    if text in ("", "max"):
        return None
    try:
        pace = float(text)
    except ValueError:
        pace = 0.0
    if not 0 < pace < 1e9:
        raise InputError(f"Pace is {text!r}.", hint='Write a number above 0, or "max".')
    return pace


def show_pace(part: PanelWidgets) -> None:
    """Show the unit of the pace, if there is room beside the number."""
    text = part.pace.value.strip()
    is_number = text.replace(".", "", 1).isdigit()
    room = "× real time" if len(text) <= 2 else "×"
    part.pace_unit.value = room if is_number else ""


def when_of(part: PanelWidgets, end_s: float = math.inf) -> float | None:
    """Return virtual seconds from the start, before `end_s`; None for now. Raises InputError."""
    text = part.when.value.strip().lower()
    if text in ("", "now"):
        return None
    found = MOMENT.fullmatch(text)
    if found is None:
        hint = "Write now, seconds such as 150, or minutes such as 2:30."
        raise InputError(f"When is {text!r}, and no moment of the run.", hint=hint)
    minutes, in_minute, seconds = found.groups()
    at_s = float(seconds) if seconds else float(minutes) * 60 + float(in_minute)
    if at_s >= end_s:
        raise InputError(
            f"When is {text!r}, and faults of this run happen until {clock(end_s)} min."
        )
    return at_s


# --- How it looks ---


def show_site(part: PanelWidgets) -> None:
    """Show the parameter of the chosen site, with its default."""
    site = next(each for each in fault_fields() if each.name == part.site.value)
    part.parameter.description = PARAMETERS.get(site.name.partition(".")[0], "By")
    part.parameter.value = site.default.rpartition(" ")[0] if site.unit else ""
    part.parameter.tooltip = f"{site.does}: {site.least} to {site.most}" if site.unit else site.does
    part.parameter_unit.value = site.unit
    part.parameter_row.layout.display = "" if site.unit else "none"


def show_state(part: PanelWidgets, state: str, *, has_orders: bool) -> None:
    """Enable the buttons of this state, and label the first. `state`: "" before a run."""
    is_going = state in ("booting", "running", "paused", "quieting")
    names = {"paused": "Resume", "booting": "Pause", "running": "Pause", "quieting": "Pause"}
    part.run.description = part.run.tooltip = names.get(state, "Run")
    part.step.disabled = part.stop.disabled = not is_going
    part.order.disabled = state not in ("booting", "running", "paused")
    part.scenario.disabled = part.seed.disabled = part.next_seed.disabled = is_going
    part.again.layout.display = "" if has_orders and not is_going else "none"
    if is_going:
        part.repeat.value = ""


def show_orders(part: PanelWidgets, orders: Sequence[Order]) -> None:
    """Show the newest orders that took effect: time, fault, and parameter."""
    part.orders_shown = len(orders)
    units = {each.name: each.unit for each in fault_fields()}
    rows = []
    for order in orders[-MOST_ORDERS:]:
        much = f"{order.number} {units[order.site]}" if units[order.site] else ""
        rows.append(
            f"<tr><td>{clock(order.at_s or 0)}</td><td>{escape(SITES[order.site])}</td>"
            f"<td>{escape(much)}</td></tr>"
        )
    part.orders.value = f"<table>{''.join(rows)}</table>" if rows else ""


def clock(seconds: float) -> str:
    """Return minutes and seconds: `2:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def repeat_text(runs: str, name: str) -> str:
    """Return the line of Python that plays the run again."""
    return f"Repeat it: <code>workbench replay {escape(runs)}/{escape(name)}</code>"

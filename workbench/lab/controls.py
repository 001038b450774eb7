"""Controls made from the fields of a scenario: label, input, unit, and error text."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets

from workbench.core.errors import ScenarioError
from workbench.lab.states import sentence
from workbench.scenario import Scenario, ScenarioField, fields, override

CHOSEN = (
    "chain.block_time",
    "chain.finality",
    "seller.quote_lifetime",
    "seller.swap_window",
    "market.band",
)
"""The settings that a panel shows by default."""
LABELS = {
    "chain.block_time": "Block time",
    "chain.finality": "Finality",
    "seller.quote_lifetime": "Time to fund",
    "seller.swap_window": "Time to swap",
    "market.band": "Rate band",
}
PLAIN = frozenset({"range", "text", "section", "choice", "boolean"})
"""Types of fields that are not one number with a unit."""
NO_DESCRIPTION = {"description_width": "0px"}


def label_of(path: str) -> str:
    """Return the label of a setting: `market.lp_fee` is "Lp fee"."""
    last = path.rpartition(".")[2].replace("_", " ")
    return LABELS.get(path) or last[:1].upper() + last[1:]


class FieldControl:
    """One setting of a scenario. `box`: the widget. `words`: the entered text."""

    def __init__(self, field: ScenarioField, label: str = "") -> None:
        self.field, self.label = field, label or label_of(field.path)
        # The unit of the file: a share may be in % or in bps.
        own = (field.value or "").partition(" ")[2]
        self.unit = (own or field.unit) if field.unit and field.type not in PLAIN else ""
        self.input = self._input()
        self.input.description = self.label
        self.input.tooltip = self._help()
        self.input.add_class("wbp-input")
        self.error = widgets.HTML()
        self.error.add_class("wbp-error")
        parts = [self.input]
        if self.unit:
            unit = widgets.Label(self.unit)
            unit.add_class("wbp-unit")
            parts.append(unit)
        row = widgets.HBox(parts)
        row.add_class("wbp-field")
        self.box = widgets.VBox([row, self.error])
        self.box.add_class("wbp-setting")

    def _input(self) -> widgets.DOMWidget:
        field = self.field
        if field.choices:
            return widgets.Dropdown(options=list(field.choices), value=field.value)
        if field.type == "boolean":
            return widgets.Dropdown(options=["true", "false"], value=field.value)
        value = field.value or ""
        shown = value.removesuffix(self.unit).rstrip() if self.unit else value
        return widgets.Text(value=shown, continuous_update=False)

    def _help(self) -> str:
        field = self.field
        bounds = f" {field.minimum} to {field.maximum}." if field.minimum and field.maximum else ""
        default = f" Default: {field.default}." if field.default else ""
        return f"{field.help[:1].upper()}{field.help[1:]}.{bounds}{default}"

    @property
    def words(self) -> str:
        """The entered text, with the unit if none was entered."""
        text = str(self.input.value).strip()
        is_bare = text.replace(".", "", 1).replace("-", "", 1).isdigit()
        return f"{text} {self.unit}" if self.unit and is_bare else text

    @property
    def is_changed(self) -> bool:
        """True if it differs from the scenario, which may lack the field."""
        return self.words != (self.field.value or "")

    def check(self, scenario: Scenario) -> bool:
        """Return True if the scenario accepts the entered text; else show why below the input."""
        try:
            if self.is_changed:
                override(scenario, {self.field.path: self.words})
        except ScenarioError as why:
            self.error.value = alert(f"{self.label} {problem_of(why)}")
            return False
        self.error.value = ""
        return True


def settings_of(scenario: Scenario, paths: tuple[str, ...]) -> list[FieldControl]:
    """Return a control for each of these fields that the scenario has, in this order."""
    known = {field.path: field for field in fields(scenario)}
    return [FieldControl(known[path]) for path in paths if path in known]


def text_input(label: str, value: str, unit: str = "", tooltip: str = "") -> widgets.Text:
    """Return a single-line input. Its unit is drawn inside the field by `with_unit`."""
    made = widgets.Text(value=value, description=label, continuous_update=False, tooltip=tooltip)
    made.add_class("wbp-input")
    return made


def with_unit(made: widgets.DOMWidget, unit: str | widgets.DOMWidget = "") -> widgets.HBox:
    """Return an input in its frame, with the unit at the right."""
    parts = [made]
    if isinstance(unit, str) and unit:
        unit = widgets.Label(unit)
        unit.add_class("wbp-unit")
    if not isinstance(unit, str):
        parts.append(unit)
    row = widgets.HBox(parts)
    row.add_class("wbp-field")
    return row


def problem_of(why: ScenarioError) -> str:
    """Return what is wrong with a value, as the second half of a sentence."""
    problems = why.details.get("problems") or [{"message": why.message}]
    return str(problems[0]["message"])


def alert(text: str) -> str:
    """Return a sentence that screen readers announce."""
    return f'<div role="alert">{escape(sentence(text))}</div>' if text else ""

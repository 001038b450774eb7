"""Every value that a person can set in a scenario: what a form needs to make its controls.

Made from the one table, so a new setting of the file format is listed here without more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, replace
from typing import Any

from workbench.scenario.field import ScenarioField
from workbench.scenario.kinds import NONE, ValueKind
from workbench.scenario.model import FAULT_SITES, FaultSite, Scenario
from workbench.scenario.table import FAULTS, FILE, TableField, TableSection


def fields(scenario: Scenario) -> list[ScenarioField]:
    """Every value that can be set in this scenario, in the order of a file, faults last.

    Where a section has a model, only what this model uses: another model has other fields.
    """
    return [*_section(FILE, scenario, ""), *_faults(scenario)]


def _section(section: TableSection, held: Any, at: str) -> Iterator[ScenarioField]:
    model = getattr(held, "model", "")
    for item in section.items:
        if not item.used_by(model):
            continue
        path = f"{at}{item.name}"
        if isinstance(item.kind, ValueKind):
            yield _field(path, item, item.kind, _held(item, held), _default(section, item, model))
            continue
        below = _held(item, held)
        if item.optional and not below:
            yield _absent(path, item)
        elif item.many:
            for number, each in enumerate(below):
                yield from _section(item.kind, each, f"{path}.{number}.")
        else:
            yield from _section(item.kind, below, f"{path}.")


def _held(item: TableField, held: Any) -> Any:
    """The value of an item, as the `read` of its kind returns it."""
    values = tuple(getattr(held, attribute) for attribute in item.into)
    return values[0] if len(values) == 1 else values


def _default(section: TableSection, item: TableField, model: str) -> Any:
    """The model's default; MISSING where a file must say it."""
    if item.needed_by(model):
        return MISSING
    values = tuple(section.default(attribute) for attribute in item.into)
    return values[0] if len(values) == 1 else values


def _absent(path: str, item: TableField) -> ScenarioField:
    return ScenarioField(
        path=path,
        type="section",
        unit="",
        value=NONE,
        minimum=None,
        maximum=None,
        default=NONE,
        choices=(NONE,),
        help=item.meaning,
    )


def _faults(scenario: Scenario) -> Iterator[ScenarioField]:
    """Of the scenario's faults all settings, of every other site the chance."""
    of_site = Counter(fault.site for fault in scenario.faults)
    seen: Counter[str] = Counter()
    for fault in scenario.faults:
        name = fault.site
        at = f"faults.{name}" if of_site[name] == 1 else f"faults.{name}.{seen[name]}"
        seen[name] += 1
        for item in FAULTS[name].items:
            yield _fault_field(name, item, f"{at}.{item.name}", _held(item, fault))
    for name in FAULT_SITES:
        if name not in of_site:
            chance = FAULTS[name].item("chance")
            assert chance is not None
            yield _fault_field(name, chance, f"faults.{name}.chance", MISSING)


def _fault_field(name: str, item: TableField, path: str, value: Any) -> ScenarioField:
    assert isinstance(item.kind, ValueKind)
    site = FAULT_SITES[name]
    found = _field(path, item, item.kind, value, _fault_default(name, site, item))
    return replace(found, help=f"{site.does}: {item.meaning}") if item.name == "chance" else found


def _fault_default(name: str, site: FaultSite, item: TableField) -> Any:
    """A site has its own range, and `stop` follows the duration where nothing is said."""
    if item.name == "range":
        return site.low, site.high
    return MISSING if item.name == "stop" else _default(FAULTS[name], item, "")


def _field(path: str, item: TableField, kind: ValueKind, value: Any, default: Any) -> ScenarioField:
    unit = _unit(kind, value, default)

    def words(said: Any) -> str | None:
        return None if said is None or said is MISSING else _words(kind, said, unit)

    return ScenarioField(
        path=path,
        type=kind.type,
        unit=unit,
        value=words(value),
        minimum=words(kind.low),
        maximum=words(kind.high),
        default=words(default),
        choices=kind.choices,
        help=item.meaning,
    )


def _unit(kind: ValueKind, value: Any, default: Any) -> str:
    if kind.measure is None:
        return kind.unit
    told = [each for each in (value, default) if each is not MISSING]
    return kind.measure.best_unit(
        (number for each in told for number in _numbers(each)),
        (*_numbers(kind.low), *_numbers(kind.high)),
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _words(kind: ValueKind, value: Any, unit: str) -> str:
    if kind.measure is None:
        shown = kind.show(value)
        return str(shown).lower() if isinstance(shown, bool) else str(shown)
    *first, last = (kind.measure.write(number, unit) for number in dict.fromkeys(_numbers(value)))
    return " to ".join([*(words.partition(" ")[0] for words in first), last])

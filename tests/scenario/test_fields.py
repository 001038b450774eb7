"""What can be set in a scenario: every item of the table, exactly, and back through `override`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import OrderRefused, ScenarioError
from workbench.core.pricing import Price
from workbench.scenario import (
    FAULT_SITES,
    Scenario,
    ScenarioField,
    fault_fields,
    fields,
    load,
    override,
    parse,
    read_parameter,
)
from workbench.scenario import model as m
from workbench.scenario.fields import _section as section_fields
from workbench.scenario.kinds import ValueKind
from workbench.scenario.measures import InvalidValue
from workbench.scenario.table import FAULTS, FILE, TableField, TableSection
from workbench.scenario.tree import WORD, SourcePosition, TreeScalar

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"
SHIPPED = {path.stem: load(path) for path in sorted(FOLDER.glob("*.yaml"))}
LEAST = "about: Least.\nduration: 10 min\nbuyers: [{count: 2}]\n"

# Models, an arbitrageur and users that no shipped scenario has.
MORE = [
    LEAST + "market: {path: {model: drift, drift: 1 bps per day}, arbitrageur: {}}\n",
    LEAST + "market: {path: {model: gbm, volatility: 8 % per year}}\n",
    LEAST + "market: {path: {model: jumps, jump_every: 90 s, jump: 1 %}}\n"
    "payouts: {users: [{count: 1, arrivals: {model: burst}}]}\n",
    "about: Sizes.\nduration: 1 h\nbuyers:\n"
    "- {count: 1, size: {model: uniform, low: '1 YPS', high: '2.5 YPS'}, start: 90 s}\n"
    "- {count: 1, size: {model: lognormal, low: '1 YPS', high: '9 YPS', sigma: 1 bps}}\n"
    "faults: {http.lost: [1 %, {chance: 2 %, stop: 30 min}], "
    "chain.reorg: {chance: 0.0001 %, range: 2 blocks}}\n",
    "about: Nobody buys.\nduration: 10 min\npayouts: {users: [{count: 1}]}\n",
]
SCENARIOS = {**SHIPPED, **{f"more-{n}": parse(text) for n, text in enumerate(MORE)}}
EVERY = [(name, field) for name, scenario in SCENARIOS.items() for field in scenario.fields()]


def read(kind: ValueKind, words: str) -> Any:
    """What a kind reads from words such as those of `--set`."""
    return kind.read(TreeScalar(SourcePosition(""), words, WORD))


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_value_put_back_gives_an_equal_scenario(name: str) -> None:
    """One by one, and all at once."""
    scenario = SCENARIOS[name]
    held = {field.path: field.value for field in scenario.fields() if field.value is not None}
    assert len(held) > 20
    for path, value in held.items():
        assert scenario == override(scenario, {path: value}, folder=FOLDER), path
    assert scenario == override(scenario, held, folder=FOLDER)


@given(st.data())
def test_a_value_between_the_bounds_is_taken_or_contradicts_something(data: st.DataObject) -> None:
    """The bounds of a field are those of the reader: only other fields can stand against it."""
    name, field = data.draw(st.sampled_from([each for each in EVERY if each[1].maximum]))
    value = data.draw(st.sampled_from((field.minimum, field.maximum)))
    try:
        changed = override(SCENARIOS[name], {field.path: value}, folder=FOLDER)
    except ScenarioError as why:
        for told in ("out of bounds", "unknown", "not a", "has no unit", "refused"):
            assert told not in why.message
    else:
        # Another word for the same number is allowed, such as another unit after the change.
        again = next(each for each in changed.fields() if each.path == field.path)
        assert again.value is not None
        assert changed == override(changed, {field.path: again.value}, folder=FOLDER)


def kinds(section: TableSection) -> Iterator[tuple[TableSection, TableField, ValueKind]]:
    """Every item of a section and below that is a word."""
    for item in section.items:
        if isinstance(item.kind, ValueKind):
            yield section, item, item.kind
        else:
            yield from kinds(item.kind)


TABLE = [each for section in (FILE, *FAULTS.values()) for each in kinds(section)]
NUMBERS = [each for each in TABLE if each[2].high is not None]


def test_every_item_of_the_table_appears() -> None:
    """With its path: the name of an item, below the names of its sections."""
    paths = {".".join(p for p in f.path.split(".") if not p.isdigit()) for _, f in EVERY}

    def expected(section: TableSection, at: str) -> Iterator[str]:
        for item in section.items:
            if isinstance(item.kind, ValueKind):
                yield f"{at}{item.name}"
            else:
                if item.optional:
                    yield f"{at}{item.name}"
                yield from expected(item.kind, f"{at}{item.name}.")

    wanted = set(expected(FILE, ""))
    for site, section in FAULTS.items():
        wanted |= set(expected(section, f"faults.{site}."))
    assert wanted == paths


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_path_is_listed_once(name: str) -> None:
    paths = [field.path for field in fields(SCENARIOS[name])]
    assert len(paths) == len(set(paths))


def one_step(kind: ValueKind, value: Any, step: int) -> Any:
    """A value that is one base unit beyond."""
    if isinstance(value, tuple):
        return tuple(each + step for each in value)
    if isinstance(value, Price):
        return replace(value, usdc_per_asset=value.usdc_per_asset + step)
    return value + step


@pytest.mark.parametrize(
    ("section", "item", "kind"), NUMBERS, ids=[f"{s.make.__name__}.{i.name}" for s, i, _ in NUMBERS]
)
def test_bounds_are_accepted_and_one_step_beyond_is_refused(
    section: TableSection, item: TableField, kind: ValueKind
) -> None:
    """In the units in which fields are written, and in those of a file."""
    for bound, step in ((kind.low, -1), (kind.high, +1)):
        assert bound == read(kind, str(kind.show(bound)))
        with pytest.raises(InvalidValue):
            read(kind, str(kind.show(one_step(kind, bound, step))))
        if kind.measure is not None:
            for number in bound if isinstance(bound, tuple) else (bound,):
                for unit in kind.measure.units:
                    if kind.measure.fits(number, unit):
                        assert number == kind.measure.read(kind.measure.write(number, unit))


def test_the_bounds_of_fields_are_those_of_the_kinds() -> None:
    """Whatever unit a field has."""
    found = {f.path: f for f in SCENARIOS["storm"].fields()}
    chain = found["chain.finality"]
    assert (chain.unit, chain.minimum, chain.maximum) == ("blocks", "0 blocks", "10000 blocks")
    for _, field in EVERY:
        assert (field.minimum is None) == (field.maximum is None)
        for words in (field.value, field.minimum, field.maximum, field.default):
            if words is not None and field.unit and words != "none":
                assert words.endswith((field.unit, f" {field.unit[:-1]}")), field


def defaults() -> Iterator[tuple[TableSection, TableField, ValueKind, ScenarioField]]:
    """Of each section as it is when made from its defaults, where it has all of them."""
    of_file = Scenario(name="x", about="x", duration_s=600, buyers=(m.BuyerGroup(count=1),))
    rich = replace(
        of_file,
        payouts=m.PayoutSettings(users=(m.UserGroup(count=1),)),
        market=m.Market(arbitrageur=m.ArbitrageurSettings()),
    )
    by_path = {field.path: field for field in section_fields(FILE, rich, "")}

    def walk(
        section: TableSection, at: str
    ) -> Iterator[tuple[TableSection, TableField, ValueKind, ScenarioField]]:
        for item in section.items:
            path = f"{at}{item.name}"
            if isinstance(item.kind, ValueKind):
                if path in by_path:
                    yield section, item, item.kind, by_path[path]
            else:
                yield from walk(item.kind, f"{path}.0." if item.many else f"{path}.")

    yield from walk(FILE, "")


def test_a_default_reads_back_to_the_models_default() -> None:
    """And where there is none, the model has none."""
    seen = 0
    for section, item, kind, field in defaults():
        held = tuple(section.default(attribute) for attribute in item.into)
        if field.default is None:
            assert MISSING in held
            continue
        assert (held[0] if len(held) == 1 else held) == read(kind, field.default), field
        seen += 1
    assert seen > 40


def test_a_site_has_its_own_range_and_no_end() -> None:
    scenario = override(SHIPPED["happy-path"], {"faults.crash.facilitator.chance": "2.5 %"})
    found = {field.path: field for field in scenario.fields()}
    at = "faults.crash.facilitator"
    assert found[f"{at}.chance"].value == "2.5 %"
    assert found[f"{at}.range"].default == found[f"{at}.range"].value == "1 to 30 s"
    assert found[f"{at}.stop"].default is None
    assert found[f"{at}.active"].default == "100 %"
    assert "facilitator ends" in found[f"{at}.chance"].help
    assert found["faults.http.lost.chance"].value is None
    assert f"{at}.0.chance" not in found


def test_units_are_those_that_people_write() -> None:
    """The largest in which the value is whole; the bounds are exact in it."""
    found = {field.path: field for field in SHIPPED["storm"].fields()}
    expected = {
        "chain.base_fee": ("fee", "gwei", "1 gwei", "0 gwei", "100 gwei"),
        "buyers.0.arrivals.every": ("duration", "s", "25 s", "0.001 s", "31536000 s"),
        "faults.rpc.stale.range": ("range", "blocks", "1 to 3 blocks", "1 block", "32 blocks"),
        "market.lp_fee": ("percent", "%", "0.05 %", "0 %", "10 %"),
        "faults.http.lost.chance": ("probability", "%", "2 %", "0 %", "100 %"),
        "seed": ("integer", "", "1", "0", str(2**63 - 1)),
        "buyers.0.size.low": (
            "amount", "YPS", "10 YPS", "0.000000000000000001 YPS",
            "340282366920938463463.374607431768211455 YPS",
        ),
        "seller.price_follows_market": ("boolean", "", "false", None, None),
        "market.arbitrageur": ("section", "", "none", None, None),
    }  # fmt: skip
    for path, told in expected.items():
        each = found[path]
        assert told == (each.type, each.unit, each.value, each.minimum, each.maximum), path
    assert found["market.path.model"].choices == m.PATH_MODELS


def test_a_field_is_ready_for_json_and_holds_no_float() -> None:
    for _, field in EVERY:
        told = field.to_json()
        assert told == json.loads(json.dumps(told))
        assert not [value for value in told.values() if isinstance(value, float)]
        assert field.help
        assert told["path"] == field.path


# --- Faults by hand ---


@pytest.mark.parametrize("name", FAULT_SITES)
def test_a_site_reads_its_bounds_and_refuses_what_is_beyond(name: str) -> None:
    site = FAULT_SITES[name]
    told = next(each for each in fault_fields() if each.name == name)
    assert (told.does, told.each, told.unit) == (site.does, site.each, site.unit)
    assert site.high == read_parameter(name) == read_parameter(name, "")
    assert site.high == read_parameter(name, told.default)
    if not site.unit:
        assert told.default == told.least == told.most == ""
        assert read_parameter(name, 0) == read_parameter(name, "0") == 0
        with pytest.raises(OrderRefused, match="takes no parameter"):
            read_parameter(name, 1)
        return
    for number, words in ((site.least, told.least), (site.most, told.most)):
        assert {number} == {read_parameter(name, each) for each in (number, str(number), words)}
    for number in (site.least - 1, site.most + 1):
        for each in (number, str(number)):
            with pytest.raises(OrderRefused) as caught:
                read_parameter(name, each)
            assert f"out of bounds, {told.least} to {told.most}" in caught.value.message
            assert caught.value.details["sites"] == list(FAULT_SITES)


def test_a_parameter_is_read_exactly_in_any_unit_of_its_kind() -> None:
    assert read_parameter("crash.facilitator", "55 s") == 55
    assert read_parameter("crash.facilitator", "1.5 min") == 90
    assert read_parameter("http.delayed", "2 s") == 2_000
    assert read_parameter("chain.reorg", "2 blocks") == 2
    assert read_parameter("clock.skew", "-30 s") == -30


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("crash.facilitator", "1.5 s", "is finer than 1 s"),
        ("crash.facilitator", "5 blocks", 'has the unit "blocks"'),
        ("crash.facilitator", "soon", "is not a duration; write such as"),
        ("crash.facilitator", True, "is not a duration"),
        ("crash.facilitator", 5.0, "has no unit"),
        ("crash.facilitator", 10**4_000, "out of bounds, 0 s to 3600 s"),
        ("crash.facilitater", 5, 'did you mean "crash.facilitator"? All are http.lost, http.d'),
        ("zzz", 5, "is no site of faults; known are http.lost, http.delayed, "),
    ],
)
def test_a_parameter_that_does_not_fit_is_told(name: str, value: Any, told: str) -> None:
    with pytest.raises(OrderRefused) as caught:
        read_parameter(name, value)
    assert told in caught.value.message


# --- The command ---

COMMAND = [str(Path(sys.executable).with_name("workbench")), "scenario", "fields"]


def test_the_command_lists_what_the_function_lists() -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "scenarios/storm.yaml", *more],
            cwd=FOLDER.parent, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    told = json.loads(run("--json", "--set", "seed=9").stdout)
    expected = override(SHIPPED["storm"], {"seed": 9}).fields()
    assert [field.to_json() for field in expected] == told["fields"]
    assert [each.to_json() for each in fault_fields()] == told["faults"]
    shown = run()
    assert shown.returncode == 0
    assert "chain.finality: 2 blocks\n    blocks, 0 blocks to 10000 blocks, default" in shown.stdout
    assert run("--json", "--set", "seed=x").returncode == 1

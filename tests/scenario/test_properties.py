"""Properties of scenario files: sound files survive a round trip, all others are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.scenario.files import FOLDER, FULL, LEAST, SCHEMA
from workbench.core.errors import ScenarioError
from workbench.scenario import (
    FAULT_SITES,
    KINDS,
    PAYOUT_PLANTS,
    PLANTS,
    USER_KINDS,
    Scenario,
    load,
    override,
    parse,
    to_yaml,
    words,
)


def number(low: int, high: int, unit: str) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(lambda n: f"{n} {unit}")


def amount(low: int, high: int, symbol: str) -> st.SearchStrategy[str]:
    return st.decimals(low, high, places=3).map(lambda n: f"{n} {symbol}")


def some(**fields_: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields."""
    return st.fixed_dictionaries({}, optional=fields_)


def every(**fields_: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """All of these fields."""
    return st.fixed_dictionaries(fields_)


PATHS = (
    every(model=st.just("drift"), drift=number(-99, 99, "bps per day"))
    | every(model=st.just("gbm"), volatility=number(0, 99, "% per year"))
    | every(
        model=st.just("jumps"),
        jump_every=number(1, 99, "min"),
        jump=number(1, 99, "bps"),
        start=st.just("1.0842"),
    )
)


RANGE = {"low": amount(1, 9, "YPS"), "high": amount(10, 99, "YPS")}


SIZES = (
    every(amount=amount(1, 100, "YPS"))
    | every(model=st.just("uniform"), **RANGE)
    | every(model=st.just("lognormal"), sigma=number(1, 200, "%"), **RANGE)
)


ARRIVALS = st.just({"model": "burst"}) | every(
    model=st.sampled_from(("even", "poisson")), every=number(1, 60_000, "ms")
)


GROUPS = st.builds(
    dict.__or__,
    every(count=st.integers(1, 20)),
    some(
        kind=st.sampled_from(sorted(KINDS)),
        arrivals=ARRIVALS,
        start=number(0, 59, "min"),
        size=SIZES,
        slippage=number(0, 50, "%"),
        patience=number(10, 90, "min"),
        wallet=amount(10_000, 99_999, "EURC"),
    ),
)


PATTERN = some(
    times=st.integers(1, 9),
    arrivals=ARRIVALS,
    credits=number(10, 20, "credits").map(lambda text: f"1 to {text}"),
)


USERS = st.builds(
    dict.__or__,
    every(count=st.integers(1, 20)),
    some(
        kind=st.sampled_from(sorted(USER_KINDS)),
        arrivals=ARRIVALS,
        start=number(0, 59, "min"),
        earns=PATTERN,
        asks=PATTERN,
        patience=number(10, 90, "min"),
    ),
)


CHANCES = st.decimals(0, 100, places=4).map(lambda share: f"{share} %")


FAULT = CHANCES | st.builds(
    dict.__or__,
    every(chance=CHANCES),
    some(active=number(0, 100, "%"), start=number(0, 50, "min"), stop=number(51, 60, "min")),
)


SITES = st.sampled_from(sorted(FAULT_SITES))


FILES = st.builds(
    dict.__or__,
    every(
        about=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1),
        duration=number(2, 5, "h"),
        settle_within=st.just("2 h"),
        buyers=st.lists(GROUPS, min_size=1, max_size=3),
    ),
    some(
        seed=st.integers(0, 2**63 - 1),
        plant=st.sampled_from((*sorted({*PLANTS} - {*PAYOUT_PLANTS}), "none")),
        chain=some(
            block_time=number(1, 12, "s"),
            finality=number(0, 12, "blocks"),
            http_latency=number(0, 99, "ms").map(lambda text: f"0 to {text}"),
            state_root=st.sampled_from(("auto", "computed", "omitted")),
        ),
        market=some(
            path=PATHS,
            pool=amount(1, 10**9, "USDC"),
            band=number(10, 5_000, "bps"),
            arbitrageur=st.sampled_from(("none", {}, {"edge": "1 %"})),
        ),
        seller=some(
            price=st.sampled_from(("1.10", "0.5")),
            price_follows_market=st.booleans(),
            quote_lifetime=number(30, 900, "s"),
        ),
        payouts=st.just("none")
        | st.builds(
            dict.__or__,
            every(users=st.lists(USERS, min_size=1, max_size=3)),
            some(asset=st.just("eth")),
        ),
        faults=st.dictionaries(SITES, FAULT | st.lists(FAULT, max_size=3), max_size=5),
    ),
)
"""Files that say something sound, as plain data."""


class Plain(yaml.SafeDumper):
    """Writes no anchors, which scenario files may not have."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@given(FILES)
def test_a_sound_file_is_read_shown_kept_and_overridden_without_loss(said: dict[str, Any]) -> None:
    SCHEMA.validate(said)
    read = parse(yaml.dump(said, Dumper=Plain, allow_unicode=True), "scenarios/any.yaml")
    assert parse(to_yaml(read), "any.yaml") == read
    kept = json.loads(json.dumps(read.to_json()))
    assert Scenario.from_json(kept) == read
    assert Scenario.from_json(kept).to_json() == kept
    assert override(read, {}) == read
    SCHEMA.validate(words(read))


LETTERS = st.text("abcdehilmnorstuy:-#&*!|>'\"%@`{}[],? \n\t0123456789.\\U", max_size=80)


@given(st.text(max_size=80) | LETTERS | LETTERS.map(lambda text: LEAST + text))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        parse(text)
    except ScenarioError as why:
        assert why.details["problems"]


JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(("format", "name", "scenario", "points", "about", "chain", "buyers",
                             "duration", "faults", "http.lost", "market", "path", "model", "x")),
            below,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


PLACES = st.sampled_from(
    ("format", "name", "points", "scenario", "scenario.chain", "scenario.buyers", "scenario.faults",
     "scenario.market.path", "scenario.market.path.file", "scenario.duration")
)  # fmt: skip


@given(JSON_DATA)
def test_no_data_does_more_than_be_refused(data: Any) -> None:
    with pytest.raises(ScenarioError):
        Scenario.from_json(data)


@given(PLACES, JSON_DATA)
def test_damage_in_what_a_run_kept_is_refused_or_harmless(place: str, data: Any) -> None:
    kept = json.loads(json.dumps(load(FOLDER / "csv-market.yaml").to_json()))
    *sections, last = place.split(".")
    node = kept
    for section in sections:
        node = node[section]
    node[last] = data
    try:
        Scenario.from_json(kept)
    except ScenarioError as why:
        assert why.details["problems"]


@given(st.dictionaries(st.text(max_size=20) | PLACES.map(lambda p: p[9:]), JSON_DATA, max_size=3))
def test_no_setting_does_more_than_be_refused(settings: dict[str, Any]) -> None:
    try:
        override(parse(FULL), settings)
    except ScenarioError as why:
        assert why.details["problems"]


@pytest.mark.parametrize(
    "points", [[], [[1, 110_000_000]], [[0, 1]], [[0]], [[0, True]], [[0, 1.5]]]
)
def test_damaged_points_of_a_csv_are_refused(points: list[Any]) -> None:
    kept = load(FOLDER / "csv-market.yaml").to_json()
    with pytest.raises(ScenarioError, match="points"):
        Scenario.from_json(kept | {"points": points})


def test_what_a_newer_workbench_kept_is_refused_by_name() -> None:
    kept = parse(LEAST).to_json() | {"format": 2}
    with pytest.raises(ScenarioError, match="format: is not 1"):
        Scenario.from_json(kept)

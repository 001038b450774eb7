"""Scenario files: what they say is what is read, and what is wrong is told by line and field."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.documents import code_blocks, documents
from workbench.core.errors import ScenarioError
from workbench.core.pricing import Price
from workbench.scenario import (
    FAULT_SITES,
    KINDS,
    PAYOUT_PLANTS,
    PLANTS,
    USER_KINDS,
    Scenario,
    assignments,
    load,
    override,
    parse,
    schema_json,
    schema_text,
    to_yaml,
    words,
)
from workbench.scenario import model as m
from workbench.scenario.table import FAULTS, FILE, TableSection

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"
SCHEMA = jsonschema.Draft202012Validator(schema_json())

LEAST = """\
about: The least that a file says.
duration: 10 min
buyers:
  - count: 2
"""
"""Four lines; what a test adds begins in line 5."""


def problems(text: str, folder: Path | str = ".") -> list[str]:
    """What is said about a text: every problem, one a line."""
    with pytest.raises(ScenarioError) as caught:
        parse(text, "x.yaml", folder)
    told = caught.value.message.splitlines()
    assert told == [each["text"] for each in caught.value.details["problems"]]
    return told


# --- What is read ---


def test_the_least_file_takes_every_default_of_the_model() -> None:
    read = parse(LEAST, "scenarios/least.yaml")
    assert read == Scenario(
        name="least",
        about="The least that a file says.",
        duration_s=600,
        buyers=(m.BuyerGroup(count=2),),
    )


FULL = """\
about: All there is.
seed: 42
duration: 1.5 h
settle_within: 1 h
chain:
  block_time: 12 s
  finality: 3 blocks
  base_fee: 1.5 gwei
  block_gas_limit: 2.5 Mgas
  rpc_latency: 20 ms
  http_latency: 5 to 80 ms
  state_root: computed
market:
  path:
    model: jumps
    start: "1.0842"
    drift: -5 bps per day
    volatility: 8 % per year
    jump_every: 30 min
    jump: 0.5 %
  step: 30 s
  pool: "2500000.5 USDC"
  lp_fee: 3 bps
  band: 2%
  rate_max_age: 24 h
  keeper_every: 2 min
  arbitrageur: {every: 20s, edge: 15 bps, max: "1000000"}
buyers:
  - count: 3
    kind: replays
    arrivals: {model: even, every: 1500 ms}
    start: 1 min
    size: {model: lognormal, low: "1.5 YPS", high: "20 YPS", sigma: 120 %}
    slippage: 25 bps
    patience: 1 h
    fund_by: permit
    wallet: "900 EURC"
  - count: 1
    arrivals: {model: burst}
    size: {amount: "1000000000000000000"}
seller:
  price: "1.2"
  price_follows_market: true
  quote_lifetime: 5 min
  swap_window: 20 min
  inventory: "1000 YPS"
  delay: 250 ms
  poll: 500 ms
facilitator: {poll: 2 s, finality_timeout: 15 min, retries: 5}
faults:
  chain.reorg:
    - {chance: 1 %, range: 1 to 3 blocks, stop: 10 min}
    - {chance: 0.5 %, active: 25 %, range: 2 blocks, start: 10 min}
  http.lost: 0.01 %
plant: lose_refund
"""


SIZE = m.PurchaseSize(
    model="lognormal", low_units=15 * 10**17, high_units=20 * 10**18, sigma_bps=12_000
)


def test_every_field_is_read_in_its_unit() -> None:
    assert parse(FULL, "full.yaml") == Scenario(
        name="full",
        about="All there is.",
        seed=42,
        duration_s=5_400,
        settle_s=3_600,
        chain=m.ChainSettings(
            block_time_ms=12_000,
            finality_blocks=3,
            base_fee_wei=1_500_000_000,
            block_gas_limit=2_500_000,
            rpc_latency_ms=20,
            http_latency_ms=(5, 80),
            state_root="computed",
        ),
        market=m.Market(
            path=m.RatePath(
                model="jumps",
                start_e8=108_420_000,
                drift_bps_per_day=-5,
                volatility_bps_per_year=800,
                jump_every_s=1_800,
                jump_bps=50,
            ),
            step_s=30,
            pool_usdc=2_500_000_500_000,
            lp_fee_pips=300,
            band_bps=200,
            rate_max_age_s=86_400,
            keeper_every_s=120,
            arbitrageur=m.ArbitrageurSettings(every_s=20, edge_bps=15, max_eurc=1_000_000),
        ),
        buyers=(
            m.BuyerGroup(
                count=3,
                kind="replays",
                arrivals=m.Arrivals(model="even", every_ms=1_500),
                start_s=60,
                size=SIZE,
                slippage_bps=25,
                patience_s=3_600,
                fund_by="permit",
                wallet_eurc=900_000_000,
            ),
            m.BuyerGroup(
                count=1,
                arrivals=m.Arrivals(model="burst"),
                size=m.PurchaseSize(low_units=10**18, high_units=10**18),
            ),
        ),
        seller=m.SellerSettings(
            price=Price(1_200_000),
            price_follows_market=True,
            quote_lifetime_s=300,
            swap_window_s=1_200,
            inventory_units=10**21,
            delay_ms=250,
            poll_ms=500,
        ),
        facilitator=m.FacilitatorSettings(poll_ms=2_000, finality_timeout_s=900, retries=5),
        faults=(
            m.Fault(site="http.lost", chance_ppm=100, stop_s=5_400),
            m.Fault(site="chain.reorg", chance_ppm=10_000, low=1, high=3, stop_s=600),
            m.Fault(site="chain.reorg", chance_ppm=5_000, active_ppm=250_000, low=2, high=2,
                    start_s=600, stop_s=5_400),
        ),
        plant="lose_refund",
    )  # fmt: skip


def test_a_fault_without_a_range_takes_that_of_its_site() -> None:
    (fault,) = parse(LEAST + "faults: {clock.skew: 1 %}").faults
    site = FAULT_SITES["clock.skew"]
    assert (fault.low, fault.high) == (site.low, site.high) == (-30, 30)


def test_the_order_of_faults_in_a_file_says_nothing() -> None:
    first = parse(LEAST + "faults: {http.lost: 1 %, http.cut: 2 %}")
    assert first == parse(LEAST + "faults: {http.cut: 2 %, http.lost: 1 %}")


def test_every_section_fills_its_values_and_needs_what_has_no_default() -> None:
    """The table and the model agree, attribute by attribute."""

    def check(section: TableSection, apart: set[str]) -> None:
        filled = {attribute for item in section.items for attribute in item.into}
        assert filled | apart == {each.name for each in fields(section.make)}, section.make
        for item in section.items:
            if any(section.default(attribute) is MISSING for attribute in item.into):
                assert item.needed or item.name == "stop"
            if isinstance(item.kind, TableSection):
                check(item.kind, {"points"} if item.kind.make is m.RatePath else set())

    check(FILE, {"name", "faults"})
    for name, section in FAULTS.items():
        check(section, {"site"} if FAULT_SITES[name].unit else {"site", "low", "high"})


# --- What is wrong: file, line, field, and what to write ---

WRONG: dict[str, tuple[str, str]] = {
    # Units
    "no unit": ("chain:\n  block_time: 2",
                '6: chain.block_time: "2" has no unit; write such as "2 s".'),
    "no unit, quoted": ('chain:\n  block_time: "2"',
                        '6: chain.block_time: "2" has no unit; write such as "2 s".'),
    "another unit": ("settle_within: 30 minutes", '5: settle_within: "30 minutes" has the unit '
                     '"minutes", and not one of ms, s, min, h, d; write such as "30 min".'),
    "a unit of something else": ("chain: {finality: 5 s}", 'has the unit "s", and not one of'),
    "no number": ("settle_within: soon", '5: settle_within: "soon" is not a duration'),
    "sixties": ("settle_within: 10:30", '"10:30" is not a duration'),
    "not exact": ("settle_within: 0.0001 s", '"0.0001 s" is finer than 1 s'),
    "a fraction of a block": ("chain: {finality: 1.5 blocks}", "is finer than 1 block;"),
    "less than a second of a block": ("chain: {block_time: 1500 ms}", "no whole number of seconds"),
    "finer than a basis point": ("market: {band: 0.005 %}", "is finer than 0.01 %"),
    "out of bounds": ("market: {band: 60 %}", "is out of bounds, 0 % to 50 %; write"),
    "below bounds": ("market: {band: -1 %}", '"-1 %" is out of bounds'),
    "a probability above one": ("faults: {http.lost: 101 %}", "is out of bounds, 0 % to 100 %"),
    "a probability without %": ("faults:\n  http.lost: 0.01",
                                '6: faults.http.lost: "0.01" has no unit; write such as "0.5 %".'),
    "credits in another unit": ("payouts: {users: [{count: 1, asks: {credits: 5}}]}",
                                'payouts.users.0.asks.credits: "5" has no unit; write such as'),
    "a rate of what": ("market: {path: {model: gbm, volatility: 8 %}}",
                       'has the unit "%", and not one of % per year, bps per year'),
    "upside down": ("chain: {http_latency: 80 to 5 ms}", "ends below its beginning"),
    "a span of what": ("chain: {http_latency: 5 to 80}", "has no unit; write such as \"5 ms to 8"),
    "half a span": ("chain: {http_latency: 5 to}", 'has the unit "to"'),
    # Money
    "an unquoted amount": ("market:\n  pool: 5000000", '6: market.pool: "5000000" is not in quotes:'
                           " YAML makes a number of it, which may lose digits or change base; "
                           'write such as "1000000 USDC".'),
    "an unquoted hexadecimal": ("market: {pool: 0x10}", '"0x10" is not in quotes'),
    "an unquoted price": ("seller: {price: 1.10}", '"1.10" is not in quotes'),
    "another token": ('market: {pool: "5 EURC"}', 'is in "EURC", and USDC is asked for'),
    "too many digits": ('market: {pool: "0.1234567 USDC"}', "has more than 6 digits"),
    "base units have no point": ('market: {pool: "1.5"}', "is not a whole number of base units"),
    "an exponent": ('market: {pool: "1e9"}', "is not a whole number of base units"),
    "no money": ('market: {pool: "0 USDC"}', "is out of bounds, 0.000001 USDC to"),
    "minus": ('market: {pool: "-5 USDC"}', "is not a decimal number"),
    "more than the vault takes": (f'market: {{pool: "{2**96}"}}', "is out of bounds"),
    "no price": ('seller: {price: "0"}', "is refused (the price is 0)"),
    "a rate out of bounds": ('market: {path: {start: "11"}}', "is out of bounds, 0.1 to 10"),
    # Words
    "an unknown word": ("plant: lose_refnd", '5: plant: "lose_refnd" is not known; did you mean '
                        '"lose_refund"?'),
    "nothing near": ("market: {path: {model: zzz}}", "is not known; known are constant, drift"),
    "not a count": ("seed: x", '"x" is not a whole number; write such as 7.'),
    "a quoted count": ('seed: "7"', '"7" is in quotes, and so a text'),
    "octal": ("seed: 017", '"017" is not a whole number'),
    "underscores": ("seed: 1_000", '"1_000" is not a whole number'),
    "a fraction": ("seed: 1.5", '"1.5" is not a whole number'),
    "fewer than none": ("facilitator: {retries: -1}", '"-1" is not a whole number'),
    "too large a count": ("seed: 9223372036854775808", "is out of bounds, 0 to"),
    "yes": ("seller: {price_follows_market: yes}", '"yes" is neither true nor false'),
    "quoted truth": ('seller: {price_follows_market: "true"}', "is neither true nor false"),
    "no as a word": ("plant: no", '5: plant: "no" means false to YAML; write such as'),
    "on as a word": ("plant: on", '"on" means true to YAML'),
    "on as a name": ("on: 1 s", "5: on: is an unknown field"),
    "nothing": ("seed:", "5: seed: has no value; write such as 7."),
    "tilde": ("settle_within: ~", "5: settle_within: has no value"),
    # Structure
    "an unknown section": ("markets: {}",
                           '5: markets: is an unknown field; did you mean "market"?'),
    "an unknown field": ("chain:\n  block_time: 2 s\n  finalty: 2 blocks",
                         '7: chain.finalty: is an unknown field; did you mean "finality"?'),
    "an unknown site": ("faults:\n  http.los: 1 %",
                        '6: faults.http.los: is an unknown site; did you mean "http.lost"?'),
    "a value for a section": ("chain: 2 s", "5: chain: must be a mapping of fields: block_time,"),
    "a section for a value": ("seed: {a: 1}", "5: seed: must be one value; write such as 7."),
    "a list for a section": ("chain: [1]", "5: chain: must be a mapping"),
    "a list of faults": ("faults: [http.lost]", "5: faults: must be a mapping from site"),
    "a parameter that the site lacks": ("faults: {http.lost: {chance: 1 %, range: 1 s}}",
                                        "faults.http.lost.range: is an unknown field"),
    "a fault without a chance": ("faults:\n  http.lost: {start: 1 s}",
                                 "6: faults.http.lost.chance: is missing; write `chance:"),
    "another model's field": ("market: {path: {volatility: 1 % per year}}", "has no meaning for "
                              'model "constant", only for gbm, jumps.'),
    "a model without its field": ("market:\n  path:\n    model: jumps\n    jump: 1 %",
                                  '7: market.path.jump_every: is missing; write `jump_every: '
                                  '"30 min"`.'),
    "twice": ("seed: 1\nchain: {}\nseed: 2",
              "7: seed: stands here a second time; the first is in line 5."),
    "twice, deeper": ("chain:\n  finality: 1 block\n  finality: 1 block",
                      "7: chain.finality: stands here a second time"),
    "an anchor": ("chain: &a {}", "5: chain: anchors and aliases (& and *) are not allowed."),
    "an alias": ("chain: *a", "5: chain: anchors and aliases"),
    "a merge": ("chain: {<<: {}}", "chain.<<: is an unknown field"),
    "a tag": ("seed: !!int 5", "5: seed: tags such as tag:yaml.org,2002:int are not allowed."),
    "an object": ("seed: !!python/object/apply:os.system [x]", "5: seed: tags such as"),
    "a name that is a list": ("? [a]\n: 1", "5: the name of a field must be a word."),
    "a second document": ("---\nseed: 1", "5: holds a second document (---)."),
    "deep": ("seed: " + "[" * 50, "5: is nested deeper than 12 levels."),
    "long": ("faults: [" + "1, " * 10_000 + "]", "5: holds more than 10,000 names and values."),
    "not YAML": ("seed: [1", "is not YAML: while parsing a flow sequence"),
    "a tab": ("chain:\n\tfinality: 1 block", "6: is not YAML"),
    "a control character": ("seed: \x01", "5: holds a character that YAML does not allow."),
    "half a character": ('plant: "\\ud800"', "5: holds half a character"),
    "a number that is no character": ('plant: "\\UFFFFFFFF"', "is not YAML."),
}  # fmt: skip
"""Name -> (what is added to LEAST, what is said about it)."""


@pytest.mark.parametrize(("added", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(added: str, told: str) -> None:
    (problem,) = problems(f"{LEAST}{added}\n")
    assert problem.startswith("x.yaml")
    if told[0].isdigit():
        told = f"x.yaml:{told}"
    assert told in problem


BARE: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["x.yaml: is empty."]),
    "a comment": ("# Nothing\n", ["x.yaml: is empty."]),
    "a word": ("x", ["x.yaml:1: must be a mapping of fields: about, seed, duration, settle_within, "
                     "chain, market, buyers, seller, facilitator, payouts, plant."]),
    "missing": ("# Why\n\nseed: 1\n", [
        'x.yaml:3: about: is missing; write `about: "what question this answers"`.',
        'x.yaml:3: duration: is missing; write `duration: "10 min"`.']),
    "nobody": ("about: x\nduration: 1 min\n", [
        "x.yaml:1: buyers: nobody comes: write `buyers:`, `payouts:`, or both, and their fields."]),
    "no buyers": ("about: x\nduration: 1 min\npayouts: none\nbuyers: []\n", [
        "x.yaml:4: buyers: nobody comes: write `buyers:`, `payouts:`, or both, and their fields."]),
    "no list": ("about: x\nduration: 1 min\nbuyers: 20\n", [
        "x.yaml:3: buyers: must be a list, each with a dash: `- count: 20`."]),
    "no users": ("about: x\nduration: 1 min\npayouts: {users: []}\n", [
        "x.yaml:3: payouts.users: must be a list, each with a dash: `- count: 20`."]),
    "a date for a text": ("about: 2026-01-01\nduration: 1 h\nbuyers: [count: 1]\n", [
        'x.yaml:1: about: "2026-01-01" is no text to YAML; put it in quotes; write such as '
        '"what question this answers".']),
    "no about": ('about: " "\nduration: 1 h\nbuyers: [count: 1]\n', [
        'x.yaml:1: about: " " is empty; write such as "what question this answers".']),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), BARE.values(), ids=BARE)
def test_what_is_missing_is_told(text: str, told: list[str]) -> None:
    assert told == problems(text)


@pytest.mark.parametrize("buyers", ["", "buyers: []\n", "buyers: none\n"])
def test_payouts_need_no_buyers(buyers: str) -> None:
    text = f"about: x\nduration: 1 min\n{buyers}payouts: {{users: [{{count: 1}}]}}\n"
    read = parse(text)
    assert () == read.buyers
    assert [] == words(read)["buyers"]
    assert read == m.Scenario.from_json(read.to_json())
    SCHEMA.validate(yaml.safe_load(text))


def test_all_problems_are_told_at_once_by_line() -> None:
    text = LEAST.replace("10 min", "10") + (
        "faults:\n  http.lot: 1 %\nchain:\n  finality: 2\nmarket: {pool: 5}\nseed: 1\nseed: 2\n"
    )
    lines = [problem.split(": ")[:2] for problem in problems(text)]
    assert lines == [
        ["x.yaml:2", "duration"],
        ["x.yaml:6", "faults.http.lot"],
        ["x.yaml:8", "chain.finality"],
        ["x.yaml:9", "market.pool"],
        ["x.yaml:11", "seed"],
    ]


def test_not_more_than_fifty_problems_are_told() -> None:
    told = problems(LEAST + "".join(f"field{n}: 1\n" for n in range(60)))
    assert len(told) == 51
    assert told[-1] == "and 10 more problems."


def test_a_word_with_control_characters_is_shown_as_escapes() -> None:
    (told,) = problems(LEAST + 'plant: "\\e[31m\\n"\n')
    assert '"\\u001b[31m\\n" is not known' in told


def test_what_is_not_plain_data_is_told_once_and_where_it_stands() -> None:
    """And nothing fails for want of the value that was there."""
    text = """\
about: &a x
duration: !!int 5
buyers: [{count: !!int 5}, *a]
market: {path: {model: csv, file: &b x}}
faults: {http.lost: !a 1 %, http.cut: {chance: &c 1 %}, http.delayed: [*a]}
"""
    fields_ = [problem.split(": ")[:2] for problem in problems(text)]
    assert fields_ == [
        ["x.yaml:1", "about"],
        ["x.yaml:2", "duration"],
        ["x.yaml:3", "buyers.0.count"],
        ["x.yaml:3", "buyers.1"],
        ["x.yaml:4", "market.path.file"],
        ["x.yaml:5", "faults.http.lost"],
        ["x.yaml:5", "faults.http.cut.chance"],
        ["x.yaml:5", "faults.http.delayed.0"],
    ]


# --- What contradicts itself, with the arithmetic ---

AGAINST: dict[str, tuple[str, str]] = {
    "a wrong rule of payouts that are not there": (
        "plant: requeue_when_passed",
        "5: plant: requeue_when_passed breaks a rule of payouts, and there are no payouts."),
    "a token that asks its receiver": (
        "payouts:\n  asset: erc20\n  users: [{count: 1, kind: refuses}]",
        "7: payouts.users.0.kind: refuses needs asset eth: erc20 does not ask its receiver."),
    "asking for more than is ever earned": (
        "payouts:\n  users:\n  - count: 1\n    earns: {times: 2, credits: 1 to 3 credits}\n"
        "    asks: {credits: 7 credits}",
        "9: payouts.users.0.asks.credits: 7 credits at least are more than each earns, 6."),
    "users who come too late": (
        "payouts:\n  users:\n  - {count: 9, arrivals: {every: 2 min}}",
        "7: payouts.users.0.count: the last of 9 comes after 0 s + 8 × 120 s = 960 s, past"),
    "finality past the swap window": (
        "chain:\n  block_time: 30 s\n  finality: 20 blocks\nsettle_within: 1 h\n"
        "facilitator: {finality_timeout: 20 min}",
        "7: chain.finality: 20 blocks × 30 s + 1 s until the facilitator looks = 601 s of "
        "confirmations do not fit in seller.swap_window, 600 s."),
    "finality past its alarm": (
        "chain:\n  finality: 60 blocks\nfacilitator: {finality_timeout: 1 min}",
        "6: chain.finality: 60 blocks × 1 s + 1 s until the facilitator looks = 61 s of "
        "confirmations do not fit in facilitator.finality_timeout, 60 s."),
    "a default against what is said": (
        "facilitator:\n  finality_timeout: 2 s",
        "chain.finality: 2 blocks × 1 s + 1 s until the facilitator looks = 3 s of confirmations "
        "do not fit in facilitator.finality_timeout, 2 s."),
    "more retries than fit": (
        "facilitator:\n  retries: 1200",
        "6: facilitator.retries: the last of 1200 comes after the deadline: created, funded, and "
        "1 + 1200 swaps are 1203 blocks × 1 s = 1203 s, more than quote_lifetime 600 s + "
        "swap_window 600 s = 1200 s."),
    "blocks that cannot be taken back": (
        "chain:\n  state_root: omitted\nfaults:\n  chain.reorg: 1 %",
        "6: chain.state_root: omitted does not go with chain.reorg: no block can be taken back."),
    "the quiet phase is short": (
        "settle_within: 20 min",
        "5: settle_within: 1200 s are less than one settlement may take: quote_lifetime 600 s + "
        "swap_window 600 s + confirmations 3 s = 1203 s."),
    "a quote for no block": (
        "chain: {block_time: 12 s}\nseller:\n  quote_lifetime: 20 s",
        "7: seller.quote_lifetime: 20 s end before a settlement is created and funded: "
        "2 blocks × 12 s = 24 s."),
    "a stale rate": (
        "market:\n  rate_max_age: 10 min\n  keeper_every: 20 min",
        "7: market.keeper_every: 1200 s: the reference rate is too old after rate_max_age, 600 s"),
    "a band that the fee eats": (
        "market:\n  band: 10 bps\n  lp_fee: 0.1 %",
        "6: market.band: a band of 0.1 % leaves no room for lp_fee 0.1 %"),
    "nothing to sell": (
        'seller:\n  inventory: "99 YPS"',
        "6: seller.inventory: 99 YPS are less than the smallest purchase, 100 YPS."),
    "faults without end": (
        "faults:\n  http.lost: {chance: 1 %, stop: 11 min}",
        "6: faults.http.lost.stop: 660 s: faults end with duration, 600 s"),
    "faults that never begin": (
        "faults:\n  http.lost:\n    - 1 %\n    - {chance: 1 %,\n       start: 10 min}",
        "9: faults.http.lost.1.start: 600 s are not before stop, 600 s."),
}  # fmt: skip
GROUP = LEAST.replace("count: 2", "count: 20")
AGAINST_GROUP: dict[str, tuple[str, str]] = {
    "patience": (
        "    patience: 2 s",
        "5: buyers.0.patience: 2 s end before 2 blocks × 1 s + 1 s until the facilitator looks = "
        "3 s of confirmations."),
    "an empty purse": (
        '    wallet: "100 EURC"',
        "5: buyers.0.wallet: 100 EURC do not pay for one purchase: 100 YPS take a budget of "
        "101 EURC at the rate of the start, slippage 1 % included."),
    "upside down": (
        '    size: {model: uniform, low: "2 YPS", high: "1 YPS"}',
        "5: buyers.0.size.low: 2 YPS are more than high, 1 YPS."),
    "a spread of nothing": (
        '    size: {model: lognormal, low: "100 YPS", high: "100.5 YPS", sigma: 1 %}',
        "5: buyers.0.size.high: 100.5 YPS are less than 1 % above low; take model fixed"),
    "nothing to revoke": (
        "    kind: revokes\n    fund_by: permit",
        "6: buyers.0.fund_by: kind revokes cancels an ERC-3009 authorization; permit has none."),
    "after the end": (
        "    start: 10 min",
        "5: buyers.0.start: 600 s are not before duration, 600 s."),
    "too many": (
        "    arrivals: {every: 40 s}",
        "4: buyers.0.count: the last of 20 comes after 0 s + 19 × 40 s = 760 s, past duration, "
        "600 s."),
    "too many in the mean": (
        "    arrivals: {model: poisson, every: 40 s}",
        "the last of 20 comes in the mean after 0 s + 19 × 40 s = 760 s"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((f"{LEAST}{added}\n", told) for added, told in AGAINST.values()),
        *((f"{GROUP}{added}\n", told) for added, told in AGAINST_GROUP.values()),
    ],
    ids=[*AGAINST, *AGAINST_GROUP],
)
def test_what_contradicts_itself_is_told_with_its_arithmetic(text: str, told: str) -> None:
    (problem,) = problems(text)
    assert (f"x.yaml:{told}" if told[0].isdigit() else told) in problem


def test_just_enough_is_enough() -> None:
    """Each bound itself is allowed."""
    parse(LEAST + "chain: {finality: 59 blocks}\nfacilitator: {finality_timeout: 1 min}")
    parse(LEAST + "settle_within: 1203 s")
    parse(LEAST + "facilitator: {retries: 1197}")
    parse(GROUP + '    wallet: "101 EURC"\n    arrivals: {every: 30 s}\n    patience: 3 s')
    parse(GROUP + "    kind: walks\n    patience: 1 s")


# --- CSV ---

CSV = LEAST + "market:\n  path:\n    model: csv\n    file: rates.csv\n"


def test_a_csv_is_read_from_the_folder_of_its_file(tmp_path: Path) -> None:
    """Header, comments and empty lines are passed over; time begins with the first line."""
    text = "\ufefftime,rate\n# noted\n\n1000,1.10\n1060 , 1.10000001\n1700,0.9\n"
    (tmp_path / "rates.csv").write_text(text, encoding="utf-8")
    (tmp_path / "x.yaml").write_text(
        CSV.replace("rates.csv", "rates.csv\n    gaps: hold"), encoding="utf-8"
    )
    path = load(tmp_path / "x.yaml").market.path
    assert path.points == ((0, 110_000_000), (60, 110_000_001), (700, 90_000_000))
    assert path.start_e8 == 110_000_000


LINES: dict[str, tuple[str, str]] = {
    "columns": ("0,1.1\n60;1.1\n700,1.1", '2: "60;1.1" has 1 columns, and not two'),
    "time": ("0,1.1\nsoon,1.1\n700,1.1", '2: "soon,1.1" does not begin with whole seconds'),
    "fraction": ("0,1.1\n0.5,1.1\n700,1.1", '2: "0.5,1.1" does not begin with whole seconds'),
    "rate": ("0,1.1\n60,x\n700,1.1", '2: "60,x" has no decimal rate'),
    "digits": ("0,1.123456789\n700,1.1", '1: "0,1.123456789" has no decimal rate'),
    "scale": ("0,110\n700,1.1", '1: "0,110" has a rate out of bounds, 0.1 to 10'),
    "backwards": ("0,1.1\n60,1.1\n50,1.1\n100,1\n200,1\n300,1\n400,1\n500,1\n600,1",
                  "3: its time is not after that before (-10 s)."),
    "twice": ("0,1.1\n60,1.1\n60,1.1\n100,1\n200,1\n300,1\n400,1\n500,1\n600,1",
              "3: its time is not after that before (0 s)."),
    "gap": ("# x\n0,1.1\n100,1.1\n201,1\n300,1\n400,1\n500,1\n600,1",
            "4: a gap of 101 s, more than 10 steps × 10 s; mend it, or write `gaps: hold`"),
    "short": ("0,1\n100,1\n200,1\n300,1\n400,1\n500,1\n599,1",
              "7: ends after 599 s, and the scenario lasts 600 s."),
    "empty": ("# x\n", " holds no rate."),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), LINES.values(), ids=LINES)
def test_a_bad_line_of_a_csv_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(text, encoding="utf-8")
    (problem,) = problems(CSV, tmp_path)
    assert problem.startswith(f"{tmp_path}/rates.csv:{told}")


def test_a_csv_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    assert problems(CSV, tmp_path) == [f"{tmp_path}/rates.csv: there is no such file."]
    (tmp_path / "rates.csv").write_bytes(b"\xff\xfe\xfa")
    assert problems(CSV, tmp_path) == [f"{tmp_path}/rates.csv: cannot be read as UTF-8 text."]


# --- Files ---


def test_a_file_that_is_not_there_not_text_or_too_large_is_told(tmp_path: Path) -> None:
    def told(path: Path) -> str:
        with pytest.raises(ScenarioError) as caught:
            load(path)
        return caught.value.message

    assert "there is no such file" in told(tmp_path / "x.yaml")
    assert "there is no such file" in told(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff")
    assert "UTF-8" in told(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("#" * 1_000_001, encoding="utf-8")
    assert "is larger than 1,000,000 bytes" in told(tmp_path / "x.yaml")
    assert problems("#" * 1_000_001) == ["x.yaml: is larger than 1,000,000 bytes."]


OURS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_scenarios_are_sound_and_say_what_they_ask(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n# ")
    assert "?" in text.split("about:")[0]
    assert load(path).name == path.stem
    SCHEMA.validate(yaml.safe_load(text))


def test_the_scenarios_that_are_spoken_of_are_here() -> None:
    wanted = {"happy-path", "thin-liquidity", "crash-in-every-gap", "reorg-storm", "csv-market"}
    assert wanted <= {path.stem for path in OURS}


def test_the_example_of_the_guides_is_sound() -> None:
    (example,) = code_blocks(documents(), "yaml")
    assert parse(example.text).faults
    SCHEMA.validate(yaml.safe_load(example.text))


def test_the_kept_schema_is_current() -> None:
    """Else: workbench scenario schema > scenarios/schema.json"""
    assert schema_text() == (FOLDER / "schema.json").read_text(encoding="utf-8")
    SCHEMA.check_schema(schema_json())


@pytest.mark.parametrize(
    "name", ["no unit", "a quoted count", "an unknown field", "an unquoted amount",
             "another model's field", "a model without its field", "an unknown site",
             "a probability without %", "an unknown word", "a section for a value"],
)  # fmt: skip
def test_the_schema_sees_what_an_editor_can_see(name: str) -> None:
    data = yaml.safe_load(LEAST + WRONG[name][0])
    assert not SCHEMA.is_valid(data)
    assert SCHEMA.is_valid(yaml.safe_load(FULL))


# --- Other values for some fields ---


def test_settings_are_in_the_words_of_a_file() -> None:
    base = parse(FULL, "full.yaml")
    changed = override(
        base,
        {
            "chain.finality": "5 blocks",
            "seed": 9,
            "buyers.1.count": "4",
            "buyers.slippage": "2 %",
            "faults.chain.reorg.1.chance": "3 %",
            "faults.http.cut": "1 %",
            "faults.rpc.stale.range": "2 blocks",
            "faults.rpc.stale.chance": "7 %",
            "market.arbitrageur": "none",
            "seller.price_follows_market": False,
        },
    )
    assert (changed.chain.finality_blocks, changed.seed, changed.name) == (5, 9, "full")
    assert [group.count for group in changed.buyers] == [3, 4]
    assert [group.slippage_bps for group in changed.buyers] == [200, 200]
    assert [(each.site, each.chance_ppm, each.low) for each in changed.faults] == [
        ("http.lost", 100, 0),
        ("http.cut", 10_000, 0),
        ("rpc.stale", 70_000, 2),
        ("chain.reorg", 10_000, 1),
        ("chain.reorg", 30_000, 2),
    ]
    assert changed.market.arbitrageur is None
    assert not changed.seller.price_follows_market
    assert base == override(changed, words(base))


def test_faults_end_with_another_duration_too() -> None:
    base = parse(LEAST + "faults: {http.lost: 1 %, http.cut: {chance: 1 %, stop: 9 min}}")
    longer = override(base, {"duration": "20 min"})
    assert [fault.stop_s for fault in longer.faults] == [1_200, 540]
    assert not override(base, {"faults": "none"}).faults


def test_another_model_drops_what_only_the_former_had() -> None:
    base = parse(FULL)
    assert override(base, {"market.path.model": "constant"}).market.path == m.RatePath(
        start_e8=base.market.path.start_e8
    )
    fixed = override(base, {"buyers.0.size.model": "fixed", "buyers.0.size.amount": "7 YPS"})
    assert fixed.buyers[0].size == m.PurchaseSize(low_units=7 * 10**18, high_units=7 * 10**18)
    with pytest.raises(ScenarioError, match="has no meaning for model"):
        override(base, {"market.path.model": "constant", "market.path.jump": "1 %"})


def test_a_csv_keeps_its_points_under_another_setting(tmp_path: Path) -> None:
    base = load(FOLDER / "csv-market.yaml")
    assert override(base, {"seed": "5"}) == replace(base, seed=5)
    other = "0,1.2\n100,1.2\n200,1.2\n300,1.2\n400,1.2\n500,1.2\n600,1.2\n"
    (tmp_path / "o.csv").write_text(other, encoding="utf-8")
    changed = load(FOLDER / "csv-market.yaml", {"market.path.file": str(tmp_path / "o.csv")})
    assert changed.market.path.start_e8 == 120_000_000
    with pytest.raises(ScenarioError, match="the scenario lasts 660 s"):
        override(base, {"duration": "11 min"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("chain.finality", "5", 'override: chain.finality: "5" has no unit; write such as'),
        ("chain.finality", 5, 'override: chain.finality: "5" has no unit'),
        ("chain.finalty", "5 blocks", 'is an unknown field; did you mean "finality"?'),
        ("market.pool", 5, '"5" is not in quotes'),
        ("buyers.7.count", "5", "override: buyers.7.count: is no setting."),
        ("buyers.0.count.x", "5", "buyers.0.count: must be one value"),
        ("faults.http.lots.chance", "1 %", 'faults.http.lots: is an unknown site; did you mean'),
        ("faults.http", "1 %", "faults.http: is an unknown site"),
        ("", "5", "is an unknown field"),
        ("name", "x", "override: name: is an unknown field"),
        ("seed", None, "override: seed: has no value"),
        ("seed", 10**400, "is not a whole number"),
        ("seed", 1.5, '"1.5" is not a whole number'),
        ("about", "\ud800", "holds half a character"),
        ("duration", "1 d", "override: settle"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_told(name: str, value: Any, told: str) -> None:
    base = parse(FULL)
    settings = {name: value} | ({"seller.swap_window": "2 h"} if name == "duration" else {})
    with pytest.raises(ScenarioError) as caught:
        override(base, settings)
    assert told in caught.value.message


def test_settings_of_the_command_line() -> None:
    given_ = ("chain.finality=5 blocks", "about=a = b", " seed = 3 ")
    assert assignments(given_) == {"chain.finality": "5 blocks", "about": "a = b", "seed": "3"}
    with pytest.raises(ScenarioError, match=r'--set: "seed" is no setting; write such as chain'):
        assignments(("seed", "=5"))


# --- There and back ---


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


# --- The commands ---

COMMAND = [str(Path(sys.executable).with_name("workbench")), "scenario"]


def run(*arguments: str, cwd: Path = FOLDER.parent) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_check_reads_every_file_and_tells_everything(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(LEAST, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(LEAST + "sed: 1\nplant: x\n", encoding="utf-8")
    done = run("check", "bad.yaml", "good.yaml", "none.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "good.yaml: ok, 2 buyers, 10 min\n"
    assert done.stderr.splitlines() == [
        'bad.yaml:5: sed: is an unknown field; did you mean "seed"?',
        f'bad.yaml:6: plant: "x" is not known; known are {", ".join(PLANTS)}, none.',
        "none.yaml: there is no such file.",
    ]
    told = json.loads(run("check", "bad.yaml", "good.yaml", "--json", cwd=tmp_path).stdout)
    assert told["status"] == "failed"
    assert [len(each["problems"]) for each in told["files"]] == [2, 0]
    assert told["files"][0]["problems"][0] == {
        "where": "bad.yaml:5",
        "field": "sed",
        "message": 'is an unknown field; did you mean "seed"?',
        "text": 'bad.yaml:5: sed: is an unknown field; did you mean "seed"?',
    }
    settled = run("check", "good.yaml", "--set", "chain.finality=5 blocks", "--json", cwd=tmp_path)
    assert (settled.returncode, json.loads(settled.stdout)["status"]) == (0, "ok")


def test_show_prints_a_scenario_file_with_every_default(tmp_path: Path) -> None:
    shown = run("show", "scenarios/happy-path.yaml", "--set", "seed=8")
    assert shown.returncode == 0
    base = load(FOLDER / "happy-path.yaml")
    assert parse(shown.stdout, "happy-path.yaml") == replace(base, seed=8)
    told = json.loads(run("show", "scenarios/happy-path.yaml", "--json").stdout)
    values = told.pop("values")
    assert Scenario.from_json(told) == base
    assert values["chain"]["block_time_ms"] == 2_000
    failed = run("show", "scenarios/happy-path.yaml", "--json", "--set", "seed=x")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"] == "scenario_invalid"
    assert '--set: seed: "x" is not a whole number' in failed.stderr


def test_list_names_the_questions_and_schema_prints_the_kept_one(tmp_path: Path) -> None:
    listed = json.loads(run("list", "--json").stdout)["files"]
    assert [each["file"] for each in listed] == [f"scenarios/{path.name}" for path in OURS]
    assert all(each["about"] and not each["problems"] for each in listed)
    assert run("list").stdout.count(": ok, ") == len(OURS)
    empty = run("list", cwd=tmp_path)
    assert empty.returncode == 1
    assert "scenarios holds no scenario file." in empty.stderr
    assert run("schema").stdout == (FOLDER / "schema.json").read_text(encoding="utf-8")

"""Wrong scenario files: every problem is reported with its line and field."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.scenario.files import FULL, LEAST, SCHEMA, WRONG, problems
from workbench.core.errors import ScenarioError
from workbench.scenario import (
    load,
    parse,
    words,
)
from workbench.scenario import model as m


@pytest.mark.parametrize(
    "name", ["no unit", "a quoted count", "an unknown field", "an unquoted amount",
             "another model's field", "a model without its field", "an unknown site",
             "a probability without %", "an unknown word", "a section for a value"],
)  # fmt: skip
def test_the_schema_sees_what_an_editor_can_see(name: str) -> None:
    data = yaml.safe_load(LEAST + WRONG[name][0])
    assert not SCHEMA.is_valid(data)
    assert SCHEMA.is_valid(yaml.safe_load(FULL))


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

"""Tables as readers see them: exact, short, with units, and nothing where nothing is known."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tests.facts import happy, journal, one_of_each, pending
from workbench import Run
from workbench.core.invariants import ObservedBalance
from workbench.core.money import EURC, parse_decimal
from workbench.notebook.tables import amount, readable


def test_settlements_have_units() -> None:
    """Money with its token, hashes short, counts with thousands apart."""
    row = readable(Run(tuple(happy())).settlements()).iloc[0]
    assert ("100 YPS", "110 USDC", "101 EURC") == tuple(
        row[["asset_amount", "required_usdc", "max_eurc"]]
    )
    assert "100.301504 EURC" == row.eurc_spent
    assert "778,531" == row.gas_total
    assert len(row.id) == 11


def test_what_is_not_known_is_empty() -> None:
    """Never NaN, None or <NA>; integers beside a hole stay integers."""
    run = Run(tuple(pending()))
    assert "" == readable(run.settlements()).iloc[0].eurc_returned
    timeline = readable(run.timeline())
    assert ["", "41", "42", "43"] == [timeline.block.iloc[n] for n in (0, 2, 3, 4)]
    assert "00:00:00.000" == timeline.start.iloc[0]
    every = readable(Run((*journal(9), *one_of_each())).facts)
    words = {str(cell) for name in every for cell in every[name]}
    assert not words & {"nan", "None", "<NA>"}


def test_balances_take_the_unit_of_their_row() -> None:
    """And signs stay where they are."""
    seen = (
        ObservedBalance("buyer", "EURC", 10**13, 10**13 - 1),
        ObservedBalance("buyer", "XYZ", 0, 1234),
    )
    table = readable(Run((), seen).balances())
    assert ["10,000,000 EURC", "9,999,999.999999 EURC", "-0.000001 EURC"] == list(
        table.iloc[0][["before", "after", "change"]]
    )
    assert "1,234" == table.iloc[1].change


def test_buyers_have_times_of_day_and_durations() -> None:
    """When somebody ended is a time of day, how long it took is not; an empty name is a cell."""
    row = readable(Run((*happy(),)).buyers()).iloc[0]
    assert ("00:00:08.000", "8,000", "yes", "executed") == tuple(
        row[["ended", "took_ms", "came", "outcome"]]
    )


@given(st.integers(-(10**39), 10**39))
def test_no_digit_is_lost(units: int) -> None:
    """The text is the very number."""
    text = amount(units, EURC).removesuffix(" EURC").replace(",", "")
    value = parse_decimal(text.removeprefix("-"), 6)
    assert units == (-value if text.startswith("-") else value)


def test_figures_take_the_unit_of_their_row() -> None:
    """Seconds, basis points, tokens, ether and gas; hashes inside a text are short, too."""
    metrics = Run(tuple(happy())).metrics()
    table = readable(metrics).set_index(["group", "name"])
    assert "30.15 bp" == table.p50["cost", "against mid"]
    assert "0.301504 EURC" == table.p50["cost", "above mid"]
    assert "100 YPS" == table.total["seller", "delivered"]
    assert "0.0002646" in table.total["seller", "gas"]
    assert table.total["seller", "gas"].endswith(" ETH")
    assert "778,531 gas" == table.p99["gas", "per settlement"]
    assert table.p50["latency", "final"].endswith(".000 s")
    text = f"seller/settlement/{'0x' + 'ab' * 32}"
    assert "seller/settlement/0xabab…abab" == readable(pd.DataFrame({"x": [text]})).x[0]

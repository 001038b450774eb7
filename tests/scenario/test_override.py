"""Settings that override a scenario file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.files import FOLDER, FULL, LEAST
from workbench.core.errors import ScenarioError
from workbench.scenario import (
    assignments,
    load,
    override,
    parse,
    words,
)
from workbench.scenario import model as m


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

"""Run folders: kept whole, loaded whole; what is older or damaged is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.facts import GENESIS_MS, address, happy, journal, pending
from tests.strategies import facts, uint256
from workbench import Run
from workbench.core import invariants
from workbench.core.errors import RunDamaged, StoreError
from workbench.core.facts import BuyerPlanned, Event, FaultInjected, InvariantBroken, MarketMoved
from workbench.core.invariants import ObservedBalance
from workbench.core.invariants import journal as journal_rules
from workbench.core.purchase import Purchase
from workbench.results.run_folder import FORMAT
from workbench.scenario import load, parse

ROOT = Path(__file__).resolve().parents[2]
STORM = load(ROOT / "scenarios" / "storm.yaml")
ID = happy()[1].subject
PURCHASE = Purchase(ID, "executed", 10**20, 110_000_000, 101_000_000, 100_301_504, "")
BALANCES = (
    ObservedBalance("buyer", "YPS", 0, 10**20),
    ObservedBalance("seller", "USDC", 0, 110_000_000),
)

runs = st.builds(
    Run,
    events=st.lists(facts, max_size=8).map(tuple),
    balances_seen=st.lists(
        st.builds(ObservedBalance, st.text(max_size=5), st.text(max_size=5), uint256, uint256),
        max_size=3,
    ).map(tuple),
    purchase=st.none() | st.just(PURCHASE),
    chain_id=st.integers(1, 10**12),
    scenario=st.none() | st.just(STORM),
    seed=st.integers(0, 2**63 - 1),
    finished=st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(runs)
def test_what_is_kept_is_loaded(run: Run) -> None:
    """Whatever the facts, whatever made it; its name is that of what happened."""
    with TemporaryDirectory() as folder:
        run.save_facts(folder)
        again = Run.load(folder)
    assert run == again
    assert (run.trace_hash, run.name) == (again.trace_hash, again.name)


def test_a_saved_run_has_all_its_views(tmp_path: Path) -> None:
    """Facts twice, the chart twice."""
    Run(tuple(journal(8)), chain_id=1, scenario=STORM).save(tmp_path / "a" / "b")
    assert {
        "balances.json",
        "events.jsonl",
        "events.parquet",
        "run.json",
        "timeline.html",
        "timeline.png",
    } == {path.name for path in (tmp_path / "a" / "b").iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that is all right."""
    return Run(tuple(happy()), BALANCES, PURCHASE, 31337, STORM, 7).save(tmp_path)


@pytest.mark.parametrize("other", [FORMAT - 2, FORMAT + 1, None])
def test_another_format_is_refused_by_name(folder: Path, other: int | None) -> None:
    """Older, newer, and none at all."""
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**about, "format": other}), encoding="utf-8")
    with pytest.raises(StoreError, match=f"is of format {other}; this version reads {FORMAT}"):
        Run.load(folder)


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "balances.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"[1]", b'{"format": 2}'])
def test_what_is_damaged_is_named(folder: Path, name: str, content: bytes) -> None:
    """Never anything but a StoreError; no balances are those of a run that kept none."""
    (folder / name).write_bytes(content)
    if (name, content) == ("balances.json", b"[]"):
        assert Run.load(folder).chain_id == 31337
        return
    with pytest.raises(StoreError) as caught:
        Run.load(folder)
    assert "run.json" in str(caught.value) or name in str(caught.value)


def test_a_damaged_line_is_named_by_its_number(folder: Path) -> None:
    """And a missing file by its name."""
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "events.jsonl").write_text(
        "\n".join([*lines[:4], lines[4][:-9], *lines[5:]]), encoding="utf-8"
    )
    with pytest.raises(StoreError, match=r"events.jsonl, line 5, is missing or damaged"):
        Run.load(folder)
    (folder / "run.json").unlink()
    with pytest.raises(StoreError, match=r"is no run folder: run.json is missing"):
        Run.load(folder)


@pytest.mark.parametrize("edit", ["a line less", "another number", "a space", "another hash"])
def test_facts_that_were_edited_are_not_taken_for_the_run(folder: Path, edit: str) -> None:
    """However sound each line may be: `trace_hash` says what was saved."""
    text = (folder / "events.jsonl").read_text(encoding="utf-8")
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    edited = {
        "a line less": text[: text.rindex("\n", 0, -1) + 1],
        "another number": text.replace('"at_ms":', '"at_ms":1', 1),
        "a space": text.replace(":", ": ", 1),
    }
    (folder / "events.jsonl").write_text(edited.get(edit, text), encoding="utf-8")
    if edit == "another hash":
        (folder / "run.json").write_text(
            json.dumps(about | {"trace_hash": "00" * 32}), encoding="utf-8"
        )
    with pytest.raises(RunDamaged, match=r"events\.jsonl is not as it was saved") as caught:
        Run.load(folder)
    assert "run_damaged" == caught.value.code


def test_invariants_are_those_of_the_facts_and_of_the_checker() -> None:
    """A scenario's run lists what was asked after each block; what was found broken says so."""
    plain = Run(tuple(happy()), BALANCES, PURCHASE).invariants()
    rules = [rule.__name__ for rule in journal_rules.RULES]
    assert [*rules, "balances_reconcile"] == list(plain.invariant)
    assert plain.holds.all()
    wrong = replace(BALANCES[0], after=1)
    told = Run(tuple(happy()), (wrong,), PURCHASE).invariants().set_index("invariant")
    assert "buyer's YPS changed by 1" in told.problems["balances_reconcile"]
    broken = InvariantBroken(
        subject=ID, at_ms=1, source="simulator", invariant="one_end_at_most", message="both"
    )
    told = Run((*happy(), broken), scenario=STORM).invariants().set_index("invariant")
    asked = {each.__name__ for each in (*invariants.INVARIANTS, *invariants.PAYOUT_INVARIANTS)}
    assert asked | set(rules) == set(told.index)
    assert ["one_end_at_most"] == list(told.index[~told.holds])
    assert "both" == told.problems["one_end_at_most"]


def test_a_kept_scenario_as_a_file_is_the_same_scenario() -> None:
    """As the notebook shows it."""
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        scenario = load(path)
        text = yaml.safe_dump(scenario.to_json()["scenario"], default_flow_style=None)
        again = parse(text, path.as_posix(), path.parent)
        assert replace(again, name=scenario.name) == scenario, path.name


# --- One origin -----------------------------------------------------------------------------------

BY_US: dict[str, Any] = {"source": "simulator", "block": None}
PLANNED = BuyerPlanned(subject="buyer-0-0", at_ms=GENESIS_MS - 5_000, kind="honest",
                       address=address("buyer", 0), comes_ms=GENESIS_MS, units=1,
                       **BY_US)  # fmt: skip
MOVED = MarketMoved(subject="", at_ms=GENESIS_MS - 3_000, usdc_per_eurc_e8=11 * 10**7, **BY_US)
FAULT = FaultInjected(subject="", at_ms=GENESIS_MS + 2_500, site="http.cut", target="x",
                      parameter=0, **BY_US)  # fmt: skip


def test_the_origin_of_a_run() -> None:
    """Where the buyers were ordered; else where the market was told; else the first fact."""
    told: tuple[Event, ...] = tuple(happy())
    assert GENESIS_MS - 5_000 == Run((MOVED, PLANNED, *told)).origin_ms
    assert GENESIS_MS - 3_000 == Run((FAULT, *told, MOVED)).origin_ms
    assert GENESIS_MS == Run(told).origin_ms
    assert 0 == Run(()).origin_ms


def places(axes: Any, marker: str) -> list[float]:
    """The seconds at which an axes has marks of this shape."""
    lines = [line for line in axes.get_lines() if line.get_marker() == marker]
    return sorted(float(x) for line in lines for x in line.get_xdata())


def test_all_charts_of_a_run_share_one_origin(tmp_path: Path) -> None:
    """The same swap, fault and delivery stand at the same second everywhere."""
    run = Run((PLANNED, MOVED, FAULT, *happy(), *pending(1, GENESIS_MS + 1_000)))
    full, lanes, ended, price = (
        chart.figure for chart in (run.chart(), run.lanes(), run.outcome_chart(), run.price_chart())
    )
    assert {"seconds since the start"} == {
        figure.axes[-1].get_xlabel() for figure in (full, lanes, ended, price)
    }
    fault, swap, delivery = 5 + 2.5, 5 + 3.0, 5 + 8.0
    assert [fault] == places(ended.axes[-1], "|")
    assert {0.0, 2.0, fault, swap, delivery} <= set(places(full.axes[-1], "o"))
    assert swap == places(price.axes[0], "o")[0] == places(price.axes[-1], "o")[0]
    assert delivery in places(full.axes[0], "o")
    assert delivery in places(lanes.axes[0], "o")
    (bar,) = ended.axes[0].containers[0]
    assert abs(delivery - bar.get_x()) < 0.25, "in its bin"
    run.save_views(tmp_path)
    page = (tmp_path / "timeline.html").read_text(encoding="utf-8")
    assert "FaultInjected\nat 7.500 s" in page
    assert "seconds since the start" in page


def test_a_run_without_a_scenario_counts_from_its_first_fact() -> None:
    """And says so, below each chart."""
    run = Run(tuple(happy()))
    for chart in (run.chart(), run.lanes(), run.outcome_chart(), run.price_chart()):
        assert "seconds since the first fact" == chart.figure.axes[-1].get_xlabel()

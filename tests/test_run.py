"""Run folders: kept whole, loaded whole; what is older or damaged is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tests.hypothesis_profile  # noqa: F401 - loads the profile
from tests.facts import happy, journal
from tests.strategies import facts, uint256
from workbench import Run
from workbench.core import audit, review
from workbench.core.audit import Balance
from workbench.core.errors import RunDamaged, StoreError
from workbench.core.events import InvariantBroken
from workbench.run import FORMAT
from workbench.scenario import load, parse
from workbench.services.buyer import Purchase

ROOT = Path(__file__).resolve().parent.parent
STORM = load(ROOT / "scenarios" / "storm.yaml")
ID = happy()[1].subject
PURCHASE = Purchase(ID, "executed", 10**20, 110_000_000, 101_000_000, 100_301_504, "")
BALANCES = (Balance("buyer", "YPS", 0, 10**20), Balance("seller", "USDC", 0, 110_000_000))

runs = st.builds(
    Run,
    events=st.lists(facts, max_size=8).map(tuple),
    balances_seen=st.lists(
        st.builds(Balance, st.text(max_size=5), st.text(max_size=5), uint256, uint256), max_size=3
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


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1, None])
def test_another_format_is_refused_by_name(folder: Path, other: int | None) -> None:
    """Older, newer, and none at all."""
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, "format": other}))
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
    with pytest.raises(StoreError) as told:
        Run.load(folder)
    assert "run.json" in str(told.value) or name in str(told.value)


def test_a_damaged_line_is_named_by_its_number(folder: Path) -> None:
    """And a missing file by its name."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join([*lines[:4], lines[4][:-9], *lines[5:]]))
    with pytest.raises(StoreError, match=r"events.jsonl, line 5, is missing or damaged"):
        Run.load(folder)
    (folder / "run.json").unlink()
    with pytest.raises(StoreError, match=r"is no run folder: run.json is missing"):
        Run.load(folder)


@pytest.mark.parametrize("edit", ["a line less", "another number", "a space", "another hash"])
def test_facts_that_were_edited_are_not_taken_for_the_run(folder: Path, edit: str) -> None:
    """However sound each line may be: `trace_hash` says what was saved."""
    text = (folder / "events.jsonl").read_text()
    about = json.loads((folder / "run.json").read_text())
    edited = {
        "a line less": text[: text.rindex("\n", 0, -1) + 1],
        "another number": text.replace('"at_ms":', '"at_ms":1', 1),
        "a space": text.replace(":", ": ", 1),
    }
    (folder / "events.jsonl").write_text(edited.get(edit, text))
    if edit == "another hash":
        (folder / "run.json").write_text(json.dumps(about | {"trace_hash": "00" * 32}))
    with pytest.raises(RunDamaged, match=r"events\.jsonl is not as it was saved") as told:
        Run.load(folder)
    assert "run_damaged" == told.value.code


def test_invariants_are_those_of_the_facts_and_of_the_checker() -> None:
    """A scenario's run lists what was asked after each block; what was found broken says so."""
    plain = Run(tuple(happy()), BALANCES, PURCHASE).invariants()
    rules = [rule.__name__ for rule in review.RULES]
    assert [*rules, "balances_reconcile"] == list(plain.invariant)
    assert plain.holds.all()
    wrong = replace(BALANCES[0], after=1)
    told = Run(tuple(happy()), (wrong,), PURCHASE).invariants().set_index("invariant")
    assert "buyer's YPS changed by 1" in told.problems["balances_reconcile"]
    broken = InvariantBroken(
        subject=ID, at_ms=1, source="simulator", invariant="one_end_at_most", message="both"
    )
    told = Run((*happy(), broken), scenario=STORM).invariants().set_index("invariant")
    asked = {each.__name__ for each in (*audit.INVARIANTS, *audit.PAYOUT_INVARIANTS)}
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

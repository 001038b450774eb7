"""Frames tell exactly what the facts say: every fact, exact integers, no fact counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pytest

from tests import facts as made
from workbench.core import facts as ev
from workbench.core.settlement import fold
from workbench.results import frames

HAPPY = [
    "requested",
    "authorized",
    "created",
    "funded",
    "swapped",
    "final",
    "executed",
    "delivered",
]
LIVES = {
    "happy": made.happy(),
    "pending": made.pending(),
    "refunded": made.refunded(),
    "rejected": made.rejected(),
    "reorged": made.reorged(),
    "journal": made.journal(30),
}


@pytest.fixture
def unheard_of() -> Iterator[type[ev.Event]]:
    """A class somebody adds to core/events.py later."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class MoonRisen(ev.Event):
        phase: int
        notes: str

    yield MoonRisen
    del ev.Event.kinds["MoonRisen"]


def stage_names(frame: pd.DataFrame, subject: str) -> list[Any]:
    return list(frame.loc[frame["subject"] == subject, "stage"])


def test_every_kind_of_fact_is_a_row() -> None:
    """Whatever core/events.py holds, with all of its own fields."""
    facts = made.one_of_each()
    frame = frames.events_frame(facts)
    assert list(frame["type"]) == list(ev.Event.kinds)
    for fact, detail in zip(facts, frame["detail"], strict=True):
        shared = {name: getattr(fact, name) for name in ("subject", "at_ms", "source", "block")}
        assert ev.to_dict(fact) == {"type": fact.type, **shared, **detail}


def test_a_new_kind_of_fact_needs_no_edit(unheard_of: type[ev.Event]) -> None:
    """It is a row of its own, and disturbs no settlement."""
    more: dict[str, Any] = {"phase": 10**30, "notes": "full"}
    new = unheard_of(subject=made.Story().id, at_ms=made.GENESIS_MS + 10, source="sky", **more)
    facts = [*made.happy(), new]
    last = frames.events_frame(facts).iloc[-1]
    assert (last["type"], last["detail"]) == ("MoonRisen", more)
    pd.testing.assert_frame_equal(frames.timeline_frame(facts), frames.timeline_frame(facts[:-1]))


def test_events_keep_their_order_and_their_number() -> None:
    frame = frames.events_frame(made.happy())
    assert list(frame.index) == list(range(1, len(made.happy()) + 1))
    assert frame.index.name == "seq"


def test_facts_of_an_orphaned_block_do_not_stand() -> None:
    facts = made.reorged()
    frame = frames.events_frame(facts)
    assert [f for f, stands in zip(facts, frame["stands"], strict=True) if stands] == (
        ev.canonical(facts)
    )
    assert not frame["stands"].all()


def test_the_stages_of_a_whole_life() -> None:
    frame = frames.timeline_frame(made.happy())
    assert list(frame["stage"]) == HAPPY
    assert list(frame["took_ms"].dropna()) == [184, 816, 1000, 1000, 2000, 1000, 2000]
    assert list(frame["after_ms"]) == [0, 184, 816, 1000, 1000, 2000, 1000, 2000]
    assert frame["end_ms"].isna().tolist() == [False] * 7 + [True]
    assert list(frame["seconds"]) == [n / 1000 for n in frame["after_ms"]], "as charts show it"
    on_chain = frame.dropna(subset=["tx"])
    assert list(on_chain["stage"]) == ["created", "funded", "swapped", "executed"]
    acts = ("createSettlement", "fund", "executeSwap", "executeSettlement")
    assert list(on_chain["gas"]) == [made.GAS[act] for act in acts]
    assert list(on_chain["block"]) == [41, 42, 43, 46]


@pytest.mark.parametrize("name", LIVES)
def test_stages_are_those_of_the_fold(name: str) -> None:
    """The frame and core/settlement.py agree, settlement by settlement."""
    facts = LIVES[name]
    frame = frames.timeline_frame(facts)
    for settlement in fold(facts).values():
        states = [entered.state.value for entered in settlement.entered]
        assert stage_names(frame, settlement.id) == ["requested", *states]
    table = frames.settlements_frame(facts)
    assert set(table["id"]) == set(fold(facts))
    for row in table.to_dict("records"):
        settlement = fold(facts)[str(row["id"])]
        assert (row["state"], row["status"]) == (settlement.state.value, settlement.status)
        for amount in ("asset_amount", "required_usdc", "max_eurc", "eurc_spent"):
            assert row[amount] == getattr(settlement, amount)


@pytest.mark.parametrize("name", LIVES)
def test_columns_never_turn_to_float(name: str) -> None:
    """Also where values are missing, and where there is no row at all."""
    for facts in (LIVES[name], []):
        timeline, table = frames.timeline_frame(facts), frames.settlements_frame(facts)
        for column in ("end_ms", "took_ms", "block", "gas"):
            assert str(timeline[column].dtype) == "Int64"
        for column in ("asset_amount", "required_usdc", "max_eurc", "eurc_spent", "eurc_returned"):
            assert table[column].dtype == object
            assert {type(value) for value in table[column]} <= {int, type(None)}
        assert str(frames.events_frame(facts)["block"].dtype) == "Int64"


def test_amounts_are_exact_beyond_64_bits() -> None:
    amount = 10**40 + 1
    table = frames.settlements_frame(made.happy(asset_amount=amount))
    assert table["asset_amount"].item() == amount
    assert table["required_usdc"].item() == amount * made.REQUIRED_USDC // made.ASSET_AMOUNT


def test_what_a_settlement_came_to() -> None:
    done = frames.settlements_frame(made.happy()).iloc[0]
    assert done["gas_total"] == sum(made.GAS[a] for a in made.GAS if a != "refund")
    assert (done["seconds_total"], done["blocks"]) == (8.0, 5)
    assert (done["eurc_spent"], done["eurc_returned"]) == (100_301_504, 698_496)
    back = frames.settlements_frame(made.refunded()).iloc[0]
    assert (back["status"], back["reason"]) == ("refunded", "insufficient_output")
    assert (back["eurc_spent"], back["eurc_returned"]) == (None, made.MAX_EURC)


@pytest.mark.parametrize("name", LIVES)
def test_several_journals_of_the_same_facts_count_once(name: str) -> None:
    """Seller, facilitator and tracker each have the chain's facts; only the teller differs."""
    facts = LIVES[name]
    chain = [replace(f, source="watcher of another") for f in facts if f.block]
    orphaned = [f for f in facts if isinstance(f, ev.BlockOrphaned)]
    if not orphaned:
        for merged in (
            facts + chain,
            chain + facts,
            [f for pair in zip(facts, facts, strict=True) for f in pair],
        ):
            pd.testing.assert_frame_equal(
                frames.timeline_frame(facts), frames.timeline_frame(merged)
            )
            pd.testing.assert_frame_equal(
                frames.settlements_frame(facts), frames.settlements_frame(merged)
            )
            assert len(frames.distinct(merged)) == len(facts)
    twice = facts + facts
    pd.testing.assert_frame_equal(frames.timeline_frame(facts), frames.timeline_frame(twice))
    pd.testing.assert_frame_equal(frames.settlements_frame(facts), frames.settlements_frame(twice))


def test_journals_need_not_interleave() -> None:
    """All of the seller's facts, then all of the facilitator's: the same life."""
    facts = made.happy()
    order = sorted(facts, key=lambda f: f.source)
    assert [f.type for f in order] != [f.type for f in facts]
    pd.testing.assert_frame_equal(frames.timeline_frame(facts), frames.timeline_frame(order))


def test_a_block_that_comes_back_counts_anew() -> None:
    """Orphaned and mined again as it was: what stands is what came last."""
    facts = made.pending()
    block = next(f.block for f in facts if isinstance(f, ev.SettlementSwapped))
    assert block is not None
    lost = ev.BlockOrphaned(subject=block.hash, number=block.number, at_ms=1, source="watcher")
    again = [f for f in facts if f.block and f.block.hash == block.hash]
    assert stage_names(frames.timeline_frame([*facts, lost]), facts[1].subject)[-1] == "funded"
    back = frames.timeline_frame([*facts, lost, *again])
    assert stage_names(back, facts[1].subject)[-1] == "swapped"
    assert len(frames.distinct([*facts, lost, *again])) == len(facts) + 1 + len(again)


def test_one_torn_settlement_leaves_the_others_whole() -> None:
    """Its creation was orphaned and something later was not: the others are still drawn."""
    torn = [f for f in made.happy(1) if not isinstance(f, ev.SettlementFunded)]
    frame = frames.timeline_frame(torn + made.happy(2))
    assert stage_names(frame, made.Story(1).id) == HAPPY[:3]
    assert stage_names(frame, made.Story(2).id) == HAPPY


def test_time_never_runs_backwards() -> None:
    """A block's whole second may lie before the millisecond of the act that led to it."""
    facts = [
        replace(f, at_ms=f.at_ms - 1000) if isinstance(f, ev.SettlementCreated) else f
        for f in made.happy()
    ]
    frame = frames.timeline_frame(facts)
    assert frame["start_ms"].is_monotonic_increasing
    assert frame["took_ms"].dropna().min() == 0


def test_stages_for_json() -> None:
    """The keys of `workbench demo --json`, exactly."""
    stages = frames.stages(made.happy(), made.Story().id)
    assert [stage["name"] for stage in stages] == HAPPY
    assert {tuple(stage) for stage in stages} == {("name", "block", "tx", "gas", "seconds")}
    assert [stage["seconds"] for stage in stages] == [0.0, 0.184, 0.816, 1.0, 1.0, 2.0, 1.0, 2.0]
    kinds = {key: {type(stage[key]) for stage in stages} for key in stages[0]}
    assert kinds["block"] == kinds["gas"] == {int, type(None)}
    assert kinds["tx"] == {str, type(None)}
    assert frames.stages(made.happy(), made.digest("somebody else")) == []


def test_no_facts_give_empty_frames() -> None:
    for frame in (frames.events_frame([]), frames.timeline_frame([]), frames.settlements_frame([])):
        assert frame.empty
        assert len(frame.columns) > 5

"""Lanes on the wire: decoded as the protocol says, and compared with the model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests import facts
from tests.facts import GENESIS_MS, Story
from tests.lane_facts import fault, gave_up, lanes_of, payout, planned
from workbench.core import facts as ev
from workbench.core import lifecycle
from workbench.core.errors import RunDamaged
from workbench.core.lanes.model import Lanes
from workbench.core.lanes.segments import LaneSegment
from workbench.lab import encoding
from workbench.lab.states import (
    SERVICES,
    SITES,
    SourceSetup,
    SourceState,
    SourceText,
    setup_of,
    text_of,
)
from workbench.scenario import FAULT_SITES, load

ORIGIN_MS = GENESIS_MS - 10_000


@dataclass
class Wired:
    """One lane as a reader of the protocol has it; times in ms since the origin, None for NaN."""

    lane: int
    outcome: str
    planned_ms: float | None
    asked_ms: float | None
    end_ms: float | None
    delivered_ms: float | None
    segments: list[tuple[int, float, float | None, int]] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)


def decoded(buffer: bytes) -> list[Wired]:
    """Run after run of numbers, until the buffer is used up."""
    numbers = np.frombuffer(buffer, dtype="<f8").tolist()
    wired = []
    at = 0

    def take(count: int) -> list[Any]:
        nonlocal at
        at += count
        return [None if math.isnan(each) else each for each in numbers[at - count : at]]

    while at < len(numbers):
        lane, outcome, *times = take(6)
        each = Wired(int(lane), lifecycle.OUTCOMES[int(outcome)].word, *times)
        for _ in range(int(take(1)[0])):
            stage, from_ms, to_ms, flags = take(4)
            each.segments.append((int(stage), from_ms, to_ms, int(flags)))
        each.lost = take(int(take(1)[0]))
        wired.append(each)
    return wired


def since(at_ms: int | None) -> float | None:
    return None if at_ms is None else float(at_ms - ORIGIN_MS)


def on_wire(segment: LaneSegment) -> tuple[int, float | None, float | None, int]:
    taken = int(segment.taken_back)
    return (segment.stage, since(segment.from_ms), since(segment.to_ms), taken)


def storm() -> Lanes:
    """Executed, taken back, refunded, rejected, given up, not come, a payout, a lost message."""
    return lanes_of(
        [planned(n, n) for n in range(4)],
        planned("late", 500),
        facts.happy(0, GENESIS_MS + 100_000),
        facts.reorged(1),
        facts.refunded(2),
        gave_up(3, 9, "terms_mismatch"),
        facts.rejected("alone"),
        payout(1),
        fault("http.lost", 2, Story(1).id),
    )


def test_each_lane_is_the_models_own() -> None:
    """Numbers and times, segment by segment."""
    lanes = storm()
    message, (buffer,) = encoding.lanes_message(lanes, range(len(lanes)), True, origin_ms=ORIGIN_MS)
    assert (message["kind"], message["reset"], message["lanes"]) == ("lanes", True, 7)
    wired = decoded(buffer)
    assert [each.lane for each in wired] == list(range(7))
    for each, lane in zip(wired, lanes, strict=True):
        assert each.outcome == lane.outcome
        times = (lane.planned_ms, lane.asked_ms, lane.end_ms, lane.delivered_ms)
        found = (each.planned_ms, each.asked_ms, each.end_ms, each.delivered_ms)
        assert found == tuple(since(at) for at in times)
        assert each.segments == [on_wire(segment) for segment in lane.segments]
        assert each.lost == [since(at) for at in lane.lost]
    assert sum(flags for each in wired for *_, flags in each.segments) == 1
    assert [len(each.lost) for each in wired] == [0, 1, 0, 0, 0, 0, 0]


def test_texts_are_sent_where_they_changed() -> None:
    """Name, amount, note, id, and whether it is a payout; a reset sends all again."""
    lanes = storm()
    known: dict[int, encoding.LaneText] = {}

    def names(which: list[int], reset: bool) -> list[Any]:
        sent, _ = encoding.lanes_message(lanes, which, reset, origin_ms=ORIGIN_MS, known=known)
        return list(sent["names"])

    every = list(range(len(lanes)))
    assert names(every, True) == [
        [lane.number, lane.name, lane.amount, lane.note, lane.who, int(lane.is_payout)]
        for lane in lanes
    ]
    assert names(every, False) == []
    lanes.add([gave_up("late", 600, "out_of_time")])
    assert names([4], False) == [[4, "5", "100.0 YPS", "run ended before", "", 0]]
    assert len(names(every, True)) == 7


def test_who_comes_later_is_not_drawn() -> None:
    """The outcome says so, and there is no segment yet."""
    lanes = storm()
    now_ms = GENESIS_MS + 100_000
    _, (buffer,) = encoding.lanes_message(lanes, [4], False, origin_ms=ORIGIN_MS, now_ms=now_ms)
    (wired,) = decoded(buffer)
    assert (wired.outcome, wired.segments) == ("not_come", [])
    assert wired.planned_ms == since(GENESIS_MS + 500_000)


def test_an_execution_is_an_end_where_nothing_more_can_come() -> None:
    """A run that ended between execution and delivery."""
    lanes = lanes_of(facts.happy()[:-1])
    ends = []
    for is_over in (False, True):
        _, (buffer,) = encoding.lanes_message(
            lanes, [0], False, origin_ms=ORIGIN_MS, is_over=is_over
        )
        ends.append(decoded(buffer)[0].end_ms)
    assert ends == [None, since(lanes.lane(0).executed_ms)]


def test_marks_are_rows_of_four() -> None:
    """Type, time, value, and whether a person ordered it; services and sites by their place."""
    told = [
        ev.MarketMoved(subject="", at_ms=GENESIS_MS, source="s", usdc_per_eurc_e8=110_000_000),
        fault("crash.facilitator", 5, source="hand"),
        ev.ServiceRestarted(subject="", at_ms=GENESIS_MS, source="s", target="tracker"),
        fault("crash.payouts", 6),
        ev.FaultOrdered(
            subject="", at_ms=GENESIS_MS, source="hand", site="fee.spike", parameter=0, passes=1,
            target="",
        ),
    ]  # fmt: skip
    lanes = lanes_of(told)
    message, (buffer,) = encoding.marks_message(
        lanes.marks.rows, True, origin_ms=ORIGIN_MS, services=SERVICES[:-1]
    )
    assert message == {"kind": "marks", "reset": True}
    assert np.frombuffer(buffer).reshape(-1, 4).tolist() == [
        [0, 10_000, 110_000_000, 0],
        [5, 15_000, 1, 1],
        [6, 10_000, 2, 0],
        [14, 10_000, list(FAULT_SITES).index("fee.spike"), 1],
    ], "a service that this scenario does not have is left out"


def test_no_marks_are_an_empty_buffer() -> None:
    """The reader finds no row."""
    _, (buffer,) = encoding.marks_message((), True, origin_ms=0, services=SERVICES)
    assert buffer == b""


def test_setup_has_the_table_of_states_and_what_the_scenario_says() -> None:
    """Stages of settlements, then of payouts; all of it JSON."""
    scenario = load("scenarios/storm.yaml")
    setup = setup_of(scenario, 6)
    message = encoding.setup_message(setup, ("run", "stop"))
    assert json.loads(json.dumps(message)) == message
    words = [look["word"] for look in message["stages"]]
    first = message["first_payout_stage"]
    assert words[:first] == [look.word for look in lifecycle.STAGES]
    assert words[first:] == [look.word for look in lifecycle.PAYOUT_STAGES]
    assert [look["word"] for look in message["outcomes"]] == list(lifecycle.OUTCOME)
    assert message["palette"]["final"] == ["#54105f", "#b28dff"]
    assert (message["title"], message["subtitle"]) == (
        "Every kind of fault and every kind of buyer",
        "storm.yaml, seed 6",
    )
    assert (message["duration_ms"], message["block_ms"]) == (600_000, 2_000)
    assert (message["buyers"], message["band_bps"]) == (32, 100)
    assert message["services"] == list(SERVICES)
    assert message["sites"] == list(SITES)
    assert message["commands"] == ["run", "stop"]
    assert SourceSetup().services == SERVICES


def test_state_says_how_it_stands() -> None:
    """Figures, rules, and a text in place of lanes."""
    lanes = storm()
    figures = encoding.figures_of(lanes)
    state = SourceState(
        state="broken", word="Broken", now_ms=12, error=text_of(RunDamaged("A.", hint="B."))
    )
    message = encoding.state_message(state, figures=figures, broken=2, rules=21)
    assert json.loads(json.dumps(message)) == message
    assert message["error"] == {"title": "A.", "text": "B."}
    assert (message["empty"], message["now_ms"], message["block"]) == (None, 12, None)
    assert message["rules"] == {"broken": 2, "asked": 21, "undone": 0}
    back = 2 * (facts.MAX_EURC - facts.EURC_SPENT)
    assert message["money"][:2] == [
        ["To the seller", "220.00 USDC"],
        ["Back to buyers", f"{back / 10**6 - 0.005:.2f} EURC"],
    ]
    assert message["money"][2][1].endswith(" gas")
    assert text_of(ValueError("no")) == SourceText("ValueError: no", "")


def test_money_counts_deliveries_and_executions_once_all_is_over() -> None:
    """Nothing is delivered, so there is nothing to tell; at the end, what was executed."""
    lanes = lanes_of(facts.happy()[:-1])
    assert encoding.figures_of(lanes) == encoding.LaneFigures()
    assert encoding.figures_of(lanes, is_over=True).money[0] == ("To the seller", "110.00 USDC")

"""Lanes as messages to the browser module: JSON, and Float64 numbers as binary buffers.

Times on the wire are milliseconds since the origin. A missing time is NaN. Numbers have the byte
order of the machine, which is little-endian on all machines with browsers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.core import lifecycle
from workbench.core.lanes.marks import LaneMark, MarkKind
from workbench.core.lanes.model import Lanes
from workbench.core.lanes.rows import LaneState
from workbench.core.lanes.segments import ALL_STAGES, FIRST_PAYOUT_STAGE
from workbench.core.lanes.texts import grouped
from workbench.core.money import EURC, USDC
from workbench.lab.states import SITES, SourceSetup, SourceState, SourceText
from workbench.results.metrics import percentile

NAN = float("nan")
TAKEN_BACK = 1.0
"""The flag of a segment that a reorg removed."""
OUTCOME_INDEX = {look.word: number for number, look in enumerate(lifecycle.OUTCOMES)}

EncodedMessage = dict[str, Any]
LaneText = tuple[str, str, str, str, int]
"""Name, amount, note, id of settlement or payout, and 1 for a payout."""


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """Sums over lanes. `money`: label and text of each amount. `undone`: delivered, then removed by
    a reorg."""

    money: tuple[tuple[str, str], ...] = ()
    undone: int = 0


def setup_message(setup: SourceSetup, commands: Iterable[str] = ()) -> EncodedMessage:
    """Return the constant part. `commands`: those that the host can carry out."""
    return {
        "kind": "setup",
        "stages": [_look(look) | {"is_end": look.is_end} for look in ALL_STAGES],
        "first_payout_stage": FIRST_PAYOUT_STAGE,
        "outcomes": [_look(look) for look in lifecycle.OUTCOMES],
        "palette": {key: list(colours) for key, colours in lifecycle.PALETTE.items()},
        "title": setup.title,
        "subtitle": setup.subtitle,
        "about": setup.about,
        "duration_ms": setup.duration_ms,
        "block_ms": setup.block_ms,
        "band_bps": setup.band_bps,
        "services": list(setup.services),
        "sites": list(SITES),
        "buyers": setup.buyers,
        "commands": list(commands),
    }


def _look(look: lifecycle.StateRow) -> EncodedMessage:
    return {"word": look.word, "label": look.label, "colour": look.colour, "shape": look.shape}


def figures_of(lanes: Lanes, *, is_over: bool = False) -> LaneFigures:
    """Return sums over all delivered purchases; after the end of the run, over all executed
    ones."""
    states = [lane for lane in lanes if not lane.is_payout]
    done = [
        lane
        for lane in states
        if lane.delivered_ms is not None or (is_over and lane.executed_ms is not None)
    ]
    undone = sum(lane.undone for lane in states)
    if not done:
        return LaneFigures((), undone)
    gas = [lane.gas for lane in done if lane.gas is not None]
    money = [
        ("To the seller", grouped(sum(lane.usdc for lane in done), USDC)),
        ("Back to buyers", grouped(sum(lane.eurc for lane in done), EURC)),
    ]
    if gas:
        money.append(("Gas, p50 each", f"{percentile(gas, 50):,} gas"))
    return LaneFigures(tuple(money), undone)


def state_message(
    state: SourceState, *, figures: LaneFigures, broken: int, rules: int | None
) -> EncodedMessage:
    """Return the present state. `broken`: number of breaches. `rules`: number of invariants."""
    return {
        "kind": "state",
        "state": state.state,
        "word": state.word,
        "pace": state.pace,
        "now_ms": state.now_ms,
        "block": state.block,
        "trace": state.trace,
        "progress": state.progress,
        "progress_text": state.progress_text,
        "empty": _text(state.empty),
        "error": _text(state.error),
        "rules": {"broken": broken, "asked": rules, "undone": figures.undone},
        "money": [list(row) for row in figures.money],
        "repeat": state.repeat,
    }


def _text(told: SourceText | None) -> EncodedMessage | None:
    return None if told is None else {"title": told.title, "text": told.text}


def lanes_message(
    lanes: Lanes,
    which: Iterable[int],
    reset: bool,
    *,
    origin_ms: int,
    now_ms: int | None = None,
    is_over: bool = False,
    known: dict[int, LaneText] | None = None,
) -> tuple[EncodedMessage, list[bytes]]:
    """Return whole lanes: JSON with the texts that changed, and one Float64 buffer.

    `now_ms`: Unix milliseconds; buyers planned for later have not come. `is_over`: the run has
    ended, so an executed settlement has ended, delivered or not. `known`: the texts sent before, by
    lane; it is updated here, and emptied by `reset`.
    """
    known = {} if known is None else known
    if reset:
        known.clear()
    names: list[list[Any]] = []
    numbers: list[float] = []
    for number in which:
        lane = lanes.lane(number)
        text = (lane.name, lane.amount, lane.note, lane.who, int(lane.is_payout))
        if known.get(number) != text:
            known[number] = text
            names.append([number, *text])
        _put_lane(numbers, lane, origin_ms, now_ms, is_over)
    message = {"kind": "lanes", "reset": reset, "names": names, "lanes": len(lanes)}
    return message, [np.array(numbers, dtype=np.float64).tobytes()]


def _put_lane(
    numbers: list[float], lane: LaneState, origin_ms: int, now_ms: int | None, is_over: bool
) -> None:
    """Append the numbers of one lane, as the protocol defines them."""
    end_ms = lane.end_ms
    if is_over and end_ms is None:
        end_ms = lane.executed_ms
    times = (lane.planned_ms, lane.asked_ms, end_ms, lane.delivered_ms)
    segments = lane.segments if lane.has_come(now_ms) else ()
    numbers += (lane.number, OUTCOME_INDEX[lane.outcome_at(now_ms)])
    numbers += [NAN if at is None else at - origin_ms for at in times]
    numbers.append(len(segments))
    for segment in segments:
        to_ms = NAN if segment.to_ms is None else segment.to_ms - origin_ms
        flags = TAKEN_BACK if segment.taken_back else 0.0
        numbers += (segment.stage, segment.from_ms - origin_ms, to_ms, flags)
    numbers.append(len(lane.lost))
    numbers += [at - origin_ms for at in lane.lost]


def marks_message(
    marks: Sequence[LaneMark], reset: bool, *, origin_ms: int, services: Sequence[str]
) -> tuple[EncodedMessage, list[bytes]]:
    """Return marks as rows of (type, at_ms, a, b), without those of services that are not shown."""
    rows = [
        (float(mark.kind), float(mark.at_ms - origin_ms), float(a), float(mark.by_hand))
        for mark in marks
        if (a := _first_value(mark, services)) is not None
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return {"kind": "marks", "reset": reset}, [table.tobytes()]


def _first_value(mark: LaneMark, services: Sequence[str]) -> int | None:
    if mark.kind in (MarkKind.DOWN, MarkKind.UP):
        return services.index(mark.what) if mark.what in services else None
    if mark.kind is MarkKind.ORDERED:
        return SITES.index(mark.what) if mark.what in SITES else None
    return mark.value

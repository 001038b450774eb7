"""The content of a timeline without drawing: lanes, bars, marks and blocks, in whole milliseconds.

Both drawings, matplotlib's and the page's, use it, so they cannot differ. Times are milliseconds
since the origin of the run; a slow clock may give times below 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from workbench.core.lifecycle import OUTCOMES, STAGE, STAGES, StateRow, outcome_of

OPEN_LANES = 5
"""Up to this many settlements, each stage has a row of its own with its numbers."""
LABELLED_LANES = 60
"""Up to this many lanes, each shows its name and its duration."""
MOST_LANES, SLOWEST = 250, 100
"""With more than `MOST_LANES` lanes, the `SLOWEST` are drawn, and the stack counts all."""

UNFINISHED = "unfinished"
"""The open end of a settlement without an end."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The time to reach `stage`, from the previous stage."""

    stage: str
    start_ms: int
    end_ms: int
    block: int | None = None
    tx: str | None = None
    gas: int | None = None

    @property
    def seconds(self) -> float:
        return (self.end_ms - self.start_ms) / 1000


@dataclass(frozen=True, slots=True)
class Mark:
    """One fact. `stands`: False for facts of an orphaned block, which are drawn hollow."""

    seq: int
    type: str
    subject: str
    source: str
    at_ms: int
    block: int | None
    tx: str | None
    stands: bool
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lane:
    """One settlement. `state`: the last stage. `ghosts`: its orphaned facts."""

    subject: str
    state: str
    bars: tuple[Bar, ...]
    ghosts: tuple[Mark, ...] = ()

    @property
    def end(self) -> StateRow:
        """The outcome, `open` before the end. It decides the mark at the end of the lane."""
        return outcome_of(self.state)

    @property
    def start_ms(self) -> int:
        return self.bars[0].start_ms

    @property
    def end_ms(self) -> int:
        return self.bars[-1].end_ms


@dataclass(frozen=True, slots=True)
class TimelineModel:
    """All that one timeline shows. `lanes` may be fewer than `count`: the slowest ones.

    The axis runs from `first_ms`, which is 0 unless a time is before the origin, to `last_ms`.
    """

    first_ms: int
    last_ms: int
    count: int
    lanes: tuple[Lane, ...]
    every_bar: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    blocks: tuple[tuple[int, int], ...]

    @property
    def span_ms(self) -> int:
        """The length of the axis."""
        return self.last_ms - self.first_ms

    @property
    def expanded(self) -> bool:
        """True if each stage has a row of its own."""
        return self.count <= OPEN_LANES

    @property
    def stages(self) -> list[str]:
        """The stages that occur, in order; the unfinished end last."""
        seen = {bar.stage for bar in self.every_bar}
        known = [look.word for look in STAGES]
        return [stage for stage in (*known, UNFINISHED) if stage in seen]

    @property
    def ends(self) -> list[StateRow]:
        """The outcomes that occur, in the order of `lifecycle.OUTCOMES`."""
        reached = {lane.end for lane in self.lanes}
        return [look for look in OUTCOMES if look in reached]

    @property
    def coloured(self) -> list[str]:
        """The stages that a legend must name: their bars have a colour of no outcome.

        Without the first stage, which has no bar.
        """
        taken = {look.colour for look in self.ends} | {STAGES[0].colour}
        return [s for s in self.stages if s == UNFINISHED or STAGE[s].colour not in taken]

    @property
    def types(self) -> list[str]:
        """The types of facts that occur, in the order of their first."""
        return list(dict.fromkeys(mark.type for mark in self.marks))


def picture(
    frame: pd.DataFrame, facts_frame: pd.DataFrame | None = None, origin_ms: int | None = None
) -> TimelineModel:
    """Return the model, from `frames.timeline_frame` and, for marks, `frames.events_frame`.

    `origin_ms`: the time that counts as 0, Unix milliseconds; default: the earliest.
    """
    times = [frame["start_ms"]] + ([] if facts_frame is None else [facts_frame["at_ms"]])
    known = pd.concat([column for column in times if len(column)]) if any(map(len, times)) else None
    earliest, latest = (0, 0) if known is None else (int(known.min()), int(known.max()))
    origin_ms = earliest if origin_ms is None else origin_ms
    first_ms, last_ms = min(0, earliest - origin_ms), max(0, latest - origin_ms)
    marks = _marks(facts_frame, origin_ms)
    lanes = _lanes(frame, origin_ms, last_ms)
    every_bar = tuple(bar for lane in lanes for bar in lane.bars)
    shown = _slowest(lanes)
    return TimelineModel(
        first_ms=first_ms,
        last_ms=last_ms,
        count=len(lanes),
        lanes=_with_ghosts(shown, marks),
        every_bar=every_bar,
        marks=marks,
        blocks=_blocks(every_bar),
    )


def _lanes(frame: pd.DataFrame, origin_ms: int, last_ms: int) -> list[Lane]:
    by_subject: dict[str, list[Bar]] = {}
    for row in _rows(frame):
        end_ms = int(row["start_ms"]) - origin_ms
        start_ms = end_ms - int(row["after_ms"])
        bar = Bar(row["stage"], start_ms, end_ms, row["block"], row["tx"], row["gas"])
        by_subject.setdefault(row["subject"], []).append(bar)
    lanes = []
    for subject, bars in by_subject.items():
        state = bars[-1].stage
        if not outcome_of(state).is_end and bars[-1].end_ms < last_ms:
            bars.append(Bar(UNFINISHED, bars[-1].end_ms, last_ms))
        lanes.append(Lane(subject, state, tuple(bars)))
    return lanes


def _marks(facts_frame: pd.DataFrame | None, origin_ms: int) -> tuple[Mark, ...]:
    if facts_frame is None:
        return ()
    rows = _rows(facts_frame.reset_index())
    return tuple(Mark(at_ms=row.pop("at_ms") - origin_ms, **row) for row in rows)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return plain Python values: None for missing ones, int for integers."""
    rows: list[dict[str, Any]] = []
    for row in frame.to_dict("records"):
        rows.append({str(k): None if v is pd.NA else v for k, v in row.items()})
    return rows


def _slowest(lanes: list[Lane]) -> list[Lane]:
    if len(lanes) <= MOST_LANES:
        return lanes
    slow = sorted(lanes, key=lambda lane: lane.start_ms - lane.end_ms)[:SLOWEST]
    return sorted(slow, key=lambda lane: lane.start_ms)


def _with_ghosts(lanes: list[Lane], marks: tuple[Mark, ...]) -> tuple[Lane, ...]:
    ghosts: dict[str, list[Mark]] = {}
    for mark in marks:
        if not mark.stands:
            ghosts.setdefault(mark.subject, []).append(mark)
    return tuple(replace(lane, ghosts=tuple(ghosts.get(lane.subject, ()))) for lane in lanes)


def _blocks(bars: tuple[Bar, ...]) -> tuple[tuple[int, int], ...]:
    """Return (number, milliseconds) of the blocks that moved a settlement, by number.

    Stages without a transaction have a block, but their time is a service's.
    """
    return tuple(sorted({(b.block, b.end_ms) for b in bars if b.block is not None and b.tx}))


def title_of(shown: TimelineModel) -> str:
    """Return the title of a timeline without one."""
    if shown.count == 1:
        return f"Timeline of settlement {short(shown.lanes[0].subject)}"
    return f"Timeline of {shown.count:,} settlements"


def short(text: str) -> str:
    """Return beginning and end of a hash, as people compare it."""
    return f"{text[:6]}…{text[-4:]}" if len(text) > 14 else text


def seconds_text(seconds: float) -> str:
    """Return a duration with three significant digits: `12.34 s`."""
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.2f} s"


def spread(places: list[tuple[int, float]], gap: float) -> list[tuple[int, float]]:
    """Return the (label, position) pairs that are at least `gap` apart, from the left."""
    kept: list[tuple[int, float]] = []
    for label, place in places:
        if not kept or place - kept[-1][1] >= gap:
            kept.append((label, place))
    return kept

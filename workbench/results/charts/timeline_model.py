"""What a timeline shows, before any ink: lanes, bars, marks and blocks, in whole milliseconds.

Both drawings, matplotlib's and the page's, take it from here, so they cannot differ. All times
are milliseconds since the origin of the run; what a slow clock dated before it is below 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from workbench.core.lifecycle import OUTCOMES, STAGE, STAGES, StateRow, outcome_of

OPEN_LANES = 5
"""Up to so many settlements each stage has a row of its own, with its numbers beside it."""
LABELLED_LANES = 60
"""Up to so many lanes each carries its name and its duration."""
MOST_LANES, SLOWEST = 250, 100
"""More lanes than `MOST_LANES` no eye can follow: the `SLOWEST` are drawn, the stack counts all."""

UNFINISHED = "unfinished"
"""The open end of a settlement that is still under way."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The time it took to reach `stage`: from the previous stage to this one."""

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
    """One fact. `stands` is False for facts of an orphaned block: drawn as a ghost."""

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
    """One settlement. `state` is the last stage it reached; `ghosts` are its orphaned facts."""

    subject: str
    state: str
    bars: tuple[Bar, ...]
    ghosts: tuple[Mark, ...] = ()

    @property
    def end(self) -> StateRow:
        """What became of it, `open` before its end: how the end of the lane is marked."""
        return outcome_of(self.state)

    @property
    def start_ms(self) -> int:
        return self.bars[0].start_ms

    @property
    def end_ms(self) -> int:
        return self.bars[-1].end_ms


@dataclass(frozen=True, slots=True)
class TimelineModel:
    """Everything one timeline shows. `lanes` may be fewer than `count`: the slowest ones.

    The axis runs from `first_ms`, which is 0 unless something is dated before the origin, to
    `last_ms`.
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
        """How long the axis is."""
        return self.last_ms - self.first_ms

    @property
    def expanded(self) -> bool:
        """Whether each stage gets a row of its own."""
        return self.count <= OPEN_LANES

    @property
    def stages(self) -> list[str]:
        """The stages that occur, in the order of a life; the unfinished end last."""
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
        """The stages that a legend must name: their bars have a colour that no end has.

        The first stage is left out; it has no bar.
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
    """What to draw, from `frames.timeline_frame` and, for marks, `frames.events_frame`.

    `origin_ms`: the time that counts as 0, Unix milliseconds; default: the earliest here.
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
    """Plain Python values: None for what is missing, int for integers."""
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
    """(number, milliseconds) of the blocks that moved a settlement, by number.

    Stages without a transaction know a block, but their time is a service's, not the block's.
    """
    return tuple(sorted({(b.block, b.end_ms) for b in bars if b.block is not None and b.tx}))


def title_of(shown: TimelineModel) -> str:
    """What to call a timeline that was given no name."""
    if shown.count == 1:
        return f"Timeline of settlement {short(shown.lanes[0].subject)}"
    return f"Timeline of {shown.count:,} settlements"


def short(text: str) -> str:
    """A hash as people compare it: its beginning and its end."""
    return f"{text[:6]}…{text[-4:]}" if len(text) > 14 else text


def seconds_text(seconds: float) -> str:
    """`12.34 s`: three significant places, as few as say something."""
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.2f} s"


def spread(places: list[tuple[int, float]], gap: float) -> list[tuple[int, float]]:
    """Those of the (label, position) pairs that stand at least `gap` apart, from the left."""
    kept: list[tuple[int, float]] = []
    for label, place in places:
        if not kept or place - kept[-1][1] >= gap:
            kept.append((label, place))
    return kept

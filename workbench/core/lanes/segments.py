"""The stages of one lane over time, as segments, also those that a reorg removed.

Times are Unix milliseconds. A stage is an index into `lifecycle.STAGES + lifecycle.PAYOUT_STAGES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from workbench.core import facts as ev
from workbench.core import lifecycle
from workbench.core import payout as payouts
from workbench.core import settlement as settlements
from workbench.core.records import quick

ALL_STAGES = lifecycle.STAGES + lifecycle.PAYOUT_STAGES
FIRST_PAYOUT_STAGE = len(lifecycle.STAGES)
REQUESTED = 0
SETTLEMENT_STAGE: dict[str, int] = {
    look.word: number for number, look in enumerate(lifecycle.STAGES)
}
PAYOUT_STAGE: dict[str, int] = {
    look.word: FIRST_PAYOUT_STAGE + number for number, look in enumerate(lifecycle.PAYOUT_STAGES)
}
ENDS = frozenset(number for number, look in enumerate(ALL_STAGES) if look.is_end)

STAGE_OF: dict[type[ev.Event], int] = {
    **{kind: SETTLEMENT_STAGE[to.value] for (_, kind), to in settlements.TRANSITIONS.items()},
    **{
        kind: PAYOUT_STAGE[to.value]
        for (_, kind), to in payouts.TRANSITIONS.items()
        if kind is not ev.PayoutBatched
    },
}
"""The stage that a fact leads to. PayoutBatched leads to none."""

_STANDS_ON = {
    kind: SETTLEMENT_STAGE[state.value] for kind, state in settlements.ABOUT_BLOCK_OF.items()
}
"""The stage whose block an off-chain fact is about. The fact counts while that block is in the
chain."""


@quick
@dataclass(frozen=True, slots=True)
class LaneSegment:
    """A stage from its start to the start of the next. `to_ms` None: still open.

    An end has no length: `to_ms` is `from_ms`. `taken_back`: a reorg removed its block, and `to_ms`
    is when that was seen, or when the next stage began before that.
    """

    stage: int
    from_ms: int
    to_ms: int | None
    taken_back: bool


class LaneMove:
    """A fact that moves a lane, and when its block was removed (None: it is valid)."""

    __slots__ = ("fact", "stage", "taken_ms")

    def __init__(self, fact: ev.Event) -> None:
        self.fact = fact
        self.stage = STAGE_OF[type(fact)]
        self.taken_ms: int | None = None

    def tells(self, fact: ev.Event) -> bool:
        """Return True if `fact` is this one, from another service or repeated."""
        own = self.fact
        if type(fact) is not type(own):
            return False
        at, here = fact.block, own.block
        if at is None or here is None:
            return at is here and fact.at_ms == own.at_ms
        return (at.hash, at.tx, at.log_index) == (here.hash, here.tx, here.log_index)


@quick
@dataclass(frozen=True, slots=True)
class LaneProgress:
    """The segments by time, the start of each valid stage, and the facts that led there."""

    segments: tuple[LaneSegment, ...]
    entered: dict[int, int]
    facts: tuple[ev.Event, ...]

    @property
    def stage(self) -> int | None:
        """The present stage, or None."""
        return next(reversed(self.entered), None)


def add_move(moves: list[LaneMove], fact: ev.Event) -> LaneMove | None:
    """Add a fact. Return None if it was known and valid."""
    if any(move.taken_ms is None and move.tells(fact) for move in moves):
        return None
    move = LaneMove(fact)
    moves.append(move)
    return move


def course_of(moves: Sequence[LaneMove], asked_ms: int | None, *, is_payout: bool) -> LaneProgress:
    """Return the course of one settlement or payout. `asked_ms`: time of the 402 answer, if known.

    A fact whose cause is not known, or not valid any more, is left out, as in
    `frames.timeline_frame`.
    """
    table: dict[Any, Any] = payouts.TRANSITIONS if is_payout else settlements.TRANSITIONS
    stays = [move for move in moves if move.taken_ms is None]
    entries, facts = _entries(sorted(stays, key=lambda move: move.stage), asked_ms, table)
    taken = [move for move in moves if move.taken_ms is not None]
    segments = _swept(entries, _spans(taken, entries)) if taken else _joined(entries)
    return LaneProgress(segments, {stage: at_ms for at_ms, stage in entries}, tuple(facts))


_Entry = tuple[int, int]
"""Start of a stage, and the stage."""
_Span = tuple[int, int, int]
"""Start and end of a stage that was removed, and the stage."""


def _entries(
    moves: Iterable[LaneMove], asked_ms: int | None, table: dict[Any, Any]
) -> tuple[list[_Entry], list[ev.Event]]:
    """Return the valid stages and the facts that led to them. Times never decrease."""
    entries: list[_Entry] = [] if asked_ms is None else [(asked_ms, REQUESTED)]
    facts: list[ev.Event] = []
    blocks: dict[int, str] = {}
    state = None
    for move in moves:
        fact = move.fact
        after = table.get((state, type(fact)))
        if after is None:
            continue
        block = fact.block.hash if fact.block else ""
        about = _STANDS_ON.get(type(fact))
        if about is not None and block and blocks.get(about, block) != block:
            continue
        state = after
        blocks[move.stage] = block
        at_ms = max(fact.at_ms, entries[-1][0]) if entries else fact.at_ms
        entries.append((at_ms, move.stage))
        facts.append(fact)
    return (entries if facts else []), facts


def _joined(entries: Sequence[_Entry]) -> tuple[LaneSegment, ...]:
    """Return segments of consecutive stages, without those of no length."""
    segments = []
    for (from_ms, stage), (to_ms, _) in pairwise(entries):
        if to_ms > from_ms:
            segments.append(LaneSegment(stage, from_ms, to_ms, False))
    if entries:
        from_ms, stage = entries[-1]
        segments.append(LaneSegment(stage, from_ms, from_ms if stage in ENDS else None, False))
    return tuple(segments)


def _spans(taken: Iterable[LaneMove], entries: Sequence[_Entry]) -> list[_Span]:
    """Return how long removed stages lasted. A fact that is repeated later counts once."""
    off_chain = [at for at, stage in entries if stage <= SETTLEMENT_STAGE["authorized"]]
    least = max(off_chain, default=0)
    spans: list[_Span] = []
    known: list[LaneMove] = []
    for move in taken:
        assert move.taken_ms is not None
        if any(move.tells(other.fact) for other in known):
            continue
        known.append(move)
        from_ms = max(move.fact.at_ms, least)
        if from_ms < move.taken_ms:
            spans.append((from_ms, move.taken_ms, move.stage))
    return spans


def _swept(entries: Sequence[_Entry], taken: Sequence[_Span]) -> tuple[LaneSegment, ...]:
    """Return for each moment the stage that began last, of those valid then."""
    spans: list[tuple[int, int, bool, int | None]]  # Start, stage, removed, end.
    spans = [(from_ms, stage, False, None) for from_ms, stage in entries]
    spans += [(from_ms, stage, True, to_ms) for from_ms, to_ms, stage in taken]
    points = sorted({at for span in spans for at in (span[0], span[3]) if at is not None})
    segments: list[LaneSegment] = []
    for number, at in enumerate(points):
        there = [s for s in spans if s[0] <= at and (s[3] is None or at < s[3])]
        if not there:
            continue
        _, stage, is_taken, _ = max(there, key=lambda span: span[:3])
        to_ms = points[number + 1] if number + 1 < len(points) else None
        if stage in ENDS and not is_taken and stage == entries[-1][1]:
            segments.append(LaneSegment(stage, at, at, False))
            break  # Nothing follows an end, whatever was removed after it.
        last = segments[-1] if segments else None
        if last and (last.stage, last.taken_back, last.to_ms) == (stage, is_taken, at):
            segments[-1] = LaneSegment(stage, last.from_ms, to_ms, is_taken)
        else:
            segments.append(LaneSegment(stage, at, to_ms, is_taken))
    return tuple(segments)

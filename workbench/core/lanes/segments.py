"""The way of one lane through its stages: segments of time, those that a reorg took back too.

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
"""The stage that a fact leads to. PayoutBatched leads to none of its own."""

_STANDS_ON = {
    kind: SETTLEMENT_STAGE[state.value] for kind, state in settlements.ABOUT_BLOCK_OF.items()
}
"""The stage whose block an off-chain fact is about; it counts only while that block stands."""


@quick
@dataclass(frozen=True, slots=True)
class LaneSegment:
    """A stage from when it was entered to when the next one was. `to_ms` None: still open.

    An end has no length: `to_ms` is `from_ms`. `taken_back`: a reorg took back the block that it
    stood on, and `to_ms` is when that was seen, or when the next stage was entered before that.
    """

    stage: int
    from_ms: int
    to_ms: int | None
    taken_back: bool


class LaneMove:
    """A fact that moves a lane, and when its block was taken back (None: it stands)."""

    __slots__ = ("fact", "stage", "taken_ms")

    def __init__(self, fact: ev.Event) -> None:
        self.fact = fact
        self.stage = STAGE_OF[type(fact)]
        self.taken_ms: int | None = None

    def tells(self, fact: ev.Event) -> bool:
        """Whether `fact` is this one, told by another service or once more."""
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
    """The segments in order of time; when each stage that stands was entered; by which facts."""

    segments: tuple[LaneSegment, ...]
    entered: dict[int, int]
    facts: tuple[ev.Event, ...]

    @property
    def stage(self) -> int | None:
        """The stage that it stands in. None: it has none."""
        return next(reversed(self.entered), None)


def add_move(moves: list[LaneMove], fact: ev.Event) -> LaneMove | None:
    """Add what `fact` tells. None: it was known, and stands."""
    if any(move.taken_ms is None and move.tells(fact) for move in moves):
        return None
    move = LaneMove(fact)
    moves.append(move)
    return move


def course_of(moves: Sequence[LaneMove], asked_ms: int | None, *, is_payout: bool) -> LaneProgress:
    """The course of one settlement or payout. `asked_ms`: when HTTP 402 was answered, if known.

    A fact whose cause is not known, or no longer, is left out, as `frames.timeline_frame` does.
    """
    table: dict[Any, Any] = payouts.TRANSITIONS if is_payout else settlements.TRANSITIONS
    stays = [move for move in moves if move.taken_ms is None]
    entries, facts = _entries(sorted(stays, key=lambda move: move.stage), asked_ms, table)
    taken = [move for move in moves if move.taken_ms is not None]
    segments = _swept(entries, _spans(taken, entries)) if taken else _joined(entries)
    return LaneProgress(segments, {stage: at_ms for at_ms, stage in entries}, tuple(facts))


_Entry = tuple[int, int]
"""When a stage was entered, and the stage."""
_Span = tuple[int, int, int]
"""From when to when a stage lasted that was taken back, and the stage."""


def _entries(
    moves: Iterable[LaneMove], asked_ms: int | None, table: dict[Any, Any]
) -> tuple[list[_Entry], list[ev.Event]]:
    """The stages that stand, and the facts that led to them. Times never run backwards."""
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
    """Segments of stages that follow each other; one without length is left out."""
    segments = []
    for (from_ms, stage), (to_ms, _) in pairwise(entries):
        if to_ms > from_ms:
            segments.append(LaneSegment(stage, from_ms, to_ms, False))
    if entries:
        from_ms, stage = entries[-1]
        segments.append(LaneSegment(stage, from_ms, from_ms if stage in ENDS else None, False))
    return tuple(segments)


def _spans(taken: Iterable[LaneMove], entries: Sequence[_Entry]) -> list[_Span]:
    """How long what was taken back had lasted. A fact that is told again later on counts once."""
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
    """At each moment the stage that was entered last, of those that stood then."""
    spans: list[tuple[int, int, bool, int | None]]  # From, stage, taken back, until.
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
            break  # Nothing follows an end, whatever was taken back after it.
        last = segments[-1] if segments else None
        if last and (last.stage, last.taken_back, last.to_ms) == (stage, is_taken, at):
            segments[-1] = LaneSegment(stage, last.from_ms, to_ms, is_taken)
        else:
            segments.append(LaneSegment(stage, at, to_ms, is_taken))
    return tuple(segments)

"""One lane: what is known of it, and the state that others read.

`lanes.Lanes` owns `LaneRow` and `LaneRecord`; `LaneState` is frozen and public. Times are Unix
milliseconds, amounts base units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core import facts as ev
from workbench.core.lanes.segments import (
    ALL_STAGES,
    PAYOUT_STAGE,
    REQUESTED,
    SETTLEMENT_STAGE,
    LaneMove,
    LaneProgress,
    LaneSegment,
    course_of,
)
from workbench.core.lanes.texts import ASKED_ONLY, ETH, NOT_ON_CHAIN, short_amount, why
from workbench.core.lifecycle import outcome_of_row
from workbench.core.records import quick

DELIVERED = SETTLEMENT_STAGE["delivered"]
EXECUTED = SETTLEMENT_STAGE["executed"]
OUTCOME_OF: dict[int, str] = {
    number: outcome_of_row(row).word
    for number, row in enumerate(ALL_STAGES)
    if outcome_of_row(row).is_end
}
"""The outcome of a lane by its stage. In every other stage the lane is open."""
NATIVE = "/native"


@quick
@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane as it is shown.

    `number`: its place, from 0. `name`: counted from 1; payouts have their own count. `note`: why
    it was not executed, in plain words, or "". `who`: id of the settlement or payout, or "".
    `buyer`: name of the planned buyer, or "". `outcome`: a word of `lifecycle.OUTCOMES`; a buyer
    who has not come is `open` here (see `outcome_at`). `asked_ms`: time of the 402 answer.
    `executed_ms`, `delivered_ms`: of a settlement only. `end_ms`: time of its end, of delivery if
    it was executed. `lost`: time at which a message or transaction of it was lost. `usdc`: paid to
    the seller; `eurc`: returned to the buyer; `gas`: of all its valid mined transactions (None:
    none yet). `undone`: True if it was delivered and then its block was removed.
    """

    number: int
    name: str
    amount: str
    note: str
    who: str
    buyer: str
    is_payout: bool
    outcome: str
    planned_ms: int | None
    asked_ms: int | None
    executed_ms: int | None
    delivered_ms: int | None
    end_ms: int | None
    segments: tuple[LaneSegment, ...]
    lost: tuple[int, ...]
    usdc: int
    eurc: int
    gas: int | None
    undone: bool

    def has_come(self, now_ms: int | None) -> bool:
        """Return True if the lane has begun at `now_ms` (None: at the end)."""
        if now_ms is None or self.planned_ms is None or self.planned_ms <= now_ms:
            return True
        return self.outcome != "open" or self.who != ""

    def outcome_at(self, now_ms: int | None) -> str:
        """Return the outcome, or `not_come` for a buyer planned for after `now_ms`."""
        return self.outcome if self.has_come(now_ms) else "not_come"


class LaneRecord:
    """What is known of one settlement or payout. `gas`: by block hash and transaction hash."""

    __slots__ = ("batch", "birth", "gas", "id", "moves", "quote", "row")

    def __init__(self, subject: str) -> None:
        self.id = subject
        self.moves: list[LaneMove] = []
        self.birth: ev.PaymentAuthorized | ev.SettlementCreated | ev.PayoutRequested | None = None
        self.quote = self.batch = ""
        self.gas: dict[tuple[str, str], int] = {}
        self.row: LaneRow | None = None


class LaneRow:
    """One lane: a planned buyer, a settlement, or both; or a payout.

    `counts`: number of lanes up to and including this one, by whether they are payouts. `state`:
    None if it must be computed again.
    """

    __slots__ = ("counts", "is_payout", "number", "plan", "record", "said", "state")

    def __init__(self, *, is_payout: bool) -> None:
        self.is_payout = is_payout
        self.number = 0
        self.counts: dict[bool, int] = {True: 0, False: 0}
        self.plan: ev.BuyerPlanned | None = None
        self.record: LaneRecord | None = None
        self.said: ev.BuyerServed | ev.BuyerGaveUp | None = None
        self.state: LaneState | None = None

    def subjects(self) -> tuple[str, ...]:
        """The subjects of its facts: buyer, quote, settlement or payout, batch."""
        record = self.record
        own = (record.id, record.quote, record.batch) if record else ()
        names = (self.plan.subject if self.plan else "", *own)
        return tuple(name for name in names if name)


def state_of(
    row: LaneRow, asked: Mapping[str, int], lost: Mapping[str, Sequence[int]]
) -> LaneState:
    """Return the present state of the lane. `asked`: 402 answers by quote. `lost`: by subject."""
    record, plan = row.record, row.plan
    asked_ms = asked.get(record.quote) if record and record.quote else None
    course = course_of(record.moves if record else (), asked_ms, is_payout=row.is_payout)
    outcome, note, end_ms = _end(row, course)
    delivered_ms = course.entered.get(DELIVERED)
    if outcome == "executed" and course.facts and not row.is_payout:
        end_ms = delivered_ms
    segments = course.segments
    if not segments and plan is not None:
        # A 402 without an authorization is not linked to the buyer who asked.
        segments = (LaneSegment(REQUESTED, plan.comes_ms, end_ms, False),)
    if row.is_payout:
        asked_ms = course.entered.get(PAYOUT_STAGE["requested"])
    usdc, eurc = _money(course)
    return LaneState(
        number=row.number,
        name=f"{'P' if row.is_payout else ''}{row.counts[row.is_payout]}",
        amount=_amount(row),
        note=note,
        who=record.id if record else "",
        buyer=plan.subject if plan else "",
        is_payout=row.is_payout,
        outcome=outcome,
        planned_ms=plan.comes_ms if plan else None,
        asked_ms=asked_ms,
        executed_ms=course.entered.get(EXECUTED),
        delivered_ms=delivered_ms,
        end_ms=end_ms,
        segments=segments,
        lost=tuple(sorted(at for subject in row.subjects() for at in lost.get(subject, ()))),
        usdc=usdc,
        eurc=eurc,
        gas=sum(record.gas.values()) if record and record.gas else None,
        undone=any(seg.taken_back and seg.stage == DELIVERED for seg in segments),
    )


def _end(row: LaneRow, course: LaneProgress) -> tuple[str, str, int | None]:
    """Return outcome, note, and time of the end.

    The state of the settlement decides; without one, the buyer's own fact. So a settlement on its
    way stays `open`, also if its buyer has stopped waiting; the note says so.
    """
    said = row.said
    stage = course.stage
    if stage is not None:
        outcome = OUTCOME_OF.get(stage, "open")
        if outcome == "open":
            return outcome, why(said.code) if isinstance(said, ev.BuyerGaveUp) else "", None
        return outcome, _reason(course, outcome), course.entered[stage]
    if isinstance(said, ev.BuyerGaveUp):
        return "gave_up", why(said.code), said.at_ms
    if isinstance(said, ev.BuyerServed):
        if said.status in ("executed", "refunded", "rejected"):
            return said.status, "", said.at_ms
        return "asked_only", ASKED_ONLY, said.at_ms
    return "open", "", None


def _reason(course: LaneProgress, outcome: str) -> str:
    """Return why a lane was not executed, or ""."""
    last = course.facts[-1]
    if isinstance(last, ev.PaymentRejected):
        late = NOT_ON_CHAIN if last.code == "deadline_passed" else ""
        return f"{why(last.code)}{late}"
    if isinstance(last, ev.SettlementRefunded | ev.PayoutRefunded | ev.PayoutCancelled):
        return why(last.reason)
    return ""


def _amount(row: LaneRow) -> str:
    """Return its amount as text: credits if the token of a payout is not known here."""
    if row.plan is not None:
        return short_amount(row.plan.units)
    birth = row.record.birth if row.record else None
    if isinstance(birth, ev.PayoutRequested):
        if birth.asset.endswith(NATIVE):
            return short_amount(birth.units, ETH)
        return f"{birth.credits} credits"
    return short_amount(birth.asset_amount) if birth else ""


def _money(course: LaneProgress) -> tuple[int, int]:
    """Return USDC to the seller and EURC back to the buyer, from valid facts."""
    usdc = eurc = 0
    for fact in course.facts:
        if isinstance(fact, ev.SettlementExecuted):
            usdc, eurc = usdc + fact.usdc_to_seller, eurc + fact.eurc_returned
        elif isinstance(fact, ev.SettlementRefunded):
            eurc += fact.eurc_returned
    return usdc, eurc

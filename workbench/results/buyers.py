"""The outcome of each buyer, also of those who gave up, only asked, or never came.

A scenario plans its buyers, and each has exactly one outcome, a word of `lifecycle.OUTCOMES`. A
rate over settlements alone leaves out the buyers who gave up before they had one; a rate over
buyers does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench.core import facts as ev
from workbench.core.lifecycle import OUTCOME, OUTCOMES, outcome_of
from workbench.results import frames

BuyerObservation = ev.BuyerServed | ev.BuyerGaveUp
"""The fact with which a buyer's purchase ended, as the buyer saw it."""


def buyers_frame(
    facts: Iterable[ev.Event], origin_ms: int, *, now_ms: int | None = None
) -> pd.DataFrame:
    """Return one row for each planned buyer, in the order of arrival.

    `comes_ms` counts from `origin_ms`; `planned_ms` is the same moment and `ended_ms` that of the
    end, both Unix milliseconds. `took_ms`: from the 402 to the delivery, if there is one. `units`:
    base units of the asset. `code`: the error with which the buyer gave up, or the reason of a
    refund or a rejection. `settlement_id`: empty without a settlement.

    The end of the settlement counts before what its buyer saw: if it was executed after the buyer
    gave up, the outcome is `executed`, and `code` still says why the buyer gave up. While a
    settlement has no end, its buyer is `open`.

    `now_ms` (Unix milliseconds) is for a run that is not over: a buyer that was due by then without
    a fact is `open`. In a finished run such a buyer has not come.

    Runs without `BuyerPlanned` facts (run folders of format 2) know only buyers who recorded an
    end. Runs without simulated buyers have one row for each settlement, with an empty `name`.
    """
    told = list(facts)
    deals = _deals(told)
    saw = {f.subject: f for f in told if isinstance(f, BuyerObservation)}
    planned = [f for f in told if isinstance(f, ev.BuyerPlanned)]
    if planned:
        by_buyer = {deal.buyer.lower(): deal for deal in deals.values()}
        rows = []
        for plan in sorted(planned, key=lambda each: each.comes_ms):
            mine = saw.get(plan.subject)
            # The settlement that the buyer named, else the last of its account.
            named = deals.get(mine.settlement_id) if mine else None
            deal = named or by_buyer.get(plan.address.lower())
            rows.append(_planned(plan, deal, mine, origin_ms, now_ms))
    elif saw:
        rows = [_unplanned(fact, deals.get(fact.settlement_id)) for fact in saw.values()]
    else:
        rows = [_settlement(deal) for deal in deals.values()]
    return frames.typed(rows, _COLUMNS)


_COLUMNS = {
    "name": "object",
    "kind": "object",
    "address": "object",
    "units": "object",
    "comes_ms": "Int64",
    "planned_ms": "Int64",
    "came": "bool",
    "outcome": "object",
    "settlement_id": "object",
    "code": "object",
    "message": "object",
    "ended_ms": "Int64",
    "took_ms": "Int64",
}


def outcome_counts(facts: Iterable[ev.Event]) -> dict[str, int]:
    """Return the number of buyers by outcome, in the order of `lifecycle.OUTCOMES`, without zeros.

    It counts all planned buyers. Without planned buyers it counts settlements by status:
    `executed`, `refunded`, `rejected` or `pending`.
    """
    told = list(facts)
    if has_plan(told):
        counts = Counter(buyers_frame(told, 0)["outcome"])
    else:
        counts = Counter(frames.settlements_frame(told)["status"])
    order = [look.word for look in OUTCOMES]
    known = sorted(counts, key=lambda word: order.index(word) if word in order else len(order))
    return {word: counts[word] for word in known}


def ends_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row for each ended purchase: `outcome`, and `at_ms` in Unix milliseconds.

    `subject`: the settlement, or "". Without planned buyers, one row for each ended settlement.
    """
    told = list(facts)
    if has_plan(told):
        every = buyers_frame(told, 0)
    else:
        every = frames.typed([_settlement(deal) for deal in _deals(told).values()], _COLUMNS)
    ended = every[every.ended_ms.notna()]
    return pd.DataFrame(
        {
            "name": ended.name,
            "subject": ended.settlement_id,
            "outcome": ended.outcome,
            "at_ms": ended.ended_ms.astype("int64"),
        }
    ).reset_index(drop=True)


def has_plan(facts: Iterable[ev.Event]) -> bool:
    """Return True if the facts contain planned buyers."""
    return any(isinstance(fact, ev.BuyerPlanned) for fact in facts)


# --- Settlements ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DealColumns:
    """A settlement, with the columns of its buyer. Times are Unix milliseconds."""

    id: str
    buyer: str
    units: int
    outcome: str
    reason: str
    message: str
    ended_ms: int | None
    took_ms: int | None


def _deals(told: list[ev.Event]) -> dict[str, DealColumns]:
    """Return all settlements by id, in the order of their beginning, from valid facts."""
    times: dict[str, dict[str, int]] = {}
    timeline = frames.timeline_frame(told)
    for subject, stage, at_ms in zip(
        timeline.subject, timeline.stage, timeline.start_ms, strict=True
    ):
        times.setdefault(subject, {})[stage] = int(at_ms)
    messages = {
        (f.subject, f.code): f.message
        for f in ev.canonical(told)
        if isinstance(f, ev.PaymentRejected | ev.TransactionFailed)
    }
    deals = {}
    for row in frames.settlements_frame(told).to_dict("records"):
        entered = times[row["id"]]
        outcome = outcome_of(row["state"])
        asked, delivered = entered.get(frames.REQUESTED), entered.get("delivered")
        deals[row["id"]] = DealColumns(
            id=row["id"],
            buyer=row["buyer"],
            units=row["asset_amount"],
            outcome=outcome.word,
            reason=row["reason"] if outcome.is_end else "",
            message=messages.get((row["id"], row["reason"]), "") if outcome.is_end else "",
            ended_ms=entered[row["state"]] if outcome.is_end else None,
            took_ms=None if asked is None or delivered is None else delivered - asked,
        )
    return deals


# --- Rows -----------------------------------------------------------------------------------------


def _planned(
    plan: ev.BuyerPlanned,
    deal: DealColumns | None,
    saw: BuyerObservation | None,
    origin_ms: int,
    now_ms: int | None,
) -> dict[str, Any]:
    """Return the row of a planned buyer."""
    is_due = now_ms is not None and plan.comes_ms <= now_ms
    came = deal is not None or saw is not None or is_due
    return {
        "name": plan.subject,
        "kind": plan.kind,
        "address": plan.address,
        "units": plan.units,
        "comes_ms": plan.comes_ms - origin_ms,
        "planned_ms": plan.comes_ms,
        "came": came,
        **_end(deal, saw, came),
    }


def _unplanned(saw: BuyerObservation, deal: DealColumns | None) -> dict[str, Any]:
    """Return the row of a buyer of whom only the end is known."""
    address = saw.address if isinstance(saw, ev.BuyerGaveUp) else ""
    return {
        "name": saw.subject,
        "kind": saw.kind,
        "address": deal.buyer if deal else address,
        "units": deal.units if deal else None,
        "comes_ms": None,
        "planned_ms": None,
        "came": True,
        **_end(deal, saw, True),
    }


def _settlement(deal: DealColumns) -> dict[str, Any]:
    """Return the row of a settlement whose buyer was not planned."""
    return {
        "name": "",
        "kind": "",
        "address": deal.buyer,
        "units": deal.units,
        "comes_ms": None,
        "planned_ms": None,
        "came": True,
        **_end(deal, None, True),
    }


def _end(deal: DealColumns | None, saw: BuyerObservation | None, came: bool) -> dict[str, Any]:
    """Return the outcome of a buyer: the end of the settlement first, then what the buyer saw."""
    gave_up = saw if isinstance(saw, ev.BuyerGaveUp) else None
    code, message = (gave_up.code, gave_up.message) if gave_up else ("", "")
    if deal is not None:
        return {
            "outcome": deal.outcome,
            "settlement_id": deal.id,
            "code": deal.reason or code,
            "message": message or deal.message,
            "ended_ms": deal.ended_ms,
            "took_ms": deal.took_ms,
        }
    outcome = "open" if came else "not_come"
    if gave_up:
        outcome = "gave_up"
    elif isinstance(saw, ev.BuyerServed):
        # Without a settlement in the facts, only the buyer's own fact is known.
        outcome = "asked_only" if not saw.status else saw.status
    ended = saw is not None and outcome in OUTCOME
    return {
        "outcome": outcome if outcome in OUTCOME else "open",
        "settlement_id": "",
        "code": code,
        "message": message,
        "ended_ms": saw.at_ms if saw and ended else None,
        "took_ms": None,
    }

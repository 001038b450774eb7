"""Tables from facts. Charts read these tables only.

Times are Unix milliseconds, gas is units of gas, amounts are exact Python integers of base units in
columns of type object (10^20 does not fit 64 bits). Integers that may be missing are `Int64`,
because a plain column with a gap would turn to float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

from workbench.core import facts as ev
from workbench.core import lifecycle
from workbench.core import payout as payouts
from workbench.core.errors import IllegalTransition
from workbench.core.settlement import TRANSITIONS, Settlement, SettlementState, apply

STAGES = tuple(look.word for look in lifecycle.STAGES)
"""Every stage of a settlement, in their order."""
REQUESTED = STAGES[0]

_ORDER: dict[type[ev.Event], int] = {
    kind: list(SettlementState).index(state) for (_, kind), state in TRANSITIONS.items()
}
"""Facts that move a settlement, by the position of the state they lead to."""

MOVING = frozenset({ev.PaymentRequested.__name__} | {kind.__name__ for kind in _ORDER})
"""Types of facts that a timeline shows as stages. All others are marks beside it."""

_SHARED = {f.name for f in fields(ev.Event)}


def distinct(facts: Iterable[ev.Event]) -> list[ev.Event]:
    """Return each fact once, from the journals of several services.

    A fact of the chain is identified by its place in its block, whoever recorded it. After its
    block was orphaned the same fact may come again, and then it counts anew.
    """
    seen: set[Any] = set()
    result = []
    for fact in facts:
        if isinstance(fact, ev.BlockOrphaned):
            seen = {key for key in seen if key[0] != fact.subject}
        key = _identity(fact)
        if key not in seen:
            seen.add(key)
            result.append(fact)
    return result


def _identity(fact: ev.Event) -> tuple[str, Any]:
    """Return the hash of the fact's block (or ""), and its identity."""
    if fact.block is None:
        return "", ev.to_json(fact)
    place = (fact.type, fact.subject, fact.block.tx, fact.block.log_index)
    return fact.block.hash, place


def events_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row a fact, in the given order. The index `seq` counts from 1.

    `detail`: a dict of the fields of the fact's own type. `stands`: False if the fact's block was
    orphaned.
    """
    told = list(facts)
    standing = {id(fact) for fact in ev.canonical(told)}
    rows = [
        {
            "type": fact.type,
            "subject": fact.subject,
            "at_ms": fact.at_ms,
            "source": fact.source,
            "block": fact.block.number if fact.block else None,
            "tx": fact.block.tx if fact.block else getattr(fact, "tx", None) or None,
            "stands": id(fact) in standing,
            "detail": {k: v for k, v in asdict(fact).items() if k not in _SHARED},
        }
        for fact in told
    ]
    frame = typed(rows, _EVENT_COLUMNS)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="seq")
    return frame


_EVENT_COLUMNS = {
    "type": "object",
    "subject": "object",
    "at_ms": "int64",
    "source": "object",
    "block": "Int64",
    "tx": "object",
    "stands": "bool",
    "detail": "object",
}


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage: entered at `at_ms` (Unix milliseconds), by a block and a transaction."""

    name: str
    at_ms: int
    block: int | None
    tx: str | None
    gas: int | None


@dataclass(frozen=True, slots=True)
class LifeRow:
    """One settlement with all that charts show. `gas_total`: also of reverted attempts."""

    settlement: Settlement
    stages: tuple[StageRow, ...]
    eurc_returned: int | None
    gas_total: int | None


def timeline_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row for each settlement and stage, in order.

    `start_ms`: when the stage was entered. `end_ms`: when the next one was; missing for the present
    stage. `took_ms`: the time in the stage. `after_ms`: the time since the previous stage (0 for
    the first), which charts and `stages` show as the stage's own; `seconds` is the same for
    display. `gas`: of the transaction that led into the stage, once if two stages share it.
    """
    rows: list[dict[str, Any]] = []
    for life in _lives(facts):
        starts = [stage.at_ms for stage in life.stages]
        before, ends = [starts[0], *starts[:-1]], [*starts[1:], None]
        for stage, since_ms, end_ms in zip(life.stages, before, ends, strict=True):
            took_ms = None if end_ms is None else end_ms - stage.at_ms
            rows.append(
                {
                    "subject": life.settlement.id,
                    "stage": stage.name,
                    "start_ms": stage.at_ms,
                    "end_ms": end_ms,
                    "took_ms": took_ms,
                    "seconds": (stage.at_ms - since_ms) / 1000,
                    "after_ms": stage.at_ms - since_ms,
                    "block": stage.block,
                    "tx": stage.tx,
                    "gas": stage.gas,
                }
            )
    return typed(rows, TIMELINE_COLUMNS)


TIMELINE_COLUMNS = {
    "subject": "object",
    "stage": "object",
    "start_ms": "int64",
    "end_ms": "Int64",
    "took_ms": "Int64",
    "seconds": "float64",
    "after_ms": "int64",
    "block": "Int64",
    "tx": "object",
    "gas": "Int64",
}


def settlements_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row for each settlement, in the order of their beginning.

    `seconds_total`: from the first to the latest stage. `blocks`: number of blocks between the
    first and the last. Both are missing until there are two.
    """
    rows = []
    for life in _lives(facts):
        deal, stages = life.settlement, life.stages
        blocks = [stage.block for stage in stages if stage.block is not None]
        rows.append(
            {
                "id": deal.id,
                "state": deal.state.value,
                "status": deal.status,
                "buyer": deal.buyer,
                "seller": deal.seller,
                "asset_amount": deal.asset_amount,
                "required_usdc": deal.required_usdc,
                "max_eurc": deal.max_eurc,
                "eurc_spent": deal.eurc_spent,
                "eurc_returned": life.eurc_returned,
                "gas_total": life.gas_total,
                "seconds_total": (
                    (stages[-1].at_ms - stages[0].at_ms) / 1000 if len(stages) > 1 else None
                ),
                "reason": deal.reason,
                "blocks": blocks[-1] - blocks[0] if len(blocks) > 1 else None,
            }
        )
    return typed(rows, _SETTLEMENT_COLUMNS)


_SETTLEMENT_COLUMNS = {
    "id": "object",
    "state": "object",
    "status": "object",
    "buyer": "object",
    "seller": "object",
    "asset_amount": "object",
    "required_usdc": "object",
    "max_eurc": "object",
    "eurc_spent": "object",
    "eurc_returned": "object",
    "gas_total": "Int64",
    "seconds_total": "float64",
    "reason": "object",
    "blocks": "Int64",
}


def stages(facts: Iterable[ev.Event], settlement_id: str) -> list[dict[str, Any]]:
    """Return the stages of one settlement for JSON; empty if it is unknown.

    `seconds`: time since the previous stage (0.0 for the first), to the millisecond.
    """
    life = next((each for each in _lives(facts) if each.settlement.id == settlement_id), None)
    if life is None:
        return []
    starts = [stage.at_ms for stage in life.stages]
    return [
        {
            "name": stage.name,
            "block": stage.block,
            "tx": stage.tx,
            "gas": stage.gas,
            "seconds": round((stage.at_ms - since) / 1000, 3),
        }
        for stage, since in zip(life.stages, [starts[0], *starts], strict=False)
    ]


def payouts_frame(facts: Iterable[ev.Event]) -> pd.DataFrame:
    """Return one row for each payout, in the order of the requests.

    `units`: base units of `asset`. `attempts`: number of signed attempts, with higher fees
    included. `gas_wei`: final gas cost. `took_ms`: from the request to the end.
    """
    lives: dict[str, payouts.Payout] = {}
    ends: dict[str, tuple[int, int]] = {}
    signed: Counter[str] = Counter()
    for fact in distinct(ev.canonical(list(facts))):
        if isinstance(fact, _SIGNED) and fact.act == payouts.ACT:
            signed[fact.subject] += 1
        if type(fact) not in payouts.MOVING:
            continue
        # As in `_fold`: one inconsistent payout does not affect the others.
        with suppress(IllegalTransition):
            lives[fact.subject] = payouts.apply(lives.get(fact.subject), fact)
            if isinstance(fact, ev.PayoutPaid | ev.PayoutRefunded | ev.PayoutCancelled):
                ends[fact.subject] = (fact.at_ms, fact.gas_wei)
    rows = []
    for payout in lives.values():
        ended_ms, gas_wei = ends.get(payout.id, (None, None))
        rows.append(
            {
                "id": payout.id,
                "state": payout.state.value,
                "user_id": payout.user_id,
                "address": payout.address,
                "credits": payout.credits,
                "units": payout.units,
                "asset": payout.asset,
                "tx": payout.tx or None,
                "attempts": signed[payout.batch or payout.id],
                "gas_wei": gas_wei,
                "reason": payout.reason,
                "asked_ms": payout.at_ms,
                "ended_ms": ended_ms,
                "took_ms": None if ended_ms is None else ended_ms - payout.at_ms,
            }
        )
    return typed(rows, _PAYOUT_COLUMNS)


_SIGNED = ev.TransactionSigned | ev.TransactionReplaced
_PAYOUT_COLUMNS = {
    "id": "object",
    "state": "object",
    "user_id": "object",
    "address": "object",
    "credits": "object",
    "units": "object",
    "asset": "object",
    "tx": "object",
    "attempts": "int64",
    "gas_wei": "object",
    "reason": "object",
    "asked_ms": "int64",
    "ended_ms": "Int64",
    "took_ms": "Int64",
}


# --- From facts to lives --------------------------------------------------------------------------


def _lives(facts: Iterable[ev.Event]) -> list[LifeRow]:
    """Return all settlements, in the order of their beginning."""
    standing = distinct(ev.canonical(list(facts)))
    asked = {f.subject: f for f in standing if isinstance(f, ev.PaymentRequested)}
    returned: dict[str, int] = {}
    gas: dict[str, dict[str, int]] = {}
    moves: dict[str, list[ev.Event]] = {}
    for fact in standing:
        if isinstance(fact, ev.TransactionMined):
            gas.setdefault(fact.subject, {})[fact.tx] = fact.gas_used
        elif type(fact) in _ORDER:
            moves.setdefault(fact.subject, []).append(fact)
        if isinstance(fact, ev.SettlementExecuted | ev.SettlementRefunded):
            returned[fact.subject] = fact.eurc_returned
    lives = []
    for subject, told in moves.items():
        deal = _fold(told)
        if deal is None:
            continue
        gas_by_tx = gas.get(subject, {})
        first = asked.get(deal.quote)
        lives.append(
            LifeRow(
                deal,
                _stages(first, deal, gas_by_tx),
                returned.get(subject),
                sum(gas_by_tx.values()) if gas_by_tx else None,
            )
        )
    return sorted(lives, key=lambda life: life.stages[0].at_ms)


def _fold(told: Sequence[ev.Event]) -> Settlement | None:
    """Return the settlement of these facts, or None if its creation is missing.

    Journals of several services are not in one order, but the transitions are, so the facts are
    sorted. A fact that still cannot follow (its cause may be orphaned) is left out here, so that
    one inconsistent settlement does not affect the others.
    """
    deal: Settlement | None = None
    for fact in sorted(told, key=lambda f: _ORDER[type(f)]):
        with suppress(IllegalTransition):
            deal = apply(deal, fact)
    return deal


def _stages(
    asked: ev.PaymentRequested | None, deal: Settlement, gas_by_tx: dict[str, int]
) -> tuple[StageRow, ...]:
    """Return the stages in order. Times never decrease, and no transaction appears twice."""
    result = [StageRow(REQUESTED, asked.at_ms, None, None, None)] if asked else []
    told: set[str] = set()
    for entered in deal.entered:
        # Services count milliseconds, blocks whole seconds. The time of a block may be before the
        # act that led to it; the stage then begins with the previous one.
        at_ms = max(entered.at_ms, result[-1].at_ms) if result else entered.at_ms
        # Finality and delivery refer to the block of an earlier transaction.
        own = entered.block if entered.block and entered.block.tx not in told else None
        if own is None:
            result.append(StageRow(entered.state.value, at_ms, None, None, None))
            continue
        told.add(own.tx)
        gas = gas_by_tx.get(own.tx)
        result.append(StageRow(entered.state.value, at_ms, own.number, own.tx, gas))
    return tuple(result)


def typed(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """Return a frame with exactly these columns, also without rows.

    Built column by column: pandas would use float for integers with gaps, or for 10^20.
    """
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=dtype)
            for name, dtype in columns.items()
        },
        columns=list(columns),
    )

"""Facts and slots as rows of a database, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from workbench.core.facts import BlockRef, Event, from_line, to_json
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.core.x402 import SettlementRequest

LINES_KEPT = 32_768
"""So many facts are remembered by their line of JSON: the newest are read again and again."""
Row = tuple[Any, ...]


def placed(at: BlockRef | None) -> str | None:
    """Where, as JSON in the one form that is compared; None for nowhere."""
    if at is None:
        return None
    where = f'"number": {at.number}, "hash": "{at.hash}"'
    return f'{{{where}, "tx": "{at.tx}", "log_index": {at.log_index}}}'


def row_of(own: Slot) -> Row:
    """The values of `statements.SLOT`."""
    act = (own.chain_id, own.signer, own.nonce, own.subject, own.act, own.attempt)
    return (*act, *standing_of(own))


def standing_of(own: Slot) -> Row:
    """What moves: the values of `statements.STANDING`."""
    return own.state.value, own.sent_ms, own.ok, placed(own.block)


def claim_row(claimed: SettlementRequest) -> Row:
    """The values of `statements.CLAIM`."""
    return claimed.settlement_id, json.dumps(claimed.to_wire())


def offer_row(claimed: SettlementRequest) -> Row:
    """The values of `statements.OFFER`."""
    return claimed.offer, claimed.settlement_id


def attempts_of(own: Slot) -> list[Row]:
    """The values of `statements.ATTEMPT` for each of them."""
    place = own.chain_id, own.signer, own.nonce
    return [(each.tx, *place, n, each.raw) for n, each in enumerate(own.attempts)]


@lru_cache(4_096)
def _place(placed: str) -> BlockRef:
    return BlockRef(**json.loads(placed))


def slots_of(rows: Iterable[Any]) -> list[Slot]:
    """Slots of rows in the order of nonces and attempts: the columns of `slot`, then tx and raw."""
    found: dict[tuple[int, str, int], Slot] = {}
    for chain_id, signer, nonce, subject, act, number, state, sent_ms, ok, placed, tx, raw in rows:
        own = (chain_id, signer, nonce)
        before = found[own].attempts if own in found else ()
        found[own] = Slot(
            chain_id=chain_id,
            signer=signer,
            nonce=nonce,
            subject=subject,
            act=act,
            attempt=number,
            state=SlotState(state),
            attempts=(*before, Attempt(tx, raw)),
            sent_ms=sent_ms,
            ok=bool(ok),
            block=_place(placed) if placed else None,
        )
    return list(found.values())


# --- What is remembered of any journal: equal lines are equal facts, whichever they are from ---

_lines: dict[str, Event] = {}


def read(line: str) -> Event:
    """The fact of a line of some journal."""
    known = _lines.get(line)
    if known is None:
        known = from_line(line)
        remember(known)
    return known


def remember(known: Event) -> None:
    """One that is or may soon be in a journal, and will be read."""
    if len(_lines) >= LINES_KEPT:
        _lines.clear()
    _lines[to_json(known)] = known

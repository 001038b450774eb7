"""Convert facts, claims and slots to rows of a database, and rows to facts and slots."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from workbench.core.facts import BlockRef, Event, from_line, to_json
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.core.x402 import SettlementRequest

LINES_KEPT = 32_768
"""Size of the cache of parsed journal lines: the newest facts are read again and again."""
Row = tuple[Any, ...]


def block_json(at: BlockRef | None) -> str | None:
    """Return a block reference as JSON, always in the same form, since it is compared as text."""
    if at is None:
        return None
    where = f'"number": {at.number}, "hash": "{at.hash}"'
    return f'{{{where}, "tx": "{at.tx}", "log_index": {at.log_index}}}'


def slot_row(own: Slot) -> Row:
    """Return the values of `statements.SLOT`."""
    key = (own.chain_id, own.signer, own.nonce, own.subject, own.act, own.attempt)
    return (*key, *slot_state_row(own))


def slot_state_row(own: Slot) -> Row:
    """Return the values of `statements.SLOT_STATE`: the columns that change."""
    return own.state.value, own.sent_ms, own.ok, block_json(own.block)


def claim_row(claimed: SettlementRequest) -> Row:
    """Return the values of `statements.CLAIM`."""
    return claimed.settlement_id, json.dumps(claimed.to_wire())


def offer_row(claimed: SettlementRequest) -> Row:
    """Return the values of `statements.OFFER`."""
    return claimed.offer, claimed.settlement_id


def attempt_rows(own: Slot) -> list[Row]:
    """Return the values of `statements.ATTEMPT` for each attempt of a slot."""
    place = own.chain_id, own.signer, own.nonce
    return [(each.tx, *place, n, each.raw) for n, each in enumerate(own.attempts)]


@lru_cache(4_096)
def _block_of(text: str) -> BlockRef:
    return BlockRef(**json.loads(text))


def slots_of(rows: Iterable[Any]) -> list[Slot]:
    """Return the slots of rows that hold the columns of `slot`, then tx and raw of one attempt.

    The rows are in the order of nonces, and of attempts within a nonce.
    """
    found: dict[tuple[int, str, int], Slot] = {}
    for chain_id, signer, nonce, subject, act, number, state, sent_ms, ok, block, tx, raw in rows:
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
            block=_block_of(block) if block else None,
        )
    return list(found.values())


# --- Cache of parsed facts for all journals of the process: equal lines are equal facts ---

_lines: dict[str, Event] = {}


def fact_of(line: str) -> Event:
    """Return the fact of a journal line."""
    known = _lines.get(line)
    if known is None:
        known = from_line(line)
        cache_fact(known)
    return known


def cache_fact(known: Event) -> None:
    """Cache a fact that was or will be written to a journal, and will be read."""
    if len(_lines) >= LINES_KEPT:
        _lines.clear()
    _lines[to_json(known)] = known

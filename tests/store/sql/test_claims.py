"""Claims: one settlement id and one offer are claimed once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from tests.hypothesis_profile import examples
from tests.store.sql.stores import within
from tests.strategies import authorizations
from workbench.core.x402 import SettlementRequest
from workbench.store.sql.database import SqlStore


@examples(30)
@given(authorizations, authorizations)
def test_a_settlement_is_claimed_once(first: SettlementRequest, second: SettlementRequest) -> None:
    """The first claim stays and comes back whole; another is refused."""
    store = SqlStore()
    second = replace(second, settlement_id=first.settlement_id)
    claims = [within(store, lambda unit, c=c: unit.authorize(c)) for c in (first, second, first)]  # type: ignore[misc]
    assert [True, False, False] == claims
    assert first == within(store, lambda unit: unit.authorization(first.settlement_id))
    store.close()

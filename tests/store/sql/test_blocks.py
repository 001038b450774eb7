"""The blocks that the watcher has read."""

from __future__ import annotations

import pytest

from tests.store.sql.stores import within
from workbench.core.errors import StoreError
from workbench.store.sql.database import SqlStore
from workbench.store.sql.write_behind import BLOCKS_KEPT


def test_blocks_are_stored_removed_and_dropped_when_old(store: SqlStore) -> None:
    """The newest is the last; only `BLOCKS_KEPT` are kept; one height has one hash."""
    for number in range(BLOCKS_KEPT + 3):
        within(store, lambda unit, n=number: unit.see_block(n, f"0x{n}"))  # type: ignore[misc]
    last = BLOCKS_KEPT + 2
    assert (last, f"0x{last}") == within(store, lambda unit: unit.last_block())
    with pytest.raises(StoreError, match="UNIQUE"):
        within(store, lambda unit: unit.see_block(last, "0xother"))
    for number in range(last, 2, -1):
        within(store, lambda unit, n=number: unit.unsee_block(n))  # type: ignore[misc]
    assert within(store, lambda unit: unit.last_block()) is None

"""A unit of work is committed whole or not at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.store.sql.stores import (
    CHAIN,
    ME,
    SLOT,
    Stop,
    authorization,
    everything,
    on_file,
    orphaned,
    record,
    sent,
    within,
)
from workbench.core.errors import StoreError
from workbench.core.facts import BlockRef
from workbench.store.sql.database import SqlStore
from workbench.store.sql.unit import SqlUnit


@pytest.mark.parametrize("end", [ValueError("no"), asyncio.CancelledError(), Stop()], ids=repr)
def test_a_unit_that_raises_leaves_nothing(store: SqlStore, end: BaseException) -> None:
    """Facts, claims, slots and blocks are rolled back, and the exception passes unchanged."""
    record(store, sent(1))
    before = store.dump()

    async def fail() -> None:
        async with store.unit() as unit:
            await unit.record(sent(2))
            assert await unit.authorize(authorization())
            await unit.put_slot(SLOT)
            await unit.see_block(7, "0xaa")
            assert [1, 2] == [fact.at_ms for _, fact in await unit.facts()], "seen inside"
            raise end

    with pytest.raises(type(end)):
        asyncio.run(fail())
    assert [sent(1)] == everything(store)
    assert 0 == within(store, lambda unit: unit.next_nonce(CHAIN, ME))
    assert within(store, lambda unit: unit.last_block()) is None
    assert within(store, lambda unit: unit.authorize(authorization()))
    assert before != store.dump(), "and the store works on"


@pytest.mark.parametrize("url", ["sqlite://", "file"])
def test_a_unit_inside_another_is_refused(path: Path, url: str) -> None:
    """The second raises an error, and the first continues unharmed.

    In memory both would share one connection, and a rollback of the second would undo the first.
    """
    store = on_file(path) if url == "file" else SqlStore(url)

    async def overlap() -> None:
        async with store.unit() as unit:
            await unit.record(sent(1))
            with pytest.raises(StoreError, match="overlap"):
                async with store.unit():
                    raise AssertionError("unreachable: the first is still open")
            await unit.record(sent(2))
            raise Stop

    with pytest.raises(Stop):
        asyncio.run(overlap())
    assert [] == everything(store)
    assert [True] == record(store, sent(3))
    store.close()


@pytest.mark.parametrize("when", ["before_commit", "after_commit"])
def test_a_crash_at_the_commit_is_before_or_after_it(store: SqlStore, when: str) -> None:
    """The hooks by which tests crash a service: before the commit the fact is lost, after not."""

    def die() -> None:
        raise Stop

    setattr(store, when, die)
    with pytest.raises(Stop):
        record(store, sent(1))
    setattr(store, when, lambda: None)
    assert ([sent(1)] if when == "after_commit" else []) == everything(store)


def test_a_unit_that_only_reads_calls_no_hook(store: SqlStore) -> None:
    """A unit that changes nothing has no commit at which a crash could matter."""
    record(store, sent(1))
    called: list[str] = []
    store.before_commit = lambda: called.append("before")
    store.after_commit = lambda: called.append("after")
    everything(store)
    record(store, sent(1))
    assert [] == called
    record(store, sent(2))
    assert ["before", "after"] == called


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_was_rolled_back_is_not_cached(exclusive: bool, path: Path) -> None:
    """Claims and orphanings are cached only after the commit of their unit."""
    store = SqlStore() if exclusive else on_file(path)
    claimed, fact = authorization(), sent(block=BlockRef(1, "0xb1", "0xt", -1))
    for error in (RuntimeError, None):

        async def work(unit: SqlUnit, error: type[Exception] | None = error) -> None:
            await unit.authorize(claimed)
            assert claimed == await unit.authorization(claimed.settlement_id)
            await unit.record_all([fact, orphaned("0xb1"), fact])
            if error:
                raise error

        with suppress(RuntimeError):
            within(store, work)
        known = within(store, lambda unit: unit.authorization(claimed.settlement_id))
        assert known == (None if error else claimed)
        assert ([] if error else [fact, orphaned("0xb1"), fact]) == everything(store)
    store.close()

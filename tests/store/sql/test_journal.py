"""The journal: each fact once, in order, and whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.facts import one_of_each, reorged
from tests.hypothesis_profile import examples
from tests.store.sql.stores import (
    CHAIN,
    ME,
    WORD,
    A,
    Stop,
    authorization,
    everything,
    on_file,
    orphaned,
    record,
    sent,
    within,
)
from tests.strategies import facts
from workbench.core import facts as ev
from workbench.core.facts import BlockOrphaned, BlockRef, Event, canonical
from workbench.store.sql.database import SqlStore
from workbench.store.sql.unit import SqlUnit


def test_a_fact_is_appended_once(store: SqlStore) -> None:
    """An equal fact is refused, from any source; another time makes it another fact."""
    assert [True, False, True, False] == record(store, sent(1), sent(1), sent(2), sent(1))
    assert [sent(1), sent(2)] == everything(store)


def test_every_kind_of_fact_comes_back_equal_and_in_order(store: SqlStore) -> None:
    """Sequence numbers only grow; facts can be read by page and by subject."""
    recorded = [*one_of_each("0x01"), *reorged()]
    assert all(record(store, *recorded))
    page = within(store, lambda unit: unit.facts())
    assert recorded == [fact for _, fact in page]
    numbers = [seq for seq, _ in page]
    assert sorted(set(numbers)) == numbers
    assert numbers[-1] == within(store, lambda unit: unit.last_seq())
    rest = within(store, lambda unit: unit.facts(after=numbers[4], limit=3))
    assert page[5:8] == rest
    of_one = within(store, lambda unit: unit.facts(subject="0x01"))
    assert [fact for fact in recorded if fact.subject == "0x01"] == [fact for _, fact in of_one]


@examples(30)
@given(st.lists(st.lists(st.integers(0, 200), max_size=170), max_size=4))
def test_many_facts_at_once_are_recorded_like_one_by_one(parts: list[list[int]]) -> None:
    """For any number of facts, with some recorded before, and after a rollback."""
    many, single = SqlStore(), SqlStore()
    for part in parts:
        recorded = [sent(n) for n in part]

        async def fail(unit: SqlUnit, recorded: list[Event] = recorded) -> None:
            await unit.record_all(recorded)
            raise LookupError

        with suppress(LookupError):
            within(many, fail)
        within(many, lambda unit, recorded=recorded: unit.record_all(recorded))  # type: ignore[misc]
        record(single, *recorded)
        for store in (many, single):
            assert within(store, lambda unit: unit.facts()) == [
                (seq, fact) for seq, fact in enumerate(everything(single), 1)
            ]
    assert many.cursor.execute("SELECT seq, id FROM fact ORDER BY seq").fetchall() == (
        single.cursor.execute("SELECT seq, id FROM fact ORDER BY seq").fetchall()
    )
    many.close()
    single.close()


def test_an_empty_database_answers_every_read(store: SqlStore) -> None:
    """The journal ends at 0, and nothing is found; no read raises an error."""
    assert [] == everything(store)
    assert 0 == within(store, lambda unit: unit.last_seq())
    assert [] == within(store, lambda unit: unit.standing("0x01"))
    assert within(store, lambda unit: unit.last_block()) is None
    assert within(store, lambda unit: unit.authorization(WORD)) is None
    assert within(store, lambda unit: unit.slot(CHAIN, ME, ("s", "fund", 1))) is None


HASHES = ("0xaa", "0xbb", "0xcc")
SUBJECTS = ("0x01", "0x02")
acts = st.one_of(
    st.tuples(st.just("orphaned"), st.sampled_from(HASHES), st.just("")),
    st.tuples(st.integers(0, 2), st.sampled_from((*HASHES, "")), st.sampled_from(SUBJECTS)),
)
"""Orphanings of a block, and facts that are in a block or in none."""


@examples(40)
@given(st.lists(acts, max_size=14))
def test_the_journal_agrees_with_the_rules(script: list[tuple[Any, str, str]]) -> None:
    """Facts and orphanings in any order: the standing facts are those of `canonical`.

    A fact is refused if the journal has it already, recorded since the last orphaning of its block.
    """
    store, model = SqlStore(), list[Event]()
    seen: set[tuple[Event, int]] = set()
    for n, (what, at, subject) in enumerate(script):
        fact = orphaned(at, n) if what == "orphaned" else sent(
            what, block=BlockRef(7, at, "0x11", 0) if at else None, subject=subject
        )  # fmt: skip
        about = fact.block.hash if fact.block else fact.subject
        times = sum(isinstance(e, BlockOrphaned) and e.subject == about for e in model)
        fresh = (fact, times) not in seen
        assert [fresh] == record(store, fact)
        seen.add((fact, times))
        model += [fact] * fresh
    assert model == everything(store)
    for subject in (*SUBJECTS, *HASHES):
        expected = [fact for fact in canonical(model) if fact.subject == subject]
        assert expected == within(store, lambda unit, s=subject: unit.standing(s))  # type: ignore[misc]
    for at in HASHES:
        expected = [fact for fact in model if fact.block and fact.block.hash == at]
        assert expected == within(store, lambda unit, h=at: unit.facts_in_block(h))  # type: ignore[misc]
    store.close()


@examples(15)
@given(st.lists(facts, max_size=4))
def test_any_facts_survive_the_journal(recorded: list[Event]) -> None:
    """Text of any alphabet, integers of 78 digits, with and without a block."""
    store = SqlStore()
    record(store, *recorded)
    assert list(dict.fromkeys(recorded)) == everything(store)
    store.close()


@pytest.mark.parametrize("amount", [2**63 - 1, 2**63, 2**64, 10**77, 2**256 - 1])
def test_amounts_of_any_size_are_exact(store: SqlStore, path: Path, amount: int) -> None:
    """Beyond 63 bits and up to 78 digits, in claims and facts, in memory and on disk."""
    recorded = [
        ev.AssetDelivered(subject="0x01", at_ms=0, source="t", buyer=A, asset_amount=amount),
        ev.SettlementFunded(
            subject="0x01", at_ms=0, source="t", eurc_amount=amount, asset_amount=amount
        ),
    ]
    for each in (store, on_file(path)):
        record(each, *recorded)
        within(each, lambda unit: unit.authorize(authorization(amount=amount)))
        back = within(each, lambda unit: unit.authorization(WORD))
        assert authorization(amount=amount) == back
        assert {amount} == {getattr(fact, "asset_amount", None) for fact in everything(each)}


def test_sequence_numbers_are_never_given_twice(path: Path) -> None:
    """A rollback does not make a reader with `after=` miss a fact."""

    async def record_and_stop(unit: SqlUnit) -> None:
        await unit.record(sent(2))
        raise Stop

    store = on_file(path)
    record(store, sent(1))
    with suppress(Stop):
        within(store, record_and_stop)
    record(store, sent(3))
    assert [1, 3] == [fact.at_ms for fact in everything(store)]
    assert [3] == [f.at_ms for _, f in within(store, lambda unit: unit.facts(after=1))]
    store.close()

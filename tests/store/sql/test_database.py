"""The store: what was promised stands, once and exactly, and what failed left nothing behind."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.facts import one_of_each, reorged
from tests.hypothesis_profile import examples
from tests.immediate import finished
from tests.strategies import authorizations, blocks, facts, words
from workbench.core import facts as ev
from workbench.core.errors import StoreError
from workbench.core.facts import BlockOrphaned, BlockRef, Event, canonical
from workbench.core.ports import Attempt, Slot, SlotState
from workbench.core.x402 import NO_PERMIT, Payment, Permit, SettlementRequest, Terms
from workbench.store.sql.database import SqlStore, sqlite_url
from workbench.store.sql.unit import SqlUnit
from workbench.store.sql.write_behind import BLOCKS_KEPT

T = TypeVar("T")
A, WORD = "0x" + "aa" * 20, "0x" + "1f" * 32
CHAIN, ME, OTHER = 31337, "0x" + "01" * 20, "0x" + "02" * 20


def within(store: SqlStore, work: Callable[[SqlUnit], Awaitable[T]]) -> T:
    """One unit of work, committed."""

    async def run() -> T:
        async with store.unit() as unit:
            return await work(unit)

    return finished(run())


def moved(store: SqlStore, before: Slot, after: Slot) -> bool:
    """Whether a slot moved, in a unit of its own."""
    (is_moved,) = within(store, lambda unit: unit.move_slots([(before, after)]))
    return is_moved


def record(store: SqlStore, *told: Event) -> list[bool]:
    """Each fact in a unit of its own."""
    return [within(store, lambda unit, fact=fact: unit.record(fact)) for fact in told]  # type: ignore[misc]


def everything(store: SqlStore) -> list[Event]:
    """The journal in order."""
    return [fact for _, fact in within(store, lambda unit: unit.facts())]


@pytest.fixture
def store() -> Iterator[SqlStore]:
    """A database in memory."""
    made = SqlStore()
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database file may be."""
    return tmp_path / "service.db"


def on_file(path: Path) -> SqlStore:
    return SqlStore(sqlite_url(path))


def sent(n: int = 0, *, block: BlockRef | None = None, subject: str = "0x01") -> Event:
    return ev.TransactionSent(
        subject=subject, at_ms=n, source="t", block=block, act="swap", tx=f"0x{n:02x}"
    )


def orphaned(block_hash: str, at_ms: int = 0) -> Event:
    return BlockOrphaned(subject=block_hash, at_ms=at_ms, source="watcher", number=7)


def authorization(identity: str = WORD, amount: int = 7) -> SettlementRequest:
    terms = Terms(A, A, A, amount, amount, amount, 1, 2, WORD, WORD)
    payment = Payment(A, terms, "0x" + "5a" * 65, Permit(amount, 9, 27, WORD, WORD))
    return SettlementRequest(identity, payment, "0x" + "a5" * 65, NO_PERMIT)


# --- The journal ---


def test_a_fact_is_appended_once(store: SqlStore) -> None:
    """The same fact again is not, whoever tells it; another time makes it another fact."""
    assert [True, False, True, False] == record(store, sent(1), sent(1), sent(2), sent(1))
    assert [sent(1), sent(2)] == everything(store)


def test_every_kind_of_fact_comes_back_equal_and_in_order(store: SqlStore) -> None:
    """With sequence numbers that only grow, by page and by subject."""
    told = [*one_of_each("0x01"), *reorged()]
    assert all(record(store, *told))
    page = within(store, lambda unit: unit.facts())
    assert told == [fact for _, fact in page]
    numbers = [seq for seq, _ in page]
    assert sorted(set(numbers)) == numbers
    assert numbers[-1] == within(store, lambda unit: unit.last_seq())
    rest = within(store, lambda unit: unit.facts(after=numbers[4], limit=3))
    assert page[5:8] == rest
    mine = within(store, lambda unit: unit.facts(subject="0x01"))
    assert [fact for fact in told if fact.subject == "0x01"] == [fact for _, fact in mine]


@examples(30)
@given(st.lists(st.lists(st.integers(0, 200), max_size=170), max_size=4))
def test_many_at_once_are_recorded_as_one_after_the_other(parts: list[list[int]]) -> None:
    """However many fit into a statement, and wherever some stand already: also after a rollback."""
    many, single = SqlStore(), SqlStore()
    for part in parts:
        told = [sent(n) for n in part]

        async def fail(unit: SqlUnit, told: list[Event] = told) -> None:
            await unit.record_all(told)
            raise LookupError

        with suppress(LookupError):
            within(many, fail)
        within(many, lambda unit, told=told: unit.record_all(told))  # type: ignore[misc]
        record(single, *told)
        for store in (many, single):
            assert within(store, lambda unit: unit.facts()) == [
                (seq, fact) for seq, fact in enumerate(everything(single), 1)
            ]
    assert many.cursor.execute("SELECT seq, id FROM fact ORDER BY seq").fetchall() == (
        single.cursor.execute("SELECT seq, id FROM fact ORDER BY seq").fetchall()
    )
    many.close()
    single.close()


def test_an_empty_journal_ends_at_zero(store: SqlStore) -> None:
    """Nothing is there, and asking for it is no error."""
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


@examples(40)
@given(st.lists(acts, max_size=14))
def test_the_journal_agrees_with_the_rules(script: list[tuple[Any, str, str]]) -> None:
    """Facts and orphanings in any order: what the database says stands is what `canonical` says.

    A fact is refused exactly while the same fact of the same appearance of its block is there.
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
def test_any_facts_survive_the_journal(told: list[Event]) -> None:
    """Text of any alphabet, integers of 78 digits, with and without a block."""
    store = SqlStore()
    record(store, *told)
    assert list(dict.fromkeys(told)) == everything(store)
    store.close()


# --- All or nothing ---


class Stop(BaseException):
    """An end that no `except Exception` sees, as a cancelled task's."""


@pytest.mark.parametrize("end", [ValueError("no"), asyncio.CancelledError(), Stop()], ids=repr)
def test_what_ends_in_an_exception_leaves_nothing(store: SqlStore, end: BaseException) -> None:
    """Facts, claims, slots and blocks together; and the exception comes out as it is."""
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
def test_units_that_overlap_are_refused_and_harm_nobody(path: Path, url: str) -> None:
    """A task that waits for something else inside its unit: the other is told, the first is whole.

    In memory both would share one connection, and the second's failure would undo the first.
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
    """The hooks by which tests let a service die: what was committed then is there, or not."""

    def die() -> None:
        raise Stop

    setattr(store, when, die)
    with pytest.raises(Stop):
        record(store, sent(1))
    setattr(store, when, lambda: None)
    assert ([sent(1)] if when == "after_commit" else []) == everything(store)


def test_reading_alone_runs_no_hooks(store: SqlStore) -> None:
    """Nothing happened that a crash could tear."""
    record(store, sent(1))
    called: list[str] = []
    store.before_commit = lambda: called.append("before")
    store.after_commit = lambda: called.append("after")
    everything(store)
    record(store, sent(1))
    assert [] == called
    record(store, sent(2))
    assert ["before", "after"] == called


# --- Claims ---


@examples(30)
@given(authorizations, authorizations)
def test_a_settlement_is_claimed_once(first: SettlementRequest, second: SettlementRequest) -> None:
    """The first claim stands for ever and comes back whole; another is refused."""
    store = SqlStore()
    second = replace(second, settlement_id=first.settlement_id)
    claims = [within(store, lambda unit, c=c: unit.authorize(c)) for c in (first, second, first)]  # type: ignore[misc]
    assert [True, False, False] == claims
    assert first == within(store, lambda unit: unit.authorization(first.settlement_id))
    store.close()


@pytest.mark.parametrize("amount", [2**63 - 1, 2**63, 2**64, 10**77, 2**256 - 1])
def test_amounts_are_exact_however_large(store: SqlStore, path: Path, amount: int) -> None:
    """Beyond 63 bits and up to 78 digits, in claims and facts, in memory and on disk."""
    told = [
        ev.AssetDelivered(subject="0x01", at_ms=0, source="t", buyer=A, asset_amount=amount),
        ev.SettlementFunded(
            subject="0x01", at_ms=0, source="t", eurc_amount=amount, asset_amount=amount
        ),
    ]
    for each in (store, on_file(path)):
        record(each, *told)
        within(each, lambda unit: unit.authorize(authorization(amount=amount)))
        back = within(each, lambda unit: unit.authorization(WORD))
        assert authorization(amount=amount) == back
        assert {amount} == {getattr(fact, "asset_amount", None) for fact in everything(each)}


# --- Slots ---

SLOT = Slot(CHAIN, ME, 0, "0x01", "fund", 1, SlotState.SIGNED, (Attempt("0xt0", "0xraw"),))
slots = st.builds(
    Slot,
    chain_id=st.just(CHAIN),
    signer=st.just(ME),
    nonce=st.integers(0, 2**53),
    subject=words,
    act=st.sampled_from(["create", "fund", "swap"]),
    attempt=st.integers(1, 5),
    state=st.sampled_from(SlotState),
    attempts=st.lists(
        st.builds(Attempt, tx=words, raw=words), min_size=1, max_size=4, unique_by=lambda a: a.tx
    ).map(tuple),
    sent_ms=st.integers(0, 2**53),
    ok=st.booleans(),
    block=st.none() | blocks,
)


@examples(20)
@given(slots, st.data())
def test_a_slot_comes_back_whole_and_is_replaced_whole(first: Slot, data: st.DataObject) -> None:
    """All its attempts in order; found by its key and by its state."""
    store = SqlStore()
    own = {name: getattr(first, name) for name in ("nonce", "subject", "act", "attempt")}
    second = replace(data.draw(slots), **own)
    for slot in (first, second):
        within(store, lambda unit, s=slot: unit.put_slot(s))  # type: ignore[misc]
        key = (slot.subject, slot.act, slot.attempt)
        assert slot == within(store, lambda unit, k=key: unit.slot(CHAIN, ME, k))  # type: ignore[misc]
        assert [slot] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))
        others = [state for state in SlotState if state is not slot.state]
        assert [] == within(store, lambda unit, o=others: unit.slots(CHAIN, ME, *o))  # type: ignore[misc]
        assert slot.nonce + 1 == within(store, lambda unit: unit.next_nonce(CHAIN, ME))
    store.close()


@examples(20)
@given(slots, slots, st.booleans())
def test_a_slot_moves_only_from_where_it_is(first: Slot, other: Slot, bumped: bool) -> None:
    """Whoever saw another state, block or number of attempts is told so, and changes nothing."""
    store = SqlStore()
    within(store, lambda unit: unit.take_slots([first]))
    after = replace(other, nonce=first.nonce, subject=first.subject, act=first.act)
    after = replace(after, attempt=first.attempt, attempts=first.attempts)
    if bumped:
        after = replace(after, attempts=(*first.attempts, Attempt("0xnew", "0x")))
    more = replace(first, attempts=(*first.attempts, Attempt("0xmore", "0x")))
    wrong = [more, replace(first, sent_ms=first.sent_ms + 1), replace(first, ok=not first.ok)]
    wrong += [replace(first, block=None if first.block else BlockRef(1, "0xa", "0xb", -1))]
    for before in wrong:
        same = replace(after, attempts=before.attempts)
        assert not moved(store, before, same)
    own = (first.subject, first.act, first.attempt)
    assert first == within(store, lambda unit: unit.slot(CHAIN, ME, own))
    assert moved(store, first, after)
    assert after == within(store, lambda unit: unit.slot(CHAIN, ME, own))
    if after != first:
        assert not moved(store, first, after)
    store.close()


@examples(20)
@given(
    st.lists(st.tuples(st.integers(0, 3), slots, st.booleans(), st.booleans()), max_size=8),
    st.booleans(),
)
def test_many_move_as_one_after_the_other(
    wanted: list[tuple[int, Slot, bool, bool]], is_alone: bool
) -> None:
    """One that is refused holds up none of the others; one that moved may move on."""
    known = [
        replace(SLOT, nonce=n, subject=f"0x{n}", attempts=(Attempt(f"0xt{n}", "0x"),))
        for n in range(4)
    ]
    now = list(known)
    moves: list[tuple[Slot, Slot]] = []
    for n, to, is_stale, is_bumped in wanted:
        before = replace(now[n], sent_ms=now[n].sent_ms + 1) if is_stale else now[n]
        more = (Attempt(f"0xb{len(moves)}", "0x"),) if is_bumped else ()
        after = replace(before, state=to.state, block=to.block, ok=to.ok)
        after = replace(after, attempts=(*before.attempts, *more))
        moves.append((before, after))
        now[n] = now[n] if is_stale else after
    store = SqlStore()
    store.exclusive = is_alone
    within(store, lambda unit: unit.take_slots(known))
    done = within(store, lambda unit: unit.move_slots(moves))
    assert done == [not is_stale for _, _, is_stale, _ in wanted]
    store.exclusive = False  # What the database has.
    assert now == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))
    store.close()


def test_a_slot_is_taken_once(store: SqlStore) -> None:
    """All or none: a nonce or a key that is taken leaves those beside it untaken, too."""
    free = replace(SLOT, nonce=1, subject="0x02", attempts=(Attempt("0xt1", "0x"),))
    within(store, lambda unit: unit.take_slots([SLOT]))
    other = replace(SLOT, attempts=(Attempt("0xt2", "0x"),))
    for taken in (replace(other, subject="0x03"), replace(other, nonce=9)):
        with pytest.raises(StoreError, match="UNIQUE"):
            within(store, lambda unit, t=taken: unit.take_slots([free, t]))  # type: ignore[misc]
    assert [SLOT] == within(store, lambda unit: unit.slots(CHAIN, ME, SlotState.SIGNED))


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_rolled_back_is_not_remembered(alone: bool, path: Path) -> None:
    """Claims and orphanings are remembered; those of a unit that failed never were."""
    store = SqlStore() if alone else on_file(path)
    claimed, fact = authorization(), sent(block=BlockRef(1, "0xb1", "0xt", -1))
    for error in (RuntimeError, None):

        async def tell(unit: SqlUnit, error: type[Exception] | None = error) -> None:
            await unit.authorize(claimed)
            assert claimed == await unit.authorization(claimed.settlement_id)
            await unit.record_all([fact, orphaned("0xb1"), fact])
            if error:
                raise error

        with suppress(RuntimeError):
            within(store, tell)
        known = within(store, lambda unit: unit.authorization(claimed.settlement_id))
        assert known == (None if error else claimed)
        assert ([] if error else [fact, orphaned("0xb1"), fact]) == everything(store)
    store.close()


def test_slots_are_in_the_order_of_their_nonces_and_apart_by_signer(store: SqlStore) -> None:
    """Whatever the order of writing; another signer or chain has nonces of its own."""
    made = [
        replace(SLOT, nonce=n, subject=f"0x{n}", attempts=(Attempt(f"0xt{n}", "0x"),))
        for n in (3, 1, 10, 2)
    ]
    others = [
        replace(SLOT, signer=OTHER, attempts=(Attempt("0xo", "0x"),)),
        replace(SLOT, chain_id=1, attempts=(Attempt("0xp", "0x"),)),
    ]
    for slot in (*made, *others):
        within(store, lambda unit, s=slot: unit.put_slot(s))  # type: ignore[misc]
    found = within(store, lambda unit: unit.slots(CHAIN, ME, SlotState.SIGNED))
    assert [1, 2, 3, 10] == [slot.nonce for slot in found]
    assert [others[0]] == within(store, lambda unit: unit.slots(CHAIN, OTHER, SlotState.SIGNED))
    nonces = [(CHAIN, ME), (CHAIN, OTHER), (1, ME), (1, OTHER)]
    assert [11, 1, 1, 0] == [
        within(store, lambda unit, k=key: unit.next_nonce(*k))  # type: ignore[misc]
        for key in nonces
    ]


@pytest.mark.parametrize(
    "twin",
    [
        replace(SLOT, nonce=1, attempts=(Attempt("0xt1", "0x"),)),
        replace(SLOT, nonce=1, subject="0x02"),
    ],
    ids=["the same act under another nonce", "the same bytes under another nonce"],
)
def test_an_act_has_one_nonce_for_ever(store: SqlStore, twin: Slot) -> None:
    """The database itself refuses to let one act be paid for twice, and keeps the first."""
    within(store, lambda unit: unit.put_slot(SLOT))
    with pytest.raises(StoreError, match="UNIQUE"):
        within(store, lambda unit: unit.put_slot(twin))
    assert [SLOT] == within(store, lambda unit: unit.slots(CHAIN, ME, *SlotState))


# --- Blocks seen ---


def test_blocks_are_seen_unseen_and_forgotten(store: SqlStore) -> None:
    """The newest is the last; only so many are kept; one height has one hash."""
    for number in range(BLOCKS_KEPT + 3):
        within(store, lambda unit, n=number: unit.see_block(n, f"0x{n}"))  # type: ignore[misc]
    last = BLOCKS_KEPT + 2
    assert (last, f"0x{last}") == within(store, lambda unit: unit.last_block())
    with pytest.raises(StoreError, match="UNIQUE"):
        within(store, lambda unit: unit.see_block(last, "0xother"))
    for number in range(last, 2, -1):
        within(store, lambda unit, n=number: unit.unsee_block(n))  # type: ignore[misc]
    assert within(store, lambda unit: unit.last_block()) is None


# --- Files ---


def test_a_file_survives_reopening(path: Path) -> None:
    """Everything is there, and numbers go on where they were."""
    first = on_file(path)
    record(first, sent(1), sent(2))
    within(first, lambda unit: unit.authorize(authorization()))
    within(first, lambda unit: unit.put_slot(SLOT))
    within(first, lambda unit: unit.see_block(7, "0xaa"))
    last = within(first, lambda unit: unit.last_seq())
    first.close()
    again = on_file(path)
    assert [sent(1), sent(2)] == everything(again)
    assert not within(again, lambda unit: unit.authorize(authorization()))
    assert [SLOT] == within(again, lambda unit: unit.slots(CHAIN, ME, SlotState.SIGNED))
    assert (7, "0xaa") == within(again, lambda unit: unit.last_block())
    assert [False, True] == record(again, sent(2), sent(3))
    assert last < within(again, lambda unit: unit.last_seq())
    again.close()


def test_a_journal_with_the_indexes_of_before_goes_on(path: Path) -> None:
    """It has an index for ids and one for subjects, where there is one for both now."""
    columns = "seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL"
    columns += ", subject TEXT NOT NULL, block_hash TEXT, data TEXT NOT NULL"
    with sqlite3.connect(path) as old:
        old.execute(f"CREATE TABLE fact ({columns})")
    old.close()
    store = on_file(path)
    assert [True, False, True] == record(store, sent(1), sent(1), sent(2))
    assert [sent(1), sent(2)] == everything(store)
    store.close()


def test_sequence_numbers_are_never_given_twice(path: Path) -> None:
    """A reader that asks `after=` must not miss a fact because of a rollback."""
    store = on_file(path)
    record(store, sent(1))
    with suppress(Stop):
        within(store, _record_and_stop)
    record(store, sent(3))
    assert [1, 3] == [fact.at_ms for fact in everything(store)]
    assert [3] == [f.at_ms for _, f in within(store, lambda unit: unit.facts(after=1))]
    store.close()


async def _record_and_stop(unit: SqlUnit) -> None:
    await unit.record(sent(2))
    raise Stop


def test_what_was_committed_is_in_the_file_at_once(path: Path) -> None:
    """Another reader sees it before anything is closed: nothing waits in a buffer of ours."""
    store = on_file(path)
    record(store, sent(1))
    with sqlite3.connect(path) as reader:
        assert [("TransactionSent",)] == reader.execute("SELECT type FROM fact").fetchall()
        assert [("wal",)] == reader.execute("PRAGMA journal_mode").fetchall()
    store.close()


def test_two_writers_take_turns(path: Path) -> None:
    """The second waits until the first has committed, and then sees the claim that was made."""
    first, second = on_file(path), on_file(path)
    inside, result = threading.Event(), list[bool]()

    async def hold() -> None:
        async with first.unit() as unit:
            assert await unit.authorize(authorization())
            inside.set()
            other.start()
            other.join(0.1)  # The other's chance to be wrong; a right one is still waiting.
            assert [] == result, "the second writer did not wait"

    def claim() -> None:
        inside.wait(10)
        result.append(within(second, lambda unit: unit.authorize(authorization())))

    other = threading.Thread(target=claim)
    asyncio.run(hold())
    other.join(10)
    assert [False] == result
    for store in (first, second):
        store.close()


def test_a_writer_that_waits_in_vain_is_told_by_name(path: Path) -> None:
    """A file that somebody else keeps locked is a StoreError with the cause, not a hang."""
    first, second = on_file(path), on_file(path)
    second.cursor.execute("PRAGMA busy_timeout=20")

    async def hold() -> None:
        async with first.unit() as unit:
            await unit.record(sent(1))
            with pytest.raises(StoreError, match="locked") as refused:
                async with second.unit():
                    raise AssertionError("unreachable: the file is locked")
            assert "no other service uses the file" in refused.value.hint

    asyncio.run(hold())
    assert [sent(1)] == everything(second), "and afterwards it works again"
    for store in (first, second):
        store.close()


@pytest.mark.parametrize("where", ["missing/service.db", "."], ids=["no folder", "a folder"])
def test_an_impossible_path_is_a_store_error(tmp_path: Path, where: str) -> None:
    """With the path and what to check."""
    with pytest.raises(StoreError, match="refused") as refused:
        on_file(tmp_path / where)
    assert str(tmp_path) in refused.value.message
    assert "folder exists" in refused.value.hint


@pytest.mark.parametrize(
    "content", [b"this is no database, not at all " * 64, b"SQLite format 3\0"]
)
def test_a_file_that_is_no_database_is_a_store_error(path: Path, content: bytes) -> None:
    """And it is left as it is."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match="refused"):
        on_file(path)
    assert content == path.read_bytes()


# --- Snapshots ---


def content(image: bytes) -> bytes:
    """Without the header's counters and library version (SQLite's file format, 1.3)."""
    masked = bytearray(image)
    for first in (24, 40, 92, 96):
        masked[first : first + 4] = bytes(4)
    return bytes(masked)


def test_a_dump_is_the_whole_and_a_restore_goes_back_to_it(store: SqlStore) -> None:
    """To the byte, as often as one likes; what came after is gone, numbers too."""
    record(store, sent(1))
    within(store, lambda unit: unit.put_slot(SLOT))
    image = store.dump()
    for _ in range(2):
        record(store, sent(2), sent(3))
        within(store, lambda unit: unit.authorize(authorization()))
        store.restore(image)
        assert content(image) == content(store.dump())
        assert [sent(1)] == everything(store)
        assert within(store, lambda unit: unit.authorization(WORD)) is None
    assert [True] == record(store, sent(2))
    assert 2 == within(store, lambda unit: unit.last_seq())


def test_a_dump_fits_another_store(store: SqlStore) -> None:
    """A copy lives on by itself, and can grow."""
    record(store, sent(1))
    copy = SqlStore()
    copy.restore(store.dump())
    record(copy, *(sent(n) for n in range(2, 60)))
    assert [sent(1)] == everything(store)
    assert 59 == len(everything(copy))
    copy.close()


def test_any_folder_name_is_that_folder(tmp_path: Path) -> None:
    """Characters that mean something in a URL mean nothing in a path."""
    odd = tmp_path / "a?b c#d%20é"
    odd.mkdir()
    on_file(odd / "seller.db").close()
    assert "seller.db" in [path.name for path in odd.iterdir()]

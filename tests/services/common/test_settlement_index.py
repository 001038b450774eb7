"""The book: bit by bit, through any reorgs, it says what the whole journal says at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.faulty import at_once
from tests.facts import (
    GENESIS_MS,
    digest,
    happy,
    journal,
    one_of_each,
    pending,
    refunded,
    rejected,
    reorged,
)
from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition
from workbench.core.ports import StoreTransaction
from workbench.core.settlement import OPEN, SettlementState, fold, merge
from workbench.services.common.settlement_index import SettlementIndex
from workbench.store.sql.database import SqlStore

FACTS = {type(fact): fact for fact in one_of_each()}
LIFE = (
    ev.SettlementCreated,
    ev.SettlementFunded,
    ev.SettlementSwapped,
    ev.SettlementExecuted,
)
ACTS = {ev.SettlementCreated: "fund", ev.SettlementFunded: "swap", ev.SettlementSwapped: "execute"}


class Play:
    """A chain that mines, forks and goes back to old branches, and who tells about it.

    `told` collects what a service on this chain would put into its journal, in its order: the
    watcher's facts, and between them those of the service itself.
    """

    def __init__(self, count: int) -> None:
        self.ids = [digest("settlement", n) for n in range(count)]
        self.blocks: list[tuple[ev.BlockRef, list[ev.Event]]] = []
        self.left: list[tuple[ev.BlockRef, list[ev.Event]]] = []
        self.told: list[ev.Event] = []
        self.time = 0
        self.forks = 0

    def make(self, kind: type[ev.Event], identity: str, **more: Any) -> ev.Event:
        self.time += 1
        fact = replace(FACTS[kind], subject=identity, at_ms=self.time, source="test")
        return replace(fact, **more)

    def stage(self, identity: str) -> int:
        """How many acts of its life are on the chain."""
        return sum(f.subject == identity for _, facts in self.blocks for f in facts if f.contract)

    def mine(self, which: Sequence[int]) -> None:
        """A block with the next act of these settlements."""
        self.forks += 1
        number = len(self.blocks)
        ref = ev.BlockRef(number, digest("block", number, self.forks), "", 0)
        facts: list[ev.Event] = []
        for place, n in enumerate(dict.fromkeys(n % len(self.ids) for n in which)):
            identity = self.ids[n]
            if (stage := self.stage(identity)) < len(LIFE):
                own = replace(ref, tx=digest("tx", identity, stage), log_index=place)
                facts.append(self.make(LIFE[stage], identity, block=own))
                facts.append(self.make(ev.TransactionMined, identity, block=own, tx=own.tx))
        self.take(ref, facts)

    def take(self, ref: ev.BlockRef, facts: list[ev.Event]) -> None:
        self.blocks.append((ref, facts))
        self.told += facts

    def reorg(self, depth: int) -> None:
        """The newest blocks leave, newest first; those with facts are orphaned."""
        self.left = []
        for _ in range(min(depth, len(self.blocks))):
            ref, facts = self.blocks.pop()
            self.left.insert(0, (ref, facts))
            if facts:
                self.time += 1
                self.told.append(orphaned(ref, self.time))

    def back(self) -> None:
        """The chain goes back to the branch that the last reorg left."""
        branch, start = self.left, self.left[0][0].number if self.left else 0
        if not branch or start > len(self.blocks):
            return
        self.reorg(len(self.blocks) - start)
        for ref, facts in branch:
            self.take(ref, facts)

    def fail(self, n: int, reverted: bool, transient: bool) -> None:
        """The act that is owed now fails: in the simulation, or mined in a new block."""
        identity = self.ids[n % len(self.ids)]
        stage = self.stage(identity)
        if not 0 < stage < len(LIFE):
            return
        more: dict[str, Any] = {"act": ACTS[LIFE[stage - 1]], "code": "over_budget"}
        more |= {"transient": transient, "tx": digest("tx", self.time) if reverted else ""}
        if not reverted:
            self.told.append(self.make(ev.TransactionFailed, identity, **more))
            return
        self.mine(())
        ref = replace(self.blocks[-1][0], tx=more["tx"], log_index=-1)
        fact = self.make(ev.TransactionFailed, identity, **more, block=ref)
        self.blocks[-1] = (self.blocks[-1][0], [fact])
        self.told.append(fact)

    def confirm(self, n: int) -> None:
        """The service notes what the newest act's block has: finality, or delivery."""
        identity = self.ids[n % len(self.ids)]
        state = fold(self.told).get(identity)
        kind = {
            SettlementState.SWAPPED: ev.FinalityReached,
            SettlementState.EXECUTED: ev.AssetDelivered,
        }
        if state and state.state in kind:
            block = state.block_of(state.state)
            self.told.append(self.make(kind[state.state], identity, block=block))


def orphaned(block: ev.BlockRef, at_ms: int) -> ev.BlockOrphaned:
    return ev.BlockOrphaned(subject=block.hash, number=block.number, source="watcher", at_ms=at_ms)


small = st.integers(0, 3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("mine"), st.lists(small, min_size=1, max_size=3)),
        st.tuples(st.just("mine"), st.lists(small, min_size=1, max_size=3)),
        st.tuples(st.just("reorg"), st.integers(1, 5)),
        st.tuples(st.just("back")),
        st.tuples(st.just("fail"), small, st.booleans(), st.booleans()),
        st.tuples(st.just("confirm"), small),
        st.tuples(st.just("refresh")),
    ),
    max_size=40,
)


def record(store: SqlStore, facts: Sequence[ev.Event]) -> None:
    async def write() -> None:
        async with store.unit() as unit:
            for fact in facts:
                await unit.record(fact)

    at_once(write())


def whole(store: SqlStore) -> list[ev.Event]:
    async def read() -> list[ev.Event]:
        async with store.unit() as unit:
            return [fact for _, fact in await unit.facts()]

    return at_once(read())


@pytest.fixture
def store() -> Iterator[SqlStore]:
    made = SqlStore()
    yield made
    made.close()


# --- One emitter ----------------------------------------------------------------------------------


@given(steps)
def test_bit_by_bit_equals_all_at_once(script: list[tuple[Any, ...]]) -> None:
    """After any reorgs, returns, failures and refreshes: the book is the fold of the journal."""
    store = SqlStore()
    play, book, written = Play(4), SettlementIndex(store), 0
    for name, *arguments in [*script, ("refresh",)]:
        if name != "refresh":
            getattr(play, name)(*arguments)
            continue
        record(store, play.told[written:])
        written = len(play.told)
        at_once(book.refresh())
        expected = fold(whole(store))
        assert expected == book.settlements
        assert {s.id: s for s in expected.values() if s.state in OPEN} == {
            s.id: s for s in book.open()
        }
    for identity in play.ids:
        stage, known = play.stage(identity), book.get(identity)
        on_chain = [e for e in known.entered if e.state.name in CHAIN_STATES] if known else []
        assert stage == len(on_chain)
    anew = SettlementIndex(store)
    at_once(anew.refresh())
    assert anew.settlements == book.settlements
    store.close()


CHAIN_STATES = ("CREATED", "FUNDED", "SWAPPED", "EXECUTED")


def test_refresh_names_what_moved(store: SqlStore) -> None:
    """Those with new facts, and those whose facts were taken back; then nobody."""
    play, book = Play(3), SettlementIndex(store)
    play.mine([0, 1])
    play.mine([1, 2])
    record(store, play.told)
    assert play.ids == at_once(book.refresh())
    assert [] == at_once(book.refresh())
    play.reorg(1)
    record(store, play.told[-1:])
    assert set(play.ids[1:]) < set(at_once(book.refresh()))
    assert (SettlementState.CREATED, None) == (
        book.settlements[play.ids[1]].state,
        book.get(play.ids[2]),
    )


def test_a_journal_of_many(store: SqlStore) -> None:
    """Forty overlapping lives, refunds and reorgs among them, refreshed after every tenth fact."""
    facts, book = journal(40), SettlementIndex(store)
    for start in range(0, len(facts), 10):
        record(store, facts[start : start + 10])
        at_once(book.refresh())
    assert fold(whole(store)) == book.settlements
    assert [] == book.open()


def test_a_revert_told_before_the_birth_counts(store: SqlStore) -> None:
    """After a reorg, `fund` may be mined, and revert, before its settlement is created again."""
    play, book = Play(1), SettlementIndex(store)
    identity = play.ids[0]
    play.mine([0])
    born = play.told[0]
    play.reorg(1)
    failed = play.make(ev.TransactionFailed, identity, act="fund", tx="0x01", transient=True)
    record(store, [*play.told, failed])
    at_once(book.refresh())
    assert None is book.get(identity)
    record(store, [replace(born, at_ms=99)])
    at_once(book.refresh())
    assert (SettlementState.CREATED, ("fund",)) == (
        book.settlements[identity].state,
        book.settlements[identity].reverted,
    )
    assert fold(whole(store)) == book.settlements


def test_a_rejection_after_the_chain_said_otherwise(store: SqlStore) -> None:
    """Our own answer comes late: the chain is right, nothing moves, and no reason is left."""
    facts = [f for f in rejected() if not isinstance(f, ev.PaymentRequested)]
    created = replace(FACTS[ev.SettlementCreated], subject=facts[0].subject)
    for order in ([facts[0], created, facts[1]], [*facts, created]):
        settlement = fold(order)[facts[0].subject]
        assert (SettlementState.CREATED, "") == (settlement.state, settlement.reason)


def test_an_illegal_fact_is_named_and_changes_nothing(store: SqlStore) -> None:
    """One journal, one emitter: out of order is a defect, each time it is looked at."""
    facts, book = happy(0), SettlementIndex(store)
    upto = next(n for n, f in enumerate(facts) if isinstance(f, ev.SettlementFunded))
    record(store, facts[:upto])
    at_once(book.refresh())
    before = dict(book.settlements)
    final = next(f for f in facts if isinstance(f, ev.FinalityReached))
    record(store, [facts[upto], final])
    for _ in range(2):
        with pytest.raises(IllegalTransition):
            at_once(book.refresh())
        assert before == book.settlements
    assert final.block
    record(store, [orphaned(final.block, 1)])
    at_once(book.refresh())
    assert SettlementState.FUNDED is book.settlements[final.subject].state


class Slow:
    """A store that waits around each unit, as PostgreSQL would."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def version(self) -> object:
        return self._store.version()

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[StoreTransaction]:
        await asyncio.sleep(0)
        async with self._store.unit() as unit:
            yield unit
        await asyncio.sleep(0)


def test_refreshes_at_the_same_time(store: SqlStore) -> None:
    """A request and a round refresh together: each fact is folded once."""
    book = SettlementIndex(Slow(store))

    async def together() -> None:
        await asyncio.gather(*(book.refresh() for _ in range(4)))

    record(store, happy(0))
    asyncio.run(together())
    assert fold(happy(0)) == book.settlements


# --- Several emitters -----------------------------------------------------------------------------


@given(steps, st.data())
def test_merged_whatever_comes_when(script: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Peers' facts come early, late, and about blocks that are gone: no error, and one truth."""
    store = SqlStore()
    play, book = Play(3), SettlementIndex(store, merged=True)
    chain: list[ev.Event] = []
    peers: list[ev.Event] = []
    for identity in play.ids:
        peers.append(play.make(ev.PaymentAuthorized, identity))
    seen = 0
    for name, *arguments in script:
        if name != "refresh":
            getattr(play, name)(*arguments)
        for fact in play.told[seen:]:
            own = fact.contract or isinstance(fact, ev.BlockOrphaned)
            (chain if own else peers).append(fact)
        seen = len(play.told)
        for waiting in (chain, peers):
            count = data.draw(st.integers(0, len(waiting)))
            record(store, waiting[:count])
            del waiting[:count]
        at_once(book.refresh())
        assert merge(whole(store)) == book.settlements
    record(store, [*chain, *peers])
    record(store, judged({ref.hash for ref, _ in play.blocks}, whole(store)))
    at_once(book.refresh())
    assert merge(whole(store)) == book.settlements
    for identity in play.ids:
        entered = [e.state.name for e in book.settlements[identity].entered]
        assert play.stage(identity) == sum(name in CHAIN_STATES for name in entered)
        assert "AUTHORIZED" == entered[0]
    store.close()


def judged(there: set[str], told: list[ev.Event]) -> list[ev.Event]:
    """What the watcher says in the end about the blocks of facts that came late."""
    about = [f.block for f in ev.canonical(told) if f.block]
    stray = {block.hash: block for block in about if block.hash not in there}
    return [orphaned(stray[known], 10**6 + n) for n, known in enumerate(sorted(stray))]


def test_a_tracker_that_starts_late(store: SqlStore) -> None:
    """All the peers' facts, and then the chain as it is now: the lives are as they were."""
    facts = [*happy(0), *refunded(1), *rejected(2), *pending(3)]
    facts += reorged(4, GENESIS_MS + 100_000)
    book = SettlementIndex(store, merged=True)
    record(store, [f for f in facts if not (f.contract or isinstance(f, ev.BlockOrphaned))])
    at_once(book.refresh())
    record(store, [f for f in ev.canonical(facts) if f.contract])
    there = {f.block.hash for f in ev.canonical(facts) if f.block}
    record(store, judged(there, whole(store)))
    at_once(book.refresh())
    expected = {identity: s.state for identity, s in fold(facts).items()}
    assert expected == {identity: s.state for identity, s in book.settlements.items()}


@pytest.mark.parametrize("at_a_time", [1, 100])
def test_merged_names_what_the_chain_cannot_do_and_goes_on(store: SqlStore, at_a_time: int) -> None:
    """One torn life takes no other with it: it stands where its facts still follow each other, and
    is whole again once the missing one is there."""
    (missing,) = [f for f in happy(0) if isinstance(f, ev.SettlementFunded)]
    facts = [f for f in (*happy(0), *happy(1)) if f is not missing and f != missing]
    book = SettlementIndex(store, merged=True)
    for first in range(0, len(facts), at_a_time):
        record(store, facts[first : first + at_a_time])
        at_once(book.refresh())
    torn, other = happy(0)[1].subject, happy(1)[1].subject
    assert {torn: f"{torn}: SettlementSwapped cannot follow created."} == book.torn
    assert SettlementState.CREATED is book.settlements[torn].state
    assert merge(happy(1))[other] == book.settlements[other]
    with pytest.raises(IllegalTransition):
        merge(facts)
    record(store, [missing])
    at_once(book.refresh())
    assert {} == book.torn
    assert merge(happy(0))[torn].state is book.settlements[torn].state

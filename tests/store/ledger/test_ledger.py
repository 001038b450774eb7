"""The ledger's database keeps the rules by itself, in SQLite and in PostgreSQL, at any size."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unicodedata import normalize

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import exc, text

from tests import postgres
from workbench.core import facts as ev
from workbench.core.errors import (
    InsufficientCredits,
    LedgerRefused,
    StateMoved,
    StoreBusy,
    StoreError,
    WorkbenchError,
)
from workbench.core.facts import BlockRef
from workbench.core.ledger import MAX_AMOUNT, Account, LedgerTransfer, TransferKind, check, resolved
from workbench.core.payout import Payout, PayoutState
from workbench.core.ports import Attempt, IdempotentAnswer, SignerState, Slot, SlotState
from workbench.core.webhooks import WebhookDelivery
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.statements import IDS_PER_SELECT
from workbench.store.ledger.unit import LedgerUnit

T = TypeVar("T")
BIG = 2**63
Work = Callable[[LedgerUnit], Coroutine[Any, Any, T]]


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Cluster]:
    with postgres.cluster() as up:
        yield up


POSTGRES = pytest.param(
    "postgresql", marks=pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
)


def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "postgresql":
        server: postgres.Cluster = request.getfixturevalue("server")
        return server.fresh()
    return "sqlite://" if kind == "memory" else f"sqlite:///{folder / 'ledger.db'}"


@pytest.fixture(params=["file", POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that outlives its process."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["memory", POSTGRES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerStore]:
    kept = LedgerStore(url_of(request.param, request, tmp_path))
    yield kept
    kept.close()


@pytest.fixture(params=["memory", "file", POSTGRES])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerStore]:
    """Memory has ways of its own where nobody else can write."""
    kept = LedgerStore(url_of(request.param, request, tmp_path))
    yield kept
    kept.close()


def within(store: LedgerStore, work: Work[T]) -> T:
    async def do() -> T:
        async with store.unit() as unit:
            return await work(unit)

    return asyncio.run(do())


def line(
    identity: str, debit: str, credit: str, amount: int, kind: TransferKind = TransferKind.POSTED
) -> LedgerTransfer:
    return LedgerTransfer(
        id=identity, kind=kind, debit=debit, credit=credit, amount=amount, reason="test", at_ms=1
    )


def begin(store: LedgerStore, amount: int = 3 * BIG) -> None:
    """A user with so many credits."""

    async def work(unit: LedgerUnit) -> None:
        for name in ("issuance", "redeemed"):
            await unit.open_account(Account(name, "credit", no_overdraft=False))
        await unit.open_account(Account("user", "credit"))
        await unit.open_account(Account("wallet", "wei", no_overdraft=False))
        await unit.transfer(line("earned", "issuance", "user", amount))

    within(store, work)


def sql(store: LedgerStore, statement: str) -> None:
    """By hand, as somebody with the database's password would."""
    with store._engine.begin() as connection:
        connection.execute(text(statement))


def whole(store: LedgerStore) -> tuple[int, str]:
    async def work(unit: LedgerUnit) -> tuple[int, str]:
        return check(await unit.accounts(), await unit.transfers())

    return within(store, work)


def account(store: LedgerStore, name: str) -> Account:
    found = within(store, lambda unit: unit.account(name))
    assert found is not None
    return found


# --- Sums ---


def test_amounts_beyond_64_bits_are_exact(store: LedgerStore) -> None:
    """Sums, comparisons and what comes back, around 2^63 and at the very top."""
    begin(store)
    hold = line("hold", "user", "redeemed", 3 * BIG - 1, TransferKind.PENDING)
    within(store, lambda unit: unit.transfer(hold))
    assert (3 * BIG, 1) == (account(store, "user").balance, account(store, "user").available)
    with pytest.raises(InsufficientCredits):
        within(store, lambda unit: unit.transfer(line("over", "user", "redeemed", 2)))
    within(store, lambda unit: unit.transfer(line("last", "user", "redeemed", 1)))
    within(store, lambda unit: unit.transfer(resolved(hold, "post", TransferKind.POST, "paid", 2)))
    assert 3 * BIG == account(store, "redeemed").balance
    assert 0 == account(store, "user").balance
    assert 4 == whole(store)[0]


def test_the_top_is_refused_and_not_wrapped(store: LedgerStore) -> None:
    begin(store, MAX_AMOUNT)
    assert MAX_AMOUNT == account(store, "user").balance
    with pytest.raises((LedgerRefused, StoreError)):
        within(store, lambda unit: unit.transfer(line("one", "issuance", "user", 1)))
    assert 1 == whole(store)[0]


def test_facts_are_recorded_in_one_go(store: LedgerStore) -> None:
    """The drivers differ in what they return for many rows at once; the journal does not."""
    told = [
        ev.CreditsEarned(subject=f"0x{n:02x}", at_ms=n, source="payouts", user_id="u", credits=n)
        for n in range(5)
    ]

    async def work(unit: LedgerUnit) -> Sequence[tuple[int, ev.Event]]:
        await unit.record_all(told)
        await unit.record_all([*told, told[0]])
        assert not await unit.record(told[0])
        return await unit.facts()

    assert told == [fact for _, fact in within(store, work)]


# --- What the database refuses, whoever asks ---

INSERT = (
    "INSERT INTO transfer(seq, id, kind, debit, credit, amount, pending_id, reason, ref, at_ms,"
    " previous, hash) SELECT {seq}, '{id}', '{kind}', '{debit}', '{credit}', '{amount:036d}',"
    " {pending}, 'by hand', '', 1, hash, 'x' FROM transfer WHERE seq = 2"
)
PLAIN: dict[str, Any] = {
    "seq": 3, "id": "new", "kind": "posted", "debit": "user", "credit": "redeemed",
    "amount": 1, "pending": "NULL",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 10**30},
        {"amount": 0},
        {"credit": "user"},
        {"credit": "wallet"},
        {"credit": "nobody"},
        {"debit": "nobody", "credit": "nobody2"},
        {"seq": 4},
        {"id": "hold"},
        {"kind": "gift"},
        {"kind": "pending", "amount": 10**30},
        {"kind": "post", "pending": "'hold'"},
        {"kind": "post", "pending": "'earned'"},
        {"kind": "posted", "pending": "'hold'"},
        {"kind": "void"},
    ],
    ids=str,
)
def test_nonsense_by_hand_is_refused(store: LedgerStore, change: dict[str, Any]) -> None:
    begin(store)
    hold = line("hold", "user", "redeemed", 7, TransferKind.PENDING)
    within(store, lambda unit: unit.transfer(hold))
    before = whole(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, INSERT.format(**{**PLAIN, **change}))
    assert before == whole(store)


def test_the_same_by_hand_without_the_nonsense_is_taken(store: LedgerStore) -> None:
    """The test above refuses for the reason it names; the chain of hashes finds this one."""
    begin(store)
    hold = line("hold", "user", "redeemed", 7, TransferKind.PENDING)
    within(store, lambda unit: unit.transfer(hold))
    sql(store, INSERT.format(**PLAIN))
    with pytest.raises(WorkbenchError, match="line 3 is not what was written"):
        whole(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfer SET reason = 'nothing'",
        "UPDATE transfer SET amount = amount",
        "DELETE FROM transfer",
        "DELETE FROM account",
        "UPDATE account SET no_overdraft = 0 WHERE id = 'user'",
        "UPDATE account SET id = 'other' WHERE id = 'user'",
        "DELETE FROM payout",
        "DELETE FROM answer",
        "UPDATE answer SET status = 200",
    ],
)
def test_what_was_written_stays(store: LedgerStore, statement: str) -> None:
    begin(store)

    async def more(unit: LedgerUnit) -> None:
        await unit.put_payout(payout(1))
        await unit.answer("payout", "k", IdempotentAnswer("f", 202, "{}"), 1)

    within(store, more)
    before = whole(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, statement)
    assert before == whole(store)


@pytest.mark.parametrize("table", ["account", "transfer", "payout", "answer"])
def test_sqlites_replace_replaces_nothing(tmp_path: Path, table: str) -> None:
    """INSERT OR REPLACE deletes without a trigger, unless one before it objects."""
    store = LedgerStore(f"sqlite:///{tmp_path / 'x.db'}")
    begin(store)

    async def more(unit: LedgerUnit) -> None:
        await unit.put_payout(payout(1))
        await unit.answer("payout", "k", IdempotentAnswer("f", 202, "{}"), 1)

    within(store, more)
    before = whole(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    assert before == whole(store)
    store.close()


@pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
def test_postgresql_truncates_nothing(server: postgres.Cluster) -> None:
    store = LedgerStore(server.fresh())
    begin(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, "TRUNCATE transfer CASCADE")
    assert 1 == whole(store)[0]
    store.close()


# --- Rows ---


def payout(number: int, **changes: Any) -> Payout:
    plain = Payout(
        f"0x{number:02x}", PayoutState.APPROVED, user_id="u", key=f"k{number}", address="0xab",
        credits=2**53 - 1, units=BIG * number, asset="eip155:1/native", at_ms=number,
    )  # fmt: skip
    return replace(plain, **changes)


def test_payouts_come_back_as_they_were(store: LedgerStore) -> None:
    """In order, by state, by user, by transaction; a state moves, the rest stays."""

    async def work(unit: LedgerUnit) -> None:
        for number in range(5, 0, -1):
            await unit.put_payout(payout(number))
        await unit.put_payout(payout(2, state=PayoutState.SENT, tx="0xtx"))
        assert [payout(n).id for n in (1, 3, 4)] == [
            p.id for p in await unit.payouts(PayoutState.APPROVED, limit=3)
        ]
        assert [payout(2, state=PayoutState.SENT, tx="0xtx")] == await unit.payouts(tx="0xtx")
        assert [5, 4] == [p.at_ms for p in await unit.payouts(user_id="u", limit=2)]
        assert [] == await unit.payouts(user_id="v")
        assert payout(3) == await unit.payout("0x03")
        counted = await unit.count_payouts()
        assert (4, 1) == (counted[PayoutState.APPROVED], counted[PayoutState.SENT])

    within(store, work)


@pytest.mark.parametrize("count", [0, 1, IDS_PER_SELECT, IDS_PER_SELECT + 6])
def test_payouts_are_read_and_moved_together(store: LedgerStore, count: int) -> None:
    """Any number of them; who is not there is not found; nothing but the state's part moves."""
    were = [payout(n) for n in range(1, count + 1)]
    now = [replace(each, state=PayoutState.SENT, tx=f"0xt{each.at_ms}") for each in were]

    async def work(unit: LedgerUnit) -> None:
        for each in [*were, payout(100)]:
            await unit.put_payout(each)
        ids = [each.id for each in were]
        assert {each.id: each for each in were} == await unit.payouts_of(ids)
        assert ids[:3] == sorted(await unit.payouts_of(["0xno", *ids[:3]]))
        await unit.move_payouts(list(zip(were, now, strict=True)))
        assert {each.id: each for each in now} == await unit.payouts_of(ids)
        assert payout(100) == await unit.payout(payout(100).id)

    within(store, work)


@pytest.mark.parametrize("elsewhere", [0, 2, 4])
def test_one_payout_that_is_elsewhere_moves_none(store: LedgerStore, elsewhere: int) -> None:
    """Nor is anything told: all that is in the transaction goes with it."""
    were = [payout(n) for n in range(1, 6)]

    async def begin(unit: LedgerUnit) -> None:
        for n, each in enumerate(were):
            state = PayoutState.CANCELLED if n == elsewhere else PayoutState.APPROVED
            await unit.put_payout(replace(each, state=state))

    async def move(unit: LedgerUnit) -> None:
        known: dict[str, Any] = {"at_ms": 1, "source": "payouts", "user_id": "u", "credits": 1}
        await unit.record_all([ev.CreditsEarned(subject=each.id, **known) for each in were])
        await unit.move_payouts([(w, replace(w, state=PayoutState.SENT, tx=w.key)) for w in were])

    within(store, begin)
    with pytest.raises(StateMoved, match="1 of 5 payouts"):
        within(store, move)
    assert [] == within(store, lambda unit: unit.payouts(PayoutState.SENT))
    assert 4 == len(within(store, lambda unit: unit.payouts(PayoutState.APPROVED)))
    assert 0 == within(store, lambda unit: unit.last_seq())


def test_a_days_credits_are_summed_beyond_64_bits(store: LedgerStore) -> None:
    """Without those that were taken back, by user and by address."""

    async def work(unit: LedgerUnit) -> None:
        for number in range(1, 1_101):
            await unit.put_payout(payout(number))
        for number, state in ((1, PayoutState.CANCELLED), (2, PayoutState.REFUNDED)):
            await unit.put_payout(payout(number, state=state))
        await unit.put_payout(payout(2_000, user_id="v", address="0xcd", credits=1))
        assert 1_098 * (2**53 - 1) + 1 == await unit.credits_since(0)
        assert 1 == await unit.credits_since(0, user_id="v")
        assert 1 == await unit.credits_since(0, address="0xcd")
        assert 0 == await unit.credits_since(2_000)

    within(store, work)


def test_answers_and_signers_are_kept(store: LedgerStore) -> None:
    async def work(unit: LedgerUnit) -> None:
        assert await unit.answered("payout", "k") is None
        await unit.answer("payout", "k", IdempotentAnswer("f", 202, "{}"), 1)
        assert IdempotentAnswer("f", 202, "{}") == await unit.answered("payout", "k")
        assert await unit.answered("earn", "k") is None
        assert await unit.signer(1, "0xab") is None
        for standing in (SignerState(4), SignerState(4, "stolen")):
            await unit.put_signer(1, "0xab", standing)
            assert standing == await unit.signer(1, "0xab")
        await unit.reconcile(7, 1, "{}")
        await unit.reconcile(7, 2, "[]")
        assert (7, "[]") == await unit.reconciled()

    within(store, work)


def test_reopened_it_is_the_same(url: str) -> None:
    """The schema is upgraded once; a second opening finds it done."""
    first = LedgerStore(url)
    begin(first)
    before = whole(first)
    first.close()
    second = LedgerStore(url)
    assert before == whole(second)
    second.close()


def unbatch(store: LedgerStore) -> None:
    """The schema as it was before payouts had batches."""
    on = "" if store.dialect == "sqlite" else " ON payout"
    sql(store, f"DROP TRIGGER payout_together{on}")
    if on:
        sql(store, "DROP FUNCTION payout_together()")
    sql(store, "DROP TABLE user_alias")
    sql(store, "DROP INDEX payout_batch")
    sql(store, "DROP INDEX payout_taken")
    for column in ("batch", "place", "taken_ms", "again_ms"):
        sql(store, f"ALTER TABLE payout DROP COLUMN {column}")


def test_a_ledger_of_before_the_batches_is_upgraded(url: str) -> None:
    """Its payouts went alone, and so they are read."""
    first = LedgerStore(url)
    within(first, lambda unit: unit.put_payout(payout(1)))
    unbatch(first)
    sql(first, "UPDATE alembic_version SET version_num = '0002'")
    first.close()
    second = LedgerStore(url)
    assert payout(1) == within(second, lambda unit: unit.payout("0x01"))
    second.close()


def test_a_payout_stays_in_its_batch(store: LedgerStore) -> None:
    """The database itself refuses another batch, a place that is taken, and latecomers."""
    for number in range(4):
        within(store, lambda unit, n=number: unit.put_payout(payout(n)))  # type: ignore[misc]
    sql(store, "UPDATE payout SET batch = 'b', place = 0 WHERE id = '0x00'")
    sql(store, "UPDATE payout SET batch = 'b', place = 1 WHERE id = '0x01'")
    sql(store, "UPDATE payout SET state = 'sent' WHERE id = '0x01'")
    slot = Slot(1, "s", 0, "b", "pay", 1, SlotState.SIGNED, (Attempt("0x1", "0x2"),))
    within(store, lambda unit: unit.put_slot(slot))
    for wrong in (
        "UPDATE payout SET batch = 'c' WHERE id = '0x00'",
        "UPDATE payout SET batch = '' WHERE id = '0x00'",
        "UPDATE payout SET place = 7 WHERE id = '0x00'",
        "UPDATE payout SET batch = 'b', place = 2 WHERE id = '0x02'",
    ):
        with pytest.raises(exc.SQLAlchemyError, match="a payout stays|no payout joins"):
            sql(store, wrong)
    sql(store, "UPDATE payout SET batch = 'c', place = 0 WHERE id = '0x02'")
    with pytest.raises(exc.SQLAlchemyError, match=r"(?i)unique"):
        sql(store, "UPDATE payout SET batch = 'c', place = 0 WHERE id = '0x03'")


def test_a_ledger_of_before_the_webhooks_is_upgraded(url: str) -> None:
    """With all that is in it."""
    first = LedgerStore(url)
    begin(first)
    before = whole(first)
    unbatch(first)
    sql(first, "DROP TABLE delivery")
    sql(first, "UPDATE alembic_version SET version_num = '0001'")
    first.close()
    second = LedgerStore(url)
    assert before == whole(second)
    at = WebhookDelivery("e", 2**62, 3, 4, 5, True, "gone")

    async def work(unit: LedgerUnit) -> WebhookDelivery | None:
        await unit.put_delivery(WebhookDelivery("e", 1))
        await unit.put_delivery(at)
        assert await unit.delivery("f") is None
        return await unit.delivery("e")

    assert at == within(second, work)
    second.close()


def test_ids_of_users_that_are_not_in_nfc_keep_their_accounts(url: str) -> None:
    """Their lines stay what they are; two ids that would become one are refused."""
    composed, decomposed = "user:한글", "user:" + normalize("NFD", "한글")
    first = LedgerStore(url)
    within(first, lambda unit: unit.open_account(Account(decomposed, "credit")))
    within(first, lambda unit: unit.open_account(Account("user:plain", "credit")))
    older(first)
    second = LedgerStore(url)
    assert second.aliases == {composed[5:]: decomposed[5:]}
    within(second, lambda unit: unit.open_account(Account(composed, "credit")))
    older(second)
    with pytest.raises(StoreError, match="have one id in Unicode's form NFC") as refused:
        LedgerStore(url)
    for user_id in (composed, decomposed):
        assert ascii(user_id[5:]) in refused.value.message


def older(store: LedgerStore) -> None:
    """As the version before left it, and closed."""
    sql(store, "DROP TABLE user_alias")
    sql(store, "UPDATE alembic_version SET version_num = '0004'")
    store.close()


def test_what_is_to_be_told(url: str) -> None:
    """Facts of payouts alone, by number; and how many."""
    store = LedgerStore(url)

    async def work(unit: LedgerUnit) -> None:
        for n in range(6):
            known: dict[str, Any] = {"subject": f"{n}", "at_ms": n, "source": "payouts"}
            earned = ev.CreditsEarned(**known, user_id="u", credits=1)
            await unit.record(earned if n % 2 else ev.TransactionSent(**known, act="a", tx="0x"))
        assert [2, 4, 6] == [seq for seq, _ in await unit.to_tell(0, 10)]
        assert [4] == [seq for seq, _ in await unit.to_tell(2, 1)]
        assert [3, 2, 0] == [await unit.count_to_tell(*of) for of in ((0, 9), (0, 2), (6, 9))]

    within(store, work)
    store.close()


def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    """A database of a newer workbench is refused by name."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    store = LedgerStore(url)
    sql(store, "UPDATE alembic_version SET version_num = '9999'")
    store.close()
    with pytest.raises(StoreError, match="newer workbench"):
        LedgerStore(url)


def test_one_process_at_a_time_sends(url: str) -> None:
    """The lease is free again once its holder is gone."""
    first, second = LedgerStore(url), LedgerStore(url)
    assert [True, True, False] == [first.lease(), first.lease(), second.lease()]
    first.close()
    assert second.lease()
    second.close()


@pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
def test_a_server_that_was_away_is_found_again(server: postgres.Cluster) -> None:
    """A unit that meets a dead connection says so, and may be asked again; the lease comes back."""
    import psycopg

    url = server.fresh()
    store = LedgerStore(url)
    begin(store)
    assert store.lease()
    for _ in range(16):  # More often than a pool of connections could lose one.
        with psycopg.connect(url, autocommit=True) as other:
            others = "pid <> pg_backend_pid() AND datname = current_database()"
            other.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        with pytest.raises(StoreBusy):
            whole(store)
        assert 1 == whole(store)[0]
    assert not store.lease(), "found lost"
    assert store.lease(), "and taken again"
    store.close()


# --- A second model ---


class Ledgers(RuleBasedStateMachine):
    """Any transfers in any order: the database says what four plain dictionaries say."""

    def __init__(self) -> None:
        super().__init__()
        self.store = LedgerStore()
        self.free: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.got: dict[str, int] = {}
        self.open: dict[str, LedgerTransfer] = {}
        self.count = 0

    users = Bundle("users")
    holds = Bundle("holds")
    amounts = st.integers(1, 50) | st.integers(1, 10**24)

    @initialize()
    def begin(self) -> None:
        async def work(unit: LedgerUnit) -> None:
            for name in ("issuance", "redeemed"):
                await unit.open_account(Account(name, "credit", no_overdraft=False))

        within(self.store, work)

    @rule(target=users, name=st.sampled_from(["a", "b", "c"]))
    def arrive(self, name: str) -> str:
        within(self.store, lambda unit: unit.open_account(Account(name, "credit")))
        self.free.setdefault(name, 0)
        self.held.setdefault(name, 0)
        return name

    def _add(self, transfer: LedgerTransfer) -> bool:
        try:
            within(self.store, lambda unit: unit.transfer(transfer))
        except (InsufficientCredits, LedgerRefused):
            return False
        self.count += 1
        return True

    def _line(
        self, debit: str, credit: str, amount: int, kind: TransferKind = TransferKind.POSTED
    ) -> LedgerTransfer:
        return line(f"t{self.count}", debit, credit, amount, kind)

    @rule(user=users, amount=amounts)
    def earn(self, user: str, amount: int) -> None:
        assert self._add(self._line("issuance", user, amount))
        self.free[user] += amount

    @rule(one=users, other=users, amount=amounts)
    def give(self, one: str, other: str, amount: int) -> None:
        fits = one != other and self.free[one] >= amount
        assert fits == self._add(self._line(one, other, amount))
        if fits:
            self.free[one] -= amount
            self.free[other] += amount

    @rule(target=holds, user=users, amount=amounts)
    def hold(self, user: str, amount: int) -> LedgerTransfer:
        held = self._line(user, "redeemed", amount, TransferKind.PENDING)
        fits = self.free[user] >= amount
        assert fits == self._add(held)
        if fits:
            self.free[user] -= amount
            self.held[user] += amount
            self.open[held.id] = held
        return held

    @rule(
        held=holds,
        kind=st.sampled_from([TransferKind.POST, TransferKind.VOID]),
        off=st.sampled_from([0, 0, 1]),
    )
    def end(self, held: LedgerTransfer, kind: TransferKind, off: int) -> None:
        ended = resolved(held, f"t{self.count}", kind, "test", 2)
        fits = held == self.open.get(held.id) and not off
        assert fits == self._add(replace(ended, amount=ended.amount + off))
        if not fits:
            return
        self.held[held.debit] -= held.amount
        del self.open[held.id]
        if kind is TransferKind.VOID:
            self.free[held.debit] += held.amount

    @invariant()
    def the_database_says_the_same(self) -> None:
        async def work(unit: LedgerUnit) -> tuple[dict[str, tuple[int, int]], int]:
            found = {a.id: (a.available, a.debits_pending) for a in await unit.accounts()}
            return found, check(await unit.accounts(), await unit.transfers())[0]

        found, lines = within(self.store, work)
        assert self.count == lines
        for name in self.free:
            assert (self.free[name], self.held[name]) == found[name]

    def teardown(self) -> None:
        self.store.close()


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


# --- Slots ----------------------------------------------------------------------------------------


def test_slots_are_taken_once_and_move_from_where_they_are(store: LedgerStore) -> None:
    """On either database; see `test_sql` for the rules."""
    first = Slot(1, "0xme", 0, "p1", "pay", 1, SlotState.SIGNED, (Attempt("0xt0", "0x"),))
    second = replace(first, nonce=1, subject="p2", attempts=(Attempt("0xt1", "0x"),))
    within(store, lambda unit: unit.take_slots([first, second]))
    with pytest.raises(StoreError):
        within(store, lambda unit: unit.take_slots([replace(second, nonce=2)]))
    mined = replace(first, state=SlotState.MINED, block=BlockRef(7, "0xb", "0xt0", -1))
    moves = [(first, mined), (first, mined), (mined, first)]
    moved = within(store, lambda unit: unit.move_slots(moves))
    assert [True, False, True] == moved
    assert [first, second] == within(store, lambda unit: unit.slots(1, "0xme", SlotState.SIGNED))


@pytest.mark.parametrize("gone", [set(), {0}, {1, 4}, {0, 1, 2, 3, 4}])
def test_slots_move_together(any_store: LedgerStore, gone: set[int]) -> None:
    """Those that are elsewhere by now stay there, and hold up nobody else: as one by one."""
    were = [
        Slot(1, "0xme", n, f"p{n}", "pay", 1, SlotState.SIGNED, (Attempt(f"0xt{n}", "0x"),))
        for n in range(5)
    ]
    lost = {n: replace(were[n], state=SlotState.LOST, ok=False) for n in gone}
    sent = [replace(each, state=SlotState.SENT, sent_ms=5) for each in were]
    # A replaced attempt beside those that only move.
    sent[3] = replace(sent[3], attempts=(*sent[3].attempts, Attempt("0xt3b", "0x")))

    async def work(unit: LedgerUnit) -> None:
        await unit.take_slots(were)
        assert [True] * len(gone) == await unit.move_slots([(were[n], lost[n]) for n in gone])
        assert [] == await unit.move_slots([])
        for first, last in ((0, 3), (3, 5)):
            moves = list(zip(were, sent, strict=True))[first:last]
            told = [n not in gone for n in range(first, last)]
            assert told == await unit.move_slots(moves)

    within(any_store, work)
    now = [lost.get(n, sent[n]) for n in range(5)]
    assert now == within(any_store, lambda unit: unit.slots(1, "0xme", *SlotState))

"""Rows of the payout service come back as they were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.store.ledger.ledgers import payout, within
from workbench.core import facts as ev
from workbench.core.errors import StateMoved, StoreError
from workbench.core.facts import BlockRef
from workbench.core.payout import PayoutState
from workbench.core.ports import Attempt, IdempotentAnswer, SignerState, Slot, SlotState
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.statements import IDS_PER_SELECT
from workbench.store.ledger.unit import LedgerUnit


def test_many_facts_are_recorded_at_once(store: LedgerStore) -> None:
    """The drivers return different results for many rows; the journal is the same."""
    recorded = [
        ev.CreditsEarned(subject=f"0x{n:02x}", at_ms=n, source="payouts", user_id="u", credits=n)
        for n in range(5)
    ]

    async def work(unit: LedgerUnit) -> Sequence[tuple[int, ev.Event]]:
        await unit.record_all(recorded)
        await unit.record_all([*recorded, recorded[0]])
        assert not await unit.record(recorded[0])
        return await unit.facts()

    assert recorded == [fact for _, fact in within(store, work)]


def test_payouts_come_back_as_they_were(store: LedgerStore) -> None:
    """They are read by state, by user and by transaction, in order; a change moves the state."""

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
    """Any number of payouts; an unknown id is not found; other payouts do not change."""
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
def test_one_payout_in_another_state_moves_none(store: LedgerStore, elsewhere: int) -> None:
    """The whole transaction is rolled back, with its facts."""
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


def test_credits_are_summed_beyond_64_bits(store: LedgerStore) -> None:
    """By user and by address, without payouts that were given back."""

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


def test_answers_signers_and_reconciliations_are_stored(store: LedgerStore) -> None:
    """Answers are by scope and key; a signer and a reconciliation can be replaced."""

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


def test_facts_for_webhooks_are_read_and_counted(url: str) -> None:
    """Only facts for subscribers, by sequence number and up to a limit."""
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


def test_slots_are_taken_once_and_move_from_where_they_are(store: LedgerStore) -> None:
    """On both databases; `tests/store/sql/test_slots.py` has the rules in detail."""
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
    """Slots that have moved elsewhere stay there, and do not stop the others."""
    were = [
        Slot(1, "0xme", n, f"p{n}", "pay", 1, SlotState.SIGNED, (Attempt(f"0xt{n}", "0x"),))
        for n in range(5)
    ]
    lost = {n: replace(were[n], state=SlotState.LOST, ok=False) for n in gone}
    sent = [replace(each, state=SlotState.SENT, sent_ms=5) for each in were]
    # One slot has one more attempt; the others only move.
    sent[3] = replace(sent[3], attempts=(*sent[3].attempts, Attempt("0xt3b", "0x")))

    async def work(unit: LedgerUnit) -> None:
        await unit.take_slots(were)
        assert [True] * len(gone) == await unit.move_slots([(were[n], lost[n]) for n in gone])
        assert [] == await unit.move_slots([])
        for first, last in ((0, 3), (3, 5)):
            moves = list(zip(were, sent, strict=True))[first:last]
            expected = [n not in gone for n in range(first, last)]
            assert expected == await unit.move_slots(moves)

    within(any_store, work)
    now = [lost.get(n, sent[n]) for n in range(5)]
    assert now == within(any_store, lambda unit: unit.slots(1, "0xme", *SlotState))

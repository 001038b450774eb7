"""The life of a settlement: the table walked whole, the fold, and what is owed next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.facts import digest, happy, journal, one_of_each, pending, refunded, rejected, reorged
from tests.strategies import facts
from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition
from workbench.core.settlement import (
    LATE,
    NOT_ABOUT_SETTLEMENTS,
    OPEN,
    TRANSITIONS,
    Settlement,
    SettlementState,
    apply,
    fold,
    fold_into,
    is_detail,
)

ID = digest("settlement", 0)


FACTS = {type(fact): fact for fact in one_of_each(ID)}


KINDS = sorted(FACTS, key=lambda kind: kind.__name__)


STATES: tuple[SettlementState | None, ...] = (None, *SettlementState)


ENDS = (SettlementState.REJECTED, SettlementState.DELIVERED, SettlementState.REFUNDED)


REFUNDABLE = (SettlementState.CREATED, SettlementState.FUNDED)


MINED = ev.BlockRef(100, digest("block", 100), digest("tx"), 0)


def shortest_walks() -> dict[SettlementState | None, tuple[type[ev.Event], ...]]:
    """For each state that the table leads to, the fewest facts that lead there."""
    walks: dict[SettlementState | None, tuple[type[ev.Event], ...]] = {None: ()}
    waiting: deque[SettlementState | None] = deque([None])
    while waiting:
        at = waiting.popleft()
        for (before, kind), after in TRANSITIONS.items():
            if before is at and after not in walks:
                walks[after] = (*walks[at], kind)
                waiting.append(after)
    return walks


WALKS = shortest_walks()


def walk(kinds: Iterable[type[ev.Event]]) -> Settlement | None:
    """The settlement after these facts."""
    settlement = None
    for kind in kinds:
        settlement = apply(settlement, FACTS[kind])
    return settlement


def name(value: Any) -> str:
    """Test ids."""
    return (
        value.value
        if isinstance(value, SettlementState)
        else getattr(value, "__name__", str(value))
    )


def test_every_state_can_be_reached_and_only_ends_cannot_be_left() -> None:
    """No state is idle, and no settlement gets stuck. (A rejection may be overruled by the chain.)

    What is open is what can be left, apart from the executed, which waits for its seller only.
    """
    assert set(STATES) == set(WALKS)
    left = {before for before, _ in TRANSITIONS if before}
    assert {SettlementState.DELIVERED, SettlementState.REFUNDED} == set(SettlementState) - left
    assert left - {SettlementState.REJECTED, SettlementState.EXECUTED} == set(OPEN)


def test_after_the_swap_there_is_no_way_back() -> None:
    """From SWAPPED the table never leads to REFUNDED; from REFUNDED it leads nowhere."""
    reached, waiting = {SettlementState.SWAPPED}, [SettlementState.SWAPPED]
    while waiting:
        at = waiting.pop()
        further = {after for (before, _), after in TRANSITIONS.items() if before is at} - reached
        reached |= further
        waiting += further
    assert {
        SettlementState.SWAPPED,
        SettlementState.FINAL,
        SettlementState.EXECUTED,
        SettlementState.DELIVERED,
    } == reached


@pytest.mark.parametrize("state", STATES, ids=name)
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_the_table_decides_what_may_follow(
    state: SettlementState | None, kind: type[ev.Event]
) -> None:
    """Every fact in every state: it moves as the table says, adds detail, or is refused by name."""
    before, fact = walk(WALKS[state]), FACTS[kind]
    assert state is (before.state if before else None)
    if (state, kind) in TRANSITIONS:
        after = apply(before, fact)
        assert TRANSITIONS[state, kind] is after.state
        assert (after.state, fact.at_ms, fact.block) == (
            after.entered[-1].state, after.entered[-1].at_ms, after.entered[-1].block
        )  # fmt: skip
        assert (before.entered if before else ()) == after.entered[:-1]
    elif before is not None and (is_detail(fact) or (state, kind) in LATE):
        after = apply(before, fact)
        assert (before.state, before.entered) == (after.state, after.entered)
    else:
        was = state.value if state else "nothing"
        with pytest.raises(IllegalTransition, match=f"{kind.__name__} cannot follow {was}"):
            apply(before, fact)


def test_the_table_and_its_exceptions_do_not_overlap() -> None:
    """A fact moves, comes late, annotates, or is about something else: one of these."""
    moving = {kind for _, kind in TRANSITIONS}
    assert set() == set(TRANSITIONS) & set(LATE)
    details = {kind for kind, fact in FACTS.items() if is_detail(fact)}
    assert set() == (moving | details) & {*NOT_ABOUT_SETTLEMENTS}
    assert set() == moving & details
    assert {ev.TransactionFailed, ev.PoolSwapChecked, ev.PaymentParked} <= details
    assert set(FACTS) == moving | details | {*NOT_ABOUT_SETTLEMENTS}


@given(st.lists(st.sampled_from(KINDS), max_size=25))
def test_any_walk_stays_in_the_table(kinds: list[type[ev.Event]]) -> None:
    """Facts in any order: a refused one changes nothing, and `entered` is a walk of the table."""
    settlement: Settlement | None = None
    for kind in kinds:
        before = settlement
        try:
            settlement = apply(settlement, FACTS[kind])
        except IllegalTransition:
            assert before == settlement
    if settlement is not None:
        states = [entered.state for entered in settlement.entered]
        steps = {(before, after) for (before, _), after in TRANSITIONS.items()}
        assert set(zip([None, *states], states, strict=False)) <= steps
        assert states[-1] is settlement.state


def test_a_whole_life_is_learnt() -> None:
    """Amounts, parties, deadlines, what was spent, and the block of each state."""
    told = happy()
    (settlement,) = fold(told).values()
    created = next(f for f in told if isinstance(f, ev.SettlementCreated))
    swapped = next(f for f in told if isinstance(f, ev.SettlementSwapped))
    for each in ("buyer", "seller", "asset", "asset_amount", "required_usdc", "max_eurc",
                 "fund_deadline", "swap_deadline"):  # fmt: skip
        assert getattr(created, each) == getattr(settlement, each)
    assert (created.subject, created.salt) == (settlement.id, settlement.quote)
    assert swapped.eurc_spent == settlement.eurc_spent
    assert swapped.block == settlement.block_of(SettlementState.SWAPPED)
    assert created.block == settlement.block_of(SettlementState.CREATED)
    assert settlement.block_of(SettlementState.REFUNDED) is None
    assert ["authorized", "created", "funded", "swapped", "final", "executed", "delivered"] == [
        entered.state.value for entered in settlement.entered
    ]


@pytest.mark.parametrize(
    ("told", "state", "status", "reason"),
    [
        (happy(), SettlementState.DELIVERED, "executed", ""),
        (happy()[:-1], SettlementState.EXECUTED, "executed", ""),
        (pending(), SettlementState.SWAPPED, "pending", ""),
        (refunded(reason="over_budget"), SettlementState.REFUNDED, "refunded", "over_budget"),
        (rejected(), SettlementState.REJECTED, "rejected", "insufficient_allowance"),
    ],
    ids=["delivered", "executed", "pending", "refunded", "rejected"],
)
def test_state_status_and_reason(
    told: list[ev.Event], state: SettlementState, status: str, reason: str
) -> None:
    """The words that a seller answers with."""
    (settlement,) = fold(told).values()
    assert (state, status, reason) == (settlement.state, settlement.status, settlement.reason)


def test_the_chain_overrules_a_rejection_in_either_order() -> None:
    """Whether our answer or the block was noted first, the settlement is created, without reason.

    Otherwise one unlucky order in a journal would stop every service that reads it.
    """
    authorized, created, refused = (
        FACTS[kind] for kind in (ev.PaymentAuthorized, ev.SettlementCreated, ev.PaymentRejected)
    )
    for told in ([authorized, refused, created], [authorized, created, refused]):
        (settlement,) = fold(told).values()
        assert (SettlementState.CREATED, "") == (settlement.state, settlement.reason)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (SettlementState.AUTHORIZED, "none"),
        (SettlementState.REJECTED, "none"),
        (SettlementState.CREATED, "created"),
        (SettlementState.FUNDED, "funded"),
        (SettlementState.SWAPPED, "swapped"),
        (SettlementState.FINAL, "swapped"),
        (SettlementState.EXECUTED, "executed"),
        (SettlementState.DELIVERED, "executed"),
        (SettlementState.REFUNDED, "refunded"),
    ],
    ids=name,
)
def test_the_contracts_word(state: SettlementState, word: str) -> None:
    """In lower case; `expired` from the second after the deadline that counts in that state."""
    settlement = Settlement(ID, state, fund_deadline=1_000, swap_deadline=2_000)
    limit = {SettlementState.CREATED: 1_000, SettlementState.FUNDED: 2_000}.get(state, 10**10)
    assert word == settlement.contract_word(0)
    assert word == settlement.contract_word(limit)
    late = word if limit == 10**10 else "expired"
    assert late == settlement.contract_word(limit + 1)


STORIES = {
    "happy": happy(),
    "reorged": reorged(),
    "refunded": refunded(),
    "rejected": rejected(),
}


@given(st.sampled_from(sorted(STORIES)), st.integers(0, 60), st.integers(0, 60))
def test_the_fold_is_the_fold_of_what_stands(story: str, upto: int, page: int) -> None:
    """Also after the first facts alone, and also when folded further page by page."""
    told = STORIES[story][:upto]
    standing = ev.canonical(told)
    whole = fold(told)
    assert whole == fold(standing)
    assert whole == fold_into(fold_into({}, standing[:page]), standing[page:])


def test_settlements_do_not_touch_each_other() -> None:
    """Each folds from its own facts as if it were alone."""
    told = journal(12)
    together = fold(told)
    assert 12 == len(together)
    assert together == fold(ev.canonical(told))
    for identity, settlement in together.items():
        own = [f for f in told if f.subject == identity or isinstance(f, ev.BlockOrphaned)]
        assert {identity: settlement} == fold(own)


def test_facts_about_nothing_that_stands_are_passed_over() -> None:
    """Offers, orphanings, transactions of the keeper, details of a birth that was taken back."""
    others = [f for kind, f in FACTS.items() if kind in NOT_ABOUT_SETTLEMENTS or is_detail(f)]
    assert {} == fold(replace(fact, block=None) for fact in others)
    assert {} == fold([replace(FACTS[ev.SettlementCreated], subject="")])
    born = replace(FACTS[ev.SettlementCreated], block=MINED)
    gone = ev.BlockOrphaned(subject=MINED.hash, at_ms=1, source="watcher", number=100)
    assert {} == fold([born, FACTS[ev.TransactionFailed], gone])
    assert SettlementState.CREATED is fold([born, gone, born])[ID].state


@given(st.lists(facts, max_size=6))
def test_folding_any_facts_at_all_is_a_settlement_or_a_named_error(told: list[ev.Event]) -> None:
    """Nothing else comes out of a journal."""
    try:
        folded = fold(told)
    except IllegalTransition:
        return
    assert all(identity == settlement.id for identity, settlement in folded.items())

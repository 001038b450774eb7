"""Each invariant is silent in a sound world, and names the breach that was planted for it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core import invariants as rules
from workbench.core.errors import ConservationBroken
from workbench.core.invariants import (
    INVARIANTS,
    PAYOUT_INVARIANTS,
    TOKENS,
    ObservedBalance,
    PayoutInvariant,
    PayoutView,
    SettlementInvariant,
    SettlementView,
    broken,
    reconcile,
)
from workbench.core.ledger import Account, LedgerModel, LedgerTransfer, TransferKind, resolved
from workbench.core.payout import Payout, PayoutState
from workbench.core.settlement import Settlement, SettlementState

ASSET, USDC, BUDGET, SPENT = 100 * 10**18, 110_000_000, 101_000_000, 100_301_504
SWAPPED = (
    SettlementState.SWAPPED,
    SettlementState.FINAL,
    SettlementState.EXECUTED,
    SettlementState.DELIVERED,
)


def deal(state: SettlementState, name: str = "0x01") -> Settlement:
    """A settlement as it would be in `state`."""
    spent = SPENT if state in SWAPPED else None
    return Settlement(
        name,
        state,
        asset_amount=ASSET,
        required_usdc=USDC,
        max_eurc=BUDGET,
        eurc_spent=spent,
    )


LOCKED: dict[SettlementState, dict[str, int]] = {
    SettlementState.FUNDED: {"eurc": BUDGET, "usdc": 0, "asset": ASSET},
    SettlementState.SWAPPED: {"eurc": BUDGET - SPENT, "usdc": USDC, "asset": ASSET},
    SettlementState.FINAL: {"eurc": BUDGET - SPENT, "usdc": USDC, "asset": ASSET},
}
"""What the vault holds for one settlement, by state; nothing in every other state."""


def sound(*states: SettlementState, parked: int = 0) -> SettlementView:
    """A world that is right, with one settlement in each of these states."""
    settlements = tuple(deal(state, f"0x{n:02x}") for n, state in enumerate(states))
    total = {
        token: sum(LOCKED.get(state, {}).get(token, 0) for state in states) + parked
        for token in TOKENS
    }
    helpers = {holder: dict.fromkeys(TOKENS, 0) for holder in ("puller", "hook")}
    return SettlementView(
        settlements, {"vault": dict(total), **helpers}, dict(total), dict.fromkeys(TOKENS, parked)
    )


states = st.lists(st.sampled_from(list(SettlementState)), max_size=6)


@given(states, st.integers(0, 2**200))
def test_a_sound_world_gives_empty_lists(each: list[SettlementState], parked: int) -> None:
    """Whatever the states are, and with amounts that wait to be claimed."""
    view = sound(*each, parked=parked)
    rules.audit(view)
    assert [[]] * len(INVARIANTS) == [invariant(view) for invariant in INVARIANTS]


def vault_short(view: SettlementView) -> None:
    view.held["vault"]["usdc"] -= 1


def vault_long(view: SettlementView) -> None:
    view.held["vault"]["asset"] += 1


def escrow_short(view: SettlementView) -> None:
    view.escrowed["eurc"] -= 1


def escrow_long(view: SettlementView) -> None:
    view.escrowed["asset"] += 1


def puller_holds(view: SettlementView) -> None:
    view.held["puller"]["eurc"] = 1


def hook_holds(view: SettlementView) -> None:
    view.held["hook"]["usdc"] = 1


ID = "0x01"


def unpredicted(view: SettlementView) -> None:
    view.balances["0xb", "eurc"], view.predicted["0xb", "eurc"] = 6, 7


def two_ends(view: SettlementView) -> None:
    view.ends[ID] = ("SettlementExecuted", "SettlementRefunded")


def never_ended(view: SettlementView) -> None:
    object.__setattr__(view, "late", (ID,))


def too_early(view: SettlementView) -> None:
    object.__setattr__(view, "finality", 3)
    view.waited[ID] = 2


def another_view(view: SettlementView) -> None:
    view.words[ID], view.views["seller"] = "executed", {ID: "funded"}


def no_fact(view: SettlementView) -> None:
    view.words["0x02"] = "executed"
    object.__setattr__(view, "told", {})


def unstored(view: SettlementView) -> None:
    object.__setattr__(view, "unknown", ("0xabc",))


def minted(view: SettlementView) -> None:
    view.supply["usdc"] = (5, 6)


def ended_again(view: SettlementView) -> None:
    object.__setattr__(view, "torn", (f"{ID}: executed cannot follow executed",))


def hardly_confirmed(view: SettlementView) -> None:
    object.__setattr__(view, "finality", 3)
    view.confirmed[ID] = 2


def never_confirmed(view: SettlementView) -> None:
    view.confirmed[ID] = None


def untold(view: SettlementView) -> None:
    object.__setattr__(view, "untold", ("FinalityReached of 0x01",))


def without_a_word(view: SettlementView) -> None:
    view.ends_of["buyer-0-1"] = 0


def with_two_words(view: SettlementView) -> None:
    view.ends_of["buyer-0-1"] = 2


BREACHES: list[tuple[Callable[[SettlementView], None], SettlementInvariant, str]] = [
    (vault_short, rules.vault_holds_what_it_owes, "109999999 usdc and owes 110000000"),
    (
        vault_long,
        rules.vault_holds_what_it_owes,
        f"{2 * ASSET + 1} asset and owes {2 * ASSET}",
    ),
    (escrow_short, rules.escrow_equals_debt, "eurc as escrow and owes"),
    (escrow_long, rules.escrow_equals_debt, "asset as escrow and owes"),
    (puller_holds, rules.helpers_hold_nothing, "the puller holds 1 eurc"),
    (hook_holds, rules.helpers_hold_nothing, "the hook holds 1 usdc"),
    (unpredicted, rules.balances_as_predicted, "0xb owns 6 eurc, predicted are 7"),
    (two_ends, rules.one_end_at_most, "0x01 ended 2 times"),
    (never_ended, rules.an_end_in_time, "0x01 is still open"),
    (too_early, rules.paid_after_finality, "2 blocks after its swap, ordered were 3"),
    (another_view, rules.services_agree_with_the_contract, "shows 0x01 as funded"),
    (no_fact, rules.no_state_without_its_fact, "0x02 is executed, its facts lead to nothing"),
    (minted, rules.nothing_comes_from_nowhere, "there are 6 usdc, and 5 at the beginning"),
    (ended_again, rules.settlements_follow_their_table, "executed cannot follow executed"),
    (
        hardly_confirmed,
        rules.confirmed_before_execution,
        "after 2 confirmations, ordered were 3",
    ),
    (
        never_confirmed,
        rules.confirmed_before_execution,
        "after no confirmations, ordered were 0",
    ),
    (untold, rules.no_fact_is_lost, "the journal has not FinalityReached of 0x01"),
    (
        without_a_word,
        rules.every_buyer_has_an_end,
        "buyer-0-1 came, and the journal has no ends",
    ),
    (
        with_two_words,
        rules.every_buyer_has_an_end,
        "buyer-0-1 came, and the journal has 2 ends",
    ),
    (unstored, rules.nothing_sent_that_was_not_stored, "0xabc was mined"),
]


@pytest.mark.parametrize(
    ("breach", "invariant", "told"), BREACHES, ids=[breach.__name__ for breach, _, _ in BREACHES]
)
def test_a_planted_breach_is_caught_by_its_invariant_alone(
    breach: Callable[[SettlementView], None], invariant: SettlementInvariant, told: str
) -> None:
    """One base unit is enough, and the error names invariant, token and amounts."""
    view = deepcopy(
        sound(SettlementState.FUNDED, SettlementState.SWAPPED, SettlementState.REFUNDED)
    )
    breach(view)
    assert [invariant] == [each for each in INVARIANTS if each(view)]
    assert told in " ".join(invariant(view))
    with pytest.raises(ConservationBroken, match=invariant.__name__) as broken:
        rules.audit(view)
    assert {invariant.__name__: invariant(view)} == broken.value.details["broken"]


def test_a_budget_that_was_overspent_is_caught() -> None:
    """By one base unit, and in a settlement that is long over; the whole budget may be spent."""
    spent_all = replace(deal(SettlementState.EXECUTED), eurc_spent=BUDGET)
    view = replace(sound(), settlements=(spent_all,))
    rules.audit(view)
    over = replace(view, settlements=(replace(spent_all, eurc_spent=BUDGET + 1),))
    assert [rules.nobody_over_budget] == [each for each in INVARIANTS if each(over)]
    assert [f"0x01 spent {BUDGET + 1} EURC of a budget of {BUDGET}"] == rules.nobody_over_budget(
        over
    )


def test_every_invariant_has_its_breach() -> None:
    """A new invariant without a planted breach is not proven."""
    assert set(INVARIANTS) == {invariant for _, invariant, _ in BREACHES} | {
        rules.nobody_over_budget
    }


def test_all_breaches_are_told_at_once() -> None:
    """The one who looks sees the whole damage."""
    view = sound(SettlementState.SWAPPED)
    for breach, _, _ in BREACHES:
        breach(view)
    with pytest.raises(ConservationBroken) as broken:
        rules.audit(view)
    assert {each.__name__ for _, each, _ in BREACHES} == set(broken.value.details["broken"])


# --- Payouts ---

WORTH = 10**15
"""Of one credit."""
ALICE, BOB = "0xa", "0xb"
"""Two receivers of one user: the first was paid, the second refused."""


def books() -> LedgerModel:
    """A user earned 10 credits, was paid for 4, and got 6 back."""
    kept = LedgerModel()
    for name in ("issuance", "redeemed"):
        kept.open(Account(name, "credit", no_overdraft=False))
    kept.open(Account("user:u", "credit"))
    kept.add(_line("earned", TransferKind.POSTED, "issuance", "user:u", 10))
    for receiver, size, end in ((ALICE, 4, TransferKind.POST), (BOB, 6, TransferKind.VOID)):
        hold = _line(f"{receiver}/hold", TransferKind.PENDING, "user:u", "redeemed", size)
        kept.add(hold)
        kept.add(resolved(hold, f"{receiver}/{end.value}", end, "ended", 1))
    return kept


def _line(name: str, kind: TransferKind, debit: str, credit: str, amount: int) -> LedgerTransfer:
    return LedgerTransfer(
        id=name, kind=kind, debit=debit, credit=credit, amount=amount, reason="test", at_ms=1
    )


def lines(kept: LedgerModel) -> list[tuple[int, str, LedgerTransfer]]:
    """The same once more, line by line, with the hash after each."""
    again = LedgerModel(
        {name: Account(a.id, a.ledger, a.no_overdraft) for name, a in kept.accounts.items()}
    )
    told = []
    for seq, transfer in enumerate(kept.transfers.values(), 1):
        again.add(transfer)
        told.append((seq, again.head, transfer))
    return told


def paid_out() -> PayoutView:
    """A world that is right."""
    kept = books()
    sums = {"treasury:w:eth": 7, "gas:eth": 2, "paid:eth": 4 * WORTH, "suspense:eth": 0}
    return PayoutView(
        moved=((ALICE, 4 * WORTH),),
        payouts=(
            Payout("p1", PayoutState.PAID, "u", address=ALICE, credits=4, units=4 * WORTH),
            Payout("p2", PayoutState.REFUNDED, "u", address=BOB, credits=6, units=6 * WORTH),
        ),
        asked={ALICE: ("u", 4 * WORTH), BOB: ("u", 6 * WORTH)},
        earned={"u": 10 * WORTH},
        got={"u": 4 * WORTH},
        ledger=dict(sums),
        chain=dict(sums),
        credited={"u": (10, 10)},
        accounts=list(kept.accounts.values()),
        lines=lines(kept),
        facts=("f1", "f2"),
        heard=("f1", "f2"),
    )


def test_sound_payouts_give_empty_lists() -> None:
    """With all that is known at the end, and with nothing known yet."""
    for view in (paid_out(), PayoutView()):
        assert [[]] * len(PAYOUT_INVARIANTS) == [each(view) for each in PAYOUT_INVARIANTS]


def paid_twice(view: PayoutView) -> PayoutView:
    """And the user had earned enough for that."""
    return replace(view, moved=view.moved * 2, got={"u": 8 * WORTH})


def paid_too_much(view: PayoutView) -> PayoutView:
    return replace(view, moved=((ALICE, 4 * WORTH + 1),))


def paid_to_a_stranger(view: PayoutView) -> PayoutView:
    return replace(view, moved=(*view.moved, ("0xc", 1)))


def refunded_and_paid(view: PayoutView) -> PayoutView:
    return replace(view, moved=(*view.moved, (BOB, 6 * WORTH)))


def never_paid(view: PayoutView) -> PayoutView:
    return replace(view, moved=())


def beyond_credits(view: PayoutView) -> PayoutView:
    return replace(view, earned={"u": 4 * WORTH - 1})


def out_of_order(view: PayoutView) -> PayoutView:
    return replace(view, torn=("payout p1: PayoutSent cannot follow paid.",))


def endless(view: PayoutView) -> PayoutView:
    return replace(view, late=("p3",))


def off_by_one(view: PayoutView) -> PayoutView:
    return replace(view, ledger={**view.ledger, "gas:eth": 1})


def suspended(view: PayoutView) -> PayoutView:
    return replace(view, ledger={**view.ledger, "suspense:eth": 1})


def earned_twice(view: PayoutView) -> PayoutView:
    return replace(view, credited={"u": (5, 5)})


def never_credited(view: PayoutView) -> PayoutView:
    return replace(view, credited={"u": (11, 20)})


def edited(view: PayoutView) -> PayoutView:
    """One character of one line."""
    (seq, kept, transfer), *rest = view.lines
    return replace(view, lines=[(seq, kept, replace(transfer, reason="tesT")), *rest])


def unheard(view: PayoutView) -> PayoutView:
    return replace(view, heard=("f1",))


def heard_out_of_order(view: PayoutView) -> PayoutView:
    return replace(view, heard=("f2", "f1"))


def heard_what_is_not(view: PayoutView) -> PayoutView:
    return replace(view, heard=("f1", "f2", "f3"))


def heard_from_a_liar(view: PayoutView) -> PayoutView:
    return replace(view, wrong=("f1 came with other bytes",))


PAYOUT_BREACHES: list[tuple[Callable[[PayoutView], PayoutView], PayoutInvariant, str]] = [
    (paid_twice, rules.one_transfer_a_payout, "0xa was paid 2 times"),
    (
        paid_too_much,
        rules.one_transfer_a_payout,
        f"paid {4 * WORTH + 1}, asked were {4 * WORTH}",
    ),
    (paid_to_a_stranger, rules.one_transfer_a_payout, "0xc was paid 1, asked were 0"),
    (refunded_and_paid, rules.none_refunded_and_paid, "p2 is refunded, and was paid"),
    (never_paid, rules.none_marked_paid_and_unpaid, "p1 is called paid, and is not"),
    (beyond_credits, rules.nobody_paid_beyond_their_credits, f"has earned {4 * WORTH - 1}"),
    (out_of_order, rules.payouts_follow_their_table, "PayoutSent cannot follow paid"),
    (endless, rules.every_payout_ends, "p3 has no end"),
    (off_by_one, rules.ledger_equals_chain, "gas:eth: the ledger has 1, the chain 2"),
    (suspended, rules.ledger_equals_chain, "suspense:eth: the ledger has 1, the chain 0"),
    (earned_twice, rules.credits_are_what_was_earned, "u has received 10 credits, not 5 to 5"),
    (never_credited, rules.credits_are_what_was_earned, "10 credits, not 11 to 20"),
    (edited, rules.the_books_are_whole, "line 1 is not what was written"),
    (unheard, rules.subscribers_hear_every_fact, "2 facts were to be told, 1 were heard"),
    (heard_out_of_order, rules.subscribers_hear_every_fact, "they differ from the 1. on"),
    (heard_what_is_not, rules.subscribers_hear_every_fact, "they differ from the 3. on"),
    (heard_from_a_liar, rules.subscribers_hear_every_fact, "f1 came with other bytes"),
]


@pytest.mark.parametrize(
    ("breach", "invariant", "told"),
    PAYOUT_BREACHES,
    ids=[breach.__name__ for breach, _, _ in PAYOUT_BREACHES],
)
def test_a_breach_of_payouts_is_caught_by_its_invariant_alone(
    breach: Callable[[PayoutView], PayoutView], invariant: PayoutInvariant, told: str
) -> None:
    found = broken(breach(paid_out()), PAYOUT_INVARIANTS)
    assert [invariant.__name__] == list(found)
    assert told in " ".join(found[invariant.__name__])


def test_every_invariant_of_payouts_has_its_breach() -> None:
    assert set(PAYOUT_INVARIANTS) == {invariant for _, invariant, _ in PAYOUT_BREACHES}


# --- Reconciling balances ---

EXPECTED = {
    ("buyer", "EURC"): -SPENT,
    ("buyer", "YPS"): ASSET,
    ("seller", "USDC"): USDC,
    ("seller", "YPS"): -ASSET,
}
ROWS = [(a, t) for a in ("buyer", "seller", "vault") for t in ("EURC", "USDC", "YPS")]


def rows(changes: dict[tuple[str, str], int]) -> list[ObservedBalance]:
    """Balances of everybody in every token, with these changes."""
    return [ObservedBalance(a, t, 10**21, 10**21 + changes.get((a, t), 0)) for a, t in ROWS]


def test_an_executed_settlement_reconciles() -> None:
    """Exactly the deal, and nothing else."""
    assert [] == reconcile(rows(EXPECTED), deal(SettlementState.EXECUTED))
    assert [] == reconcile(rows(EXPECTED), deal(SettlementState.DELIVERED))


def test_where_nothing_was_executed_nothing_may_move() -> None:
    """Refunded in full, or never begun."""
    assert [] == reconcile(rows({}), deal(SettlementState.REFUNDED))
    assert 4 == len(reconcile(rows(EXPECTED), deal(SettlementState.REFUNDED)))
    assert 4 == len(reconcile(rows({}), deal(SettlementState.EXECUTED)))


@given(st.sampled_from(ROWS), st.integers(-(2**90), 2**90).filter(bool))
def test_any_other_change_is_named(row: tuple[str, str], by: int) -> None:
    """One account's one token off by anything is one problem, with the numbers."""
    wrong = EXPECTED.get(row, 0) + by
    told = reconcile(rows({**EXPECTED, row: wrong}), deal(SettlementState.EXECUTED))
    expected = f"{row[0]}'s {row[1]} changed by {wrong}, not {EXPECTED.get(row, 0)}"
    assert [expected] == told

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
    TOKENS,
    ObservedBalance,
    SettlementInvariant,
    SettlementView,
    reconcile,
)
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

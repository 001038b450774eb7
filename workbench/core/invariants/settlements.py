"""Invariants of settlements: each takes a view and returns the problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from workbench.core.errors import ConservationBroken
from workbench.core.invariants.payouts import PayoutView
from workbench.core.lifecycle import STAGE
from workbench.core.settlement import Settlement


@dataclass(frozen=True, slots=True)
class SettlementView:
    """The state of a run at one block.

    `held[holder][token]`: balances of vault, puller and hook. `escrowed[token]`: the vault's own
    sum. `parked[token]`: what waits in the vault to be claimed. Token keys: eurc, usdc, asset.

    The rest is known to a simulator, and empty elsewhere. `balances`, `predicted`: what accounts
    own, and what the second model predicts, by account and token. `ends`: terminal events of each
    settlement. `waited`: blocks between its swap and its execution; `finality`: the required
    number. `words`: the contract's word for its state; `views`: the word of each service. `told`:
    the states that the journal has facts for. `late`: settlements that are open after the time
    limit. `unknown`: transactions of our signers that no store has. `torn`: events of the vault
    that cannot follow the earlier ones. `supply`: the supply of each token at the start, and now.
    `confirmed`: the confirmations that the journal counted before each execution. `untold`: facts
    of services that the journal lacks. `ends_of`: the number of ends of each buyer who came.
    """

    settlements: tuple[Settlement, ...]
    held: dict[str, dict[str, int]]
    escrowed: dict[str, int]
    parked: dict[str, int]
    balances: dict[tuple[str, str], int] = field(default_factory=dict)
    predicted: dict[tuple[str, str], int] = field(default_factory=dict)
    ends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    waited: dict[str, int] = field(default_factory=dict)
    finality: int = 0
    words: dict[str, str] = field(default_factory=dict)
    views: dict[str, dict[str, str]] = field(default_factory=dict)
    told: dict[str, str] | None = None
    late: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()
    supply: dict[str, tuple[int, int]] = field(default_factory=dict)
    confirmed: dict[str, int | None] = field(default_factory=dict)
    untold: tuple[str, ...] = ()
    ends_of: dict[str, int] = field(default_factory=dict)


AnyView = TypeVar("AnyView", SettlementView, "PayoutView")


SettlementInvariant = Callable[[SettlementView], list[str]]


TOKENS = ("eurc", "usdc", "asset")


def owed(settlement: Settlement) -> dict[str, int]:
    """Return what the vault owes because of one settlement: base units by token."""
    due = dict.fromkeys(TOKENS, 0)
    for token in STAGE[settlement.state.value].vault_owes:
        due[token] = _AMOUNT_OWED[token](settlement)
    return due


_AMOUNT_OWED: dict[str, Callable[[Settlement], int]] = {
    "asset": lambda settlement: settlement.asset_amount,
    "eurc": lambda settlement: settlement.max_eurc - (settlement.eurc_spent or 0),
    "usdc": lambda settlement: settlement.required_usdc,
}


def _total_owed(view: SettlementView, token: str) -> int:
    return sum(owed(each)[token] for each in view.settlements) + view.parked.get(token, 0)


def vault_holds_what_it_owes(view: SettlementView) -> list[str]:
    """The vault's balance of each token equals what it owes, to the base unit."""
    problems = []
    for token in TOKENS:
        held, due = view.held["vault"].get(token, 0), _total_owed(view, token)
        if held != due:
            problems.append(f"the vault holds {held} {token} and owes {due}")
    return problems


def escrow_equals_debt(view: SettlementView) -> list[str]:
    """The vault's own sum of its escrow equals the sum over settlements."""
    problems = []
    for token in TOKENS:
        booked, due = view.escrowed.get(token, 0), _total_owed(view, token)
        if booked != due:
            problems.append(f"the vault has booked {booked} {token} as escrow and owes {due}")
    return problems


def helpers_hold_nothing(view: SettlementView) -> list[str]:
    """PermitPuller and FacilitatorHook hold no tokens."""
    return [
        f"the {holder} holds {units} {token}"
        for holder in ("puller", "hook")
        for token, units in view.held[holder].items()
        if units
    ]


def nothing_comes_from_nowhere(view: SettlementView) -> list[str]:
    """The supply of each token equals that at the start: no mint, no burn."""
    return [
        f"there are {now} {token}, and {before} at the beginning"
        for token, (before, now) in view.supply.items()
        if now != before
    ]


def settlements_follow_their_table(view: SettlementView) -> list[str]:
    """No event of the vault is outside the table of transitions."""
    return list(view.torn)


def nobody_over_budget(view: SettlementView) -> list[str]:
    """No settlement spends more EURC than its buyer signed."""
    return [
        f"{s.id} spent {s.eurc_spent} EURC of a budget of {s.max_eurc}"
        for s in view.settlements
        if (s.eurc_spent or 0) > s.max_eurc
    ]


def balances_as_predicted(view: SettlementView) -> list[str]:
    """Every account owns what the second model predicts, to the base unit."""
    return [
        f"{account} owns {view.balances.get((account, token))} {token}, predicted are {units}"
        for (account, token), units in view.predicted.items()
        if view.balances.get((account, token)) != units
    ]


def one_end_at_most(view: SettlementView) -> list[str]:
    """A settlement has at most one end: asset or refund."""
    return [f"{each} ended {len(e)} times: {e}" for each, e in view.ends.items() if len(e) > 1]


def an_end_in_time(view: SettlementView) -> list[str]:
    """A settlement has an end once the time limit has passed."""
    return [f"{each} is still open after its time" for each in view.late]


def paid_after_finality(view: SettlementView) -> list[str]:
    """No settlement is executed before its swap has the required confirmations."""
    return [
        f"{each} was executed {blocks} blocks after its swap, ordered were {view.finality}"
        for each, blocks in view.waited.items()
        if blocks < view.finality
    ]


def confirmed_before_execution(view: SettlementView) -> list[str]:
    """The required confirmations were counted before execution, on the block of the swap."""
    return [
        f"{each} was executed after {count or 'no'} confirmations, ordered were {view.finality}"
        for each, count in view.confirmed.items()
        if count is None or count < view.finality
    ]


def services_agree_with_the_contract(view: SettlementView) -> list[str]:
    """A service shows the state that the contract has."""
    return [
        f"the {service} shows {identity} as {words.get(identity)}, the contract as {word}"
        for service, words in view.views.items()
        for identity, word in view.words.items()
        if words.get(identity) != word
    ]


def no_state_without_its_fact(view: SettlementView) -> list[str]:
    """The journal has the fact that led to the contract's state."""
    if view.told is None:
        return []
    return [
        f"{identity} is {word}, its facts lead to {view.told.get(identity, 'nothing')}"
        for identity, word in view.words.items()
        if view.told.get(identity) != word
    ]


def no_fact_is_lost(view: SettlementView) -> list[str]:
    """The journal has every fact that a service emitted."""
    return [f"the journal has not {fact}" for fact in view.untold]


def every_buyer_has_an_end(view: SettlementView) -> list[str]:
    """Every buyer who came was served or gave up, and the journal has that once."""
    return [
        f"{name} came, and the journal has {count or 'no'} ends of that"
        for name, count in view.ends_of.items()
        if count != 1
    ]


def nothing_sent_that_was_not_stored(view: SettlementView) -> list[str]:
    """Every mined transaction of our signers is in its service's store."""
    return [f"{tx} was mined, and no store knows it" for tx in view.unknown]


INVARIANTS: tuple[SettlementInvariant, ...] = (
    vault_holds_what_it_owes,
    escrow_equals_debt,
    helpers_hold_nothing,
    nothing_comes_from_nowhere,
    settlements_follow_their_table,
    nobody_over_budget,
    balances_as_predicted,
    one_end_at_most,
    an_end_in_time,
    paid_after_finality,
    confirmed_before_execution,
    services_agree_with_the_contract,
    no_state_without_its_fact,
    no_fact_is_lost,
    every_buyer_has_an_end,
    nothing_sent_that_was_not_stored,
)


def broken(
    view: AnyView, invariants: Iterable[Callable[[AnyView], list[str]]]
) -> dict[str, list[str]]:
    """Return the problems by the name of each broken invariant."""
    named = [(getattr(each, "__name__", ""), each(view)) for each in invariants]
    return {name: problems for name, problems in named if problems}


def audit(view: SettlementView, invariants: Iterable[SettlementInvariant] = INVARIANTS) -> None:
    """Raise ConservationBroken with every invariant that does not hold."""
    problems = broken(view, invariants)
    if problems:
        told = "; ".join(f"{name}: {', '.join(what)}" for name, what in problems.items())
        raise ConservationBroken(told, broken=problems)


@dataclass(frozen=True, slots=True)
class ObservedBalance:
    """The balance of one account and token, before and after, in base units."""

    account: str
    token: str
    before: int
    after: int

    @property
    def change(self) -> int:
        return self.after - self.before


def reconcile(balances: Iterable[ObservedBalance], settlement: Settlement) -> list[str]:
    """Return what does not fit if exactly this settlement happened between `before` and `after`.

    Executed: the buyer paid `eurc_spent` and received the asset, the seller received
    `required_usdc`. Refunded: no balance changed. The vault's balances are unchanged in both cases.
    """
    done = settlement.status == "executed"
    spent = settlement.eurc_spent or 0
    expected = {
        ("buyer", "EURC"): -spent if done else 0,
        ("buyer", "YPS"): settlement.asset_amount if done else 0,
        ("seller", "USDC"): settlement.required_usdc if done else 0,
        ("seller", "YPS"): -settlement.asset_amount if done else 0,
    }
    return [
        f"{each.account}'s {each.token} changed by {each.change}, not {want}"
        for each in balances
        if each.change != (want := expected.get((each.account, each.token), 0))
    ]

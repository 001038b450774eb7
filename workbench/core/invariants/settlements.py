"""Invariants of settlements: each takes a view, and returns what is wrong with it."""

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
    """What one looks at, all at one block.

    `held[holder][token]`: balances of vault, puller and hook. `escrowed[token]`: the vault's own
    word. `parked[token]`: what waits in the vault to be claimed. Token keys: eurc, usdc, asset.

    The rest is what a simulator knows beside that; empty where nobody looked.
    `balances`, `predicted`: what accounts own, and what the second model says they should, by
    account and token. `ends`: terminal events of each settlement. `waited`: blocks between its
    swap and its execution; `finality`: how many it should be. `words`: the contract's own word for
    its state; `views`: what each service says, by service. `told`: the states that the journal has
    facts for. `late`: whatever is open although its time is over. `unknown`: transactions of our
    signers that no store knows. `torn`: what the vault told that cannot follow what it told before.
    `supply`: of each token, how much there was at the beginning, and is now. `confirmed`: the
    confirmations that the journal counted before each execution. `untold`: facts of services that
    the journal has not. `ends_of`: how many ends the journal has for each buyer who came.
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
    """The vault's balance of each token is what it owes, to the base unit."""
    problems = []
    for token in TOKENS:
        held, due = view.held["vault"].get(token, 0), _total_owed(view, token)
        if held != due:
            problems.append(f"the vault holds {held} {token} and owes {due}")
    return problems


def escrow_equals_debt(view: SettlementView) -> list[str]:
    """The vault's own account of its escrow agrees with the sum over settlements."""
    problems = []
    for token in TOKENS:
        booked, due = view.escrowed.get(token, 0), _total_owed(view, token)
        if booked != due:
            problems.append(f"the vault has booked {booked} {token} as escrow and owes {due}")
    return problems


def helpers_hold_nothing(view: SettlementView) -> list[str]:
    """PermitPuller and FacilitatorHook never hold tokens."""
    return [
        f"the {holder} holds {units} {token}"
        for holder in ("puller", "hook")
        for token, units in view.held[holder].items()
        if units
    ]


def nothing_comes_from_nowhere(view: SettlementView) -> list[str]:
    """Of each token there is as much as at the beginning: nobody mints, nobody burns."""
    return [
        f"there are {now} {token}, and {before} at the beginning"
        for token, (before, now) in view.supply.items()
        if now != before
    ]


def settlements_follow_their_table(view: SettlementView) -> list[str]:
    """The vault tells nothing that the table of transitions has no place for."""
    return list(view.torn)


def nobody_over_budget(view: SettlementView) -> list[str]:
    """No settlement spends more EURC than its buyer signed for."""
    return [
        f"{s.id} spent {s.eurc_spent} EURC of a budget of {s.max_eurc}"
        for s in view.settlements
        if (s.eurc_spent or 0) > s.max_eurc
    ]


def balances_as_predicted(view: SettlementView) -> list[str]:
    """Everybody owns what the second model says, to the base unit."""
    return [
        f"{account} owns {view.balances.get((account, token))} {token}, predicted are {units}"
        for (account, token), units in view.predicted.items()
        if view.balances.get((account, token)) != units
    ]


def one_end_at_most(view: SettlementView) -> list[str]:
    """Asset or refund, and never both, nor one of them twice."""
    return [f"{each} ended {len(e)} times: {e}" for each, e in view.ends.items() if len(e) > 1]


def an_end_in_time(view: SettlementView) -> list[str]:
    """Asset or refund, and never neither once the deadline has passed."""
    return [f"{each} is still open after its time" for each in view.late]


def paid_after_finality(view: SettlementView) -> list[str]:
    """Nothing is executed before its swap has the confirmations that were ordered."""
    return [
        f"{each} was executed {blocks} blocks after its swap, ordered were {view.finality}"
        for each, blocks in view.waited.items()
        if blocks < view.finality
    ]


def confirmed_before_execution(view: SettlementView) -> list[str]:
    """Whoever executes has counted the ordered confirmations, on the block that has the swap."""
    return [
        f"{each} was executed after {count or 'no'} confirmations, ordered were {view.finality}"
        for each, count in view.confirmed.items()
        if count is None or count < view.finality
    ]


def services_agree_with_the_contract(view: SettlementView) -> list[str]:
    """What a service shows is what the contract says."""
    return [
        f"the {service} shows {identity} as {words.get(identity)}, the contract as {word}"
        for service, words in view.views.items()
        for identity, word in view.words.items()
        if words.get(identity) != word
    ]


def no_state_without_its_fact(view: SettlementView) -> list[str]:
    """Whatever state the contract is in, the journal has the fact that led there."""
    if view.told is None:
        return []
    return [
        f"{identity} is {word}, its facts lead to {view.told.get(identity, 'nothing')}"
        for identity, word in view.words.items()
        if view.told.get(identity) != word
    ]


def no_fact_is_lost(view: SettlementView) -> list[str]:
    """The journal has every fact that a service is the source of."""
    return [f"the journal has not {fact}" for fact in view.untold]


def every_buyer_has_an_end(view: SettlementView) -> list[str]:
    """Whoever came to buy was served or gave up, and the journal says so once."""
    return [
        f"{name} came, and the journal has {count or 'no'} ends of that"
        for name, count in view.ends_of.items()
        if count != 1
    ]


def nothing_sent_that_was_not_stored(view: SettlementView) -> list[str]:
    """Every mined transaction of our signers stands in its service's store."""
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
    """What is wrong, by the name of the invariant."""
    named = [(getattr(each, "__name__", ""), each(view)) for each in invariants]
    return {name: problems for name, problems in named if problems}


def audit(view: SettlementView, invariants: Iterable[SettlementInvariant] = INVARIANTS) -> None:
    """Raise ConservationBroken naming every invariant that does not hold."""
    problems = broken(view, invariants)
    if problems:
        told = "; ".join(f"{name}: {', '.join(what)}" for name, what in problems.items())
        raise ConservationBroken(told, broken=problems)


@dataclass(frozen=True, slots=True)
class ObservedBalance:
    """One account's balance of one token, before and after, in base units."""

    account: str
    token: str
    before: int
    after: int

    @property
    def change(self) -> int:
        return self.after - self.before


def reconcile(balances: Iterable[ObservedBalance], settlement: Settlement) -> list[str]:
    """What does not fit when exactly this settlement happened between `before` and `after`.

    Executed: the buyer paid `eurc_spent` and got the asset, the seller was paid `required_usdc`.
    Refunded: nobody's balance moved. The vault is where it was, either way.
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

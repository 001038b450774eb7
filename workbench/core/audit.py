"""Invariants, as a list of equal functions: each takes a `View`, and returns what is wrong with it.

A sound world gives only empty lists. Amounts in base units throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from workbench.core.errors import ConservationBroken
from workbench.core.settlement import Settlement, State


@dataclass(frozen=True, slots=True)
class View:
    """What one looks at, all at one block.

    `held[holder][token]`: balances of vault, puller and hook. `escrowed[token]`: the vault's own
    word. `parked[token]`: what waits in the vault to be claimed. Token keys: eurc, usdc, asset.
    """

    settlements: tuple[Settlement, ...]
    held: dict[str, dict[str, int]]
    escrowed: dict[str, int]
    parked: dict[str, int]


Invariant = Callable[[View], list[str]]
TOKENS = ("eurc", "usdc", "asset")


def owed(settlement: Settlement) -> dict[str, int]:
    """What the vault owes because of one settlement, by token."""
    due = dict.fromkeys(TOKENS, 0)
    if settlement.state in (State.FUNDED, State.SWAPPED, State.FINAL):
        due["asset"] = settlement.asset_amount
        due["eurc"] = settlement.max_eurc - (settlement.eurc_spent or 0)
    if settlement.state in (State.SWAPPED, State.FINAL):
        due["usdc"] = settlement.required_usdc
    return due


def _total_owed(view: View, token: str) -> int:
    return sum(owed(each)[token] for each in view.settlements) + view.parked.get(token, 0)


def vault_holds_what_it_owes(view: View) -> list[str]:
    """The vault's balance of each token is what it owes, to the base unit."""
    problems = []
    for token in TOKENS:
        held, due = view.held["vault"].get(token, 0), _total_owed(view, token)
        if held != due:
            problems.append(f"the vault holds {held} {token} and owes {due}")
    return problems


def escrow_equals_debt(view: View) -> list[str]:
    """The vault's own account of its escrow agrees with the sum over settlements."""
    problems = []
    for token in TOKENS:
        booked, due = view.escrowed.get(token, 0), _total_owed(view, token)
        if booked != due:
            problems.append(f"the vault has booked {booked} {token} as escrow and owes {due}")
    return problems


def helpers_hold_nothing(view: View) -> list[str]:
    """PermitPuller and FacilitatorHook never hold tokens."""
    return [
        f"the {holder} holds {units} {token}"
        for holder in ("puller", "hook")
        for token, units in view.held[holder].items()
        if units
    ]


def nobody_over_budget(view: View) -> list[str]:
    """No settlement spends more EURC than its buyer signed for."""
    return [
        f"{s.id} spent {s.eurc_spent} EURC of a budget of {s.max_eurc}"
        for s in view.settlements
        if (s.eurc_spent or 0) > s.max_eurc
    ]


INVARIANTS: tuple[Invariant, ...] = (
    vault_holds_what_it_owes,
    escrow_equals_debt,
    helpers_hold_nothing,
    nobody_over_budget,
)


def audit(view: View, invariants: Iterable[Invariant] = INVARIANTS) -> None:
    """Raise ConservationBroken naming every invariant that does not hold."""
    broken = {each.__name__: problems for each in invariants if (problems := each(view))}
    if broken:
        told = "; ".join(f"{name}: {', '.join(what)}" for name, what in broken.items())
        raise ConservationBroken(told, broken=broken)


@dataclass(frozen=True, slots=True)
class Balance:
    """One account's balance of one token, before and after, in base units."""

    account: str
    token: str
    before: int
    after: int

    @property
    def change(self) -> int:
        return self.after - self.before


def reconcile(balances: Iterable[Balance], settlement: Settlement) -> list[str]:
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

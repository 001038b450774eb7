"""Invariants that the facts of a run must satisfy by themselves, without a node.

Each function takes the valid facts by settlement and returns the problems. Amounts in base units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from workbench.core import facts as ev

FactsBySubject = Mapping[str, Sequence[ev.Event]]
"""Valid facts by subject."""
JournalInvariant = Callable[[FactsBySubject], list[str]]
EventType = TypeVar("EventType", bound=ev.Event)


def standing(facts: Iterable[ev.Event]) -> dict[str, list[ev.Event]]:
    """Return the valid facts by subject, each once, however many journals hold it."""
    told: dict[str, dict[str, ev.Event]] = {}
    for fact in ev.canonical(list(facts)):
        told.setdefault(fact.subject, {})[ev.to_json(fact)] = fact
    return {subject: list(own.values()) for subject, own in told.items() if subject}


def _all(facts: Iterable[ev.Event], kind: type[EventType]) -> list[EventType]:
    return [fact for fact in facts if isinstance(fact, kind)]


def nobody_over_budget(told: FactsBySubject) -> list[str]:
    """No swap spends more EURC than the buyer signed."""
    return [
        f"{subject}: {swap.eurc_spent} EURC of a budget of {created.max_eurc}"
        for subject, facts in told.items()
        for created in _all(facts, ev.SettlementCreated)
        for swap in _all(facts, ev.SettlementSwapped)
        if swap.eurc_spent > created.max_eurc
    ]


def swapped_for_the_price(told: FactsBySubject) -> list[str]:
    """A swap buys exactly the required USDC."""
    return [
        f"{subject}: {swap.usdc_received} USDC where {created.required_usdc} are required"
        for subject, facts in told.items()
        for created in _all(facts, ev.SettlementCreated)
        for swap in _all(facts, ev.SettlementSwapped)
        if swap.usdc_received != created.required_usdc
    ]


def one_end(told: FactsBySubject) -> list[str]:
    """A settlement has one end: asset or refund, once."""
    kinds = ev.SettlementExecuted | ev.SettlementRefunded
    ends = {s: [f.type for f in facts if isinstance(f, kinds)] for s, facts in told.items()}
    return [f"{subject}: {', '.join(found)}" for subject, found in ends.items() if len(found) > 1]


def executed_in_full(told: FactsBySubject) -> list[str]:
    """Execution pays the asset, the price, and the rest of the budget."""
    problems = []
    for subject, facts in told.items():
        created, swaps = _all(facts, ev.SettlementCreated), _all(facts, ev.SettlementSwapped)
        for done in _all(facts, ev.SettlementExecuted):
            paid = (done.asset_to_buyer, done.usdc_to_seller, done.eurc_returned)
            if not created or not swaps:
                problems.append(f"{subject}: executed without having been created and swapped")
                continue
            left = created[-1].max_eurc - swaps[-1].eurc_spent
            due = (created[-1].asset_amount, created[-1].required_usdc, left)
            if paid != due:
                problems.append(f"{subject}: paid {paid}, due were {due} (asset, USDC, EURC)")
    return problems


def refunded_in_full(told: FactsBySubject) -> list[str]:
    """A refund returns all that was pulled, and nothing if nothing was."""
    problems = []
    for subject, facts in told.items():
        pulled = [(f.eurc_amount, f.asset_amount) for f in _all(facts, ev.SettlementFunded)]
        due = pulled[-1] if pulled else (0, 0)
        for back in _all(facts, ev.SettlementRefunded):
            paid = (back.eurc_returned, back.asset_returned)
            if paid != due:
                problems.append(f"{subject}: gave back {paid}, pulled were {due} (EURC, asset)")
    return problems


def each_act_once(told: FactsBySubject) -> list[str]:
    """No act of a settlement succeeds in two transactions."""
    problems = []
    for subject, facts in told.items():
        acts = {(f.act, f.tx) for f in _all(facts, ev.TransactionMined) if f.ok}
        names = sorted(act for act, _ in acts)
        twice = sorted({act for act in names if names.count(act) > 1})
        if twice:
            problems.append(f"{subject}: {', '.join(twice)}")
    return problems


RULES: tuple[JournalInvariant, ...] = (
    nobody_over_budget,
    swapped_for_the_price,
    one_end,
    executed_in_full,
    refunded_in_full,
    each_act_once,
)


def review(
    facts: Iterable[ev.Event], rules: Iterable[JournalInvariant] = RULES
) -> dict[str, list[str]]:
    """Return the problems by the name of each rule; empty lists for a sound run."""
    told = standing(facts)
    return {rule.__name__: rule(told) for rule in rules}

"""Invariants of payouts, over what a run has shown so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from workbench.core.errors import LedgerBroken
from workbench.core.ledger import Account, LedgerTransfer, check
from workbench.core.payout import Payout, PayoutState


@dataclass(frozen=True, slots=True)
class PayoutView:
    """What one looks at where credits are paid out, all at one block: of all receivers, or of those
    about whom there is news, and then all about them and their users.

    `moved`: receiver and amount of each transfer out of the wallet, from the chain itself.
    `payouts`: the service's word, `torn`: its facts that could not follow those before. `asked`:
    who asked for how much, by receiver (every payout has its own). `earned`: what all credits that
    a user may have earned are worth, and `got`, what the user was paid in all.

    The rest is for the end, and empty before. `late`: payouts that are open although their time
    is over, or that nobody knows any more. `ledger`, `chain`: the same sums, of the books and of
    the chain. `credited`: the fewest and the most credits that a user's account may have received;
    `accounts`, `lines`: the books themselves. `facts`, `heard`: the ids of what the journal has to
    tell, and of what a subscriber heard, each in the order of first times; `wrong`: what it heard
    that nobody should say.
    """

    moved: tuple[tuple[str, int], ...] = ()
    payouts: tuple[Payout, ...] = ()
    torn: tuple[str, ...] = ()
    asked: dict[str, tuple[str, int]] = field(default_factory=dict)
    earned: dict[str, int] = field(default_factory=dict)
    got: dict[str, int] = field(default_factory=dict)
    late: tuple[str, ...] = ()
    ledger: dict[str, int] = field(default_factory=dict)
    chain: dict[str, int] = field(default_factory=dict)
    credited: dict[str, tuple[int, int]] = field(default_factory=dict)
    accounts: Sequence[Account] = ()
    lines: Sequence[tuple[int, str, LedgerTransfer]] = ()
    facts: Sequence[str] = ()
    heard: Sequence[str] = ()
    wrong: tuple[str, ...] = ()


def one_transfer_a_payout(view: PayoutView) -> list[str]:
    """Whoever asked for a payout is paid once at most, and exactly what was asked."""
    times = Counter(receiver for receiver, _ in view.moved)
    problems = [f"{receiver} was paid {n} times" for receiver, n in times.items() if n > 1]
    for receiver, amount in view.moved:
        due = view.asked[receiver][1] if receiver in view.asked else 0
        if amount != due:
            problems.append(f"{receiver} was paid {amount}, asked were {due}")
    return problems


def none_refunded_and_paid(view: PayoutView) -> list[str]:
    """Who got the credits back, got no money."""
    paid = {receiver for receiver, _ in view.moved}
    gone = (PayoutState.REFUNDED, PayoutState.CANCELLED)
    return [
        f"{each.id} is {each.state.value}, and was paid"
        for each in view.payouts
        if each.state in gone and each.address in paid
    ]


def none_marked_paid_and_unpaid(view: PayoutView) -> list[str]:
    """What the service calls paid, the chain has."""
    paid = {receiver for receiver, _ in view.moved}
    return [
        f"{each.id} is called paid, and is not"
        for each in view.payouts
        if each.state is PayoutState.PAID and each.address not in paid
    ]


def nobody_paid_beyond_their_credits(view: PayoutView) -> list[str]:
    """All that a user was paid is no more than the user has earned."""
    return [
        f"{user} was paid {amount}, and has earned {view.earned.get(user, 0)}"
        for user, amount in view.got.items()
        if amount > view.earned.get(user, 0)
    ]


def payouts_follow_their_table(view: PayoutView) -> list[str]:
    """No fact of a payout comes where the table has no place for it."""
    return list(view.torn)


def every_payout_ends(view: PayoutView) -> list[str]:
    """Paid, refunded or cancelled, once nothing goes wrong any more."""
    return [f"{each} has no end" for each in view.late]


def ledger_equals_chain(view: PayoutView) -> list[str]:
    """Treasury, payments and gas of the books are those of the chain; no suspense."""
    return [
        f"{name}: the ledger has {view.ledger.get(name, 0)}, the chain {amount}"
        for name, amount in view.chain.items()
        if view.ledger.get(name, 0) != amount
    ]


def credits_are_what_was_earned(view: PayoutView) -> list[str]:
    """Each earning is in its user's account, once."""
    received = {account.id: account.credits_posted for account in view.accounts}
    return [
        f"{user} has received {received.get(f'user:{user}', 0)} credits, not {low} to {high}"
        for user, (low, high) in view.credited.items()
        if not low <= received.get(f"user:{user}", 0) <= high
    ]


def the_books_are_whole(view: PayoutView) -> list[str]:
    """The chain of hashes verifies, and every sum is that of its lines."""
    try:
        check(view.accounts, view.lines)
    except LedgerBroken as why:
        return [why.message]
    return []


def subscribers_hear_every_fact(view: PayoutView) -> list[str]:
    """Each at least once, first in the journal's order, and nothing besides."""
    pairs = zip_longest(view.facts, view.heard)
    first = next((n for n, (fact, heard) in enumerate(pairs) if fact != heard), None)
    problems = list(view.wrong)
    if first is not None:
        told = f"{len(view.facts)} facts were to be told, {len(view.heard)} were heard"
        problems.append(f"{told}; they differ from the {first + 1}. on")
    return problems


PayoutInvariant = Callable[[PayoutView], list[str]]


PAYOUT_INVARIANTS: tuple[PayoutInvariant, ...] = (
    one_transfer_a_payout,
    none_refunded_and_paid,
    none_marked_paid_and_unpaid,
    nobody_paid_beyond_their_credits,
    payouts_follow_their_table,
    every_payout_ends,
    ledger_equals_chain,
    credits_are_what_was_earned,
    the_books_are_whole,
    subscribers_hear_every_fact,
)

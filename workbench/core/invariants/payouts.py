"""Invariants of payouts, on a view of what a run has shown so far."""

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
    """The state of payouts at one block: of all receivers, or of those with news and their users.

    `moved`: receiver and amount of each transfer out of the wallet, from the chain. `payouts`: as
    the service has them. `torn`: its facts that could not follow the earlier ones. `asked`: user
    and amount by receiver (every payout has its own). `earned`: the value of all credits that a
    user may have earned; `got`: what the user was paid.

    The rest is empty before the end. `late`: payouts that are open after the time limit, or lost.
    `ledger`, `chain`: the same sums, of the ledger and of the chain. `credited`: the fewest and the
    most credits that a user's account may have received. `accounts`, `lines`: the ledger. `facts`,
    `heard`: ids of the facts for subscribers, and of those that one received, each in the order of
    first times. `wrong`: messages that must not have been sent.
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
    """A request is paid at most once, and exactly its amount."""
    times = Counter(receiver for receiver, _ in view.moved)
    problems = [f"{receiver} was paid {n} times" for receiver, n in times.items() if n > 1]
    for receiver, amount in view.moved:
        due = view.asked[receiver][1] if receiver in view.asked else 0
        if amount != due:
            problems.append(f"{receiver} was paid {amount}, asked were {due}")
    return problems


def none_refunded_and_paid(view: PayoutView) -> list[str]:
    """A payout that was refunded was not paid."""
    paid = {receiver for receiver, _ in view.moved}
    gone = (PayoutState.REFUNDED, PayoutState.CANCELLED)
    return [
        f"{each.id} is {each.state.value}, and was paid"
        for each in view.payouts
        if each.state in gone and each.address in paid
    ]


def none_marked_paid_and_unpaid(view: PayoutView) -> list[str]:
    """A payout that the service calls paid is on the chain."""
    paid = {receiver for receiver, _ in view.moved}
    return [
        f"{each.id} is called paid, and is not"
        for each in view.payouts
        if each.state is PayoutState.PAID and each.address not in paid
    ]


def nobody_paid_beyond_their_credits(view: PayoutView) -> list[str]:
    """No user was paid more than the value of the credits earned."""
    return [
        f"{user} was paid {amount}, and has earned {view.earned.get(user, 0)}"
        for user, amount in view.got.items()
        if amount > view.earned.get(user, 0)
    ]


def payouts_follow_their_table(view: PayoutView) -> list[str]:
    """No fact of a payout is outside the table of transitions."""
    return list(view.torn)


def every_payout_ends(view: PayoutView) -> list[str]:
    """Every payout is paid, refunded or cancelled in time."""
    return [f"{each} has no end" for each in view.late]


def ledger_equals_chain(view: PayoutView) -> list[str]:
    """Treasury, payments and gas of the ledger equal the chain; suspense is empty."""
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
    """The hash chain verifies, and every sum equals its lines."""
    try:
        check(view.accounts, view.lines)
    except LedgerBroken as why:
        return [why.message]
    return []


def subscribers_hear_every_fact(view: PayoutView) -> list[str]:
    """A subscriber receives every fact at least once, first in journal order, and nothing else."""
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

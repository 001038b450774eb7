"""Invariants, as lists of equal functions: each takes a view, and returns what is wrong with it.

A `View` is of settlements, a `PaidOut` of payouts. A sound world gives only empty lists. Amounts in
base units throughout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from workbench.core import events as ev
from workbench.core.errors import ConservationBroken, LedgerBroken
from workbench.core.events import Event
from workbench.core.ledger import Account, Transfer, check
from workbench.core.payout import ACT as PAY
from workbench.core.payout import Payout
from workbench.core.payout import State as PayoutState
from workbench.core.settlement import Settlement, State


@dataclass(frozen=True, slots=True)
class View:
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


Seen = TypeVar("Seen", View, "PaidOut")
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


def nothing_comes_from_nowhere(view: View) -> list[str]:
    """Of each token there is as much as at the beginning: nobody mints, nobody burns."""
    return [
        f"there are {now} {token}, and {before} at the beginning"
        for token, (before, now) in view.supply.items()
        if now != before
    ]


def settlements_follow_their_table(view: View) -> list[str]:
    """The vault tells nothing that the table of transitions has no place for."""
    return list(view.torn)


def nobody_over_budget(view: View) -> list[str]:
    """No settlement spends more EURC than its buyer signed for."""
    return [
        f"{s.id} spent {s.eurc_spent} EURC of a budget of {s.max_eurc}"
        for s in view.settlements
        if (s.eurc_spent or 0) > s.max_eurc
    ]


def balances_as_predicted(view: View) -> list[str]:
    """Everybody owns what the second model says, to the base unit."""
    return [
        f"{account} owns {view.balances.get((account, token))} {token}, predicted are {units}"
        for (account, token), units in view.predicted.items()
        if view.balances.get((account, token)) != units
    ]


def one_end_at_most(view: View) -> list[str]:
    """Asset or refund, and never both, nor one of them twice."""
    return [f"{each} ended {len(e)} times: {e}" for each, e in view.ends.items() if len(e) > 1]


def an_end_in_time(view: View) -> list[str]:
    """Asset or refund, and never neither once the deadline has passed."""
    return [f"{each} is still open after its time" for each in view.late]


def paid_after_finality(view: View) -> list[str]:
    """Nothing is executed before its swap has the confirmations that were ordered."""
    return [
        f"{each} was executed {blocks} blocks after its swap, ordered were {view.finality}"
        for each, blocks in view.waited.items()
        if blocks < view.finality
    ]


def confirmed_before_execution(view: View) -> list[str]:
    """Whoever executes has counted the ordered confirmations, on the block that has the swap."""
    return [
        f"{each} was executed after {count or 'no'} confirmations, ordered were {view.finality}"
        for each, count in view.confirmed.items()
        if count is None or count < view.finality
    ]


def services_agree_with_the_contract(view: View) -> list[str]:
    """What a service shows is what the contract says."""
    return [
        f"the {service} shows {identity} as {words.get(identity)}, the contract as {word}"
        for service, words in view.views.items()
        for identity, word in view.words.items()
        if words.get(identity) != word
    ]


def no_state_without_its_fact(view: View) -> list[str]:
    """Whatever state the contract is in, the journal has the fact that led there."""
    if view.told is None:
        return []
    return [
        f"{identity} is {word}, its facts lead to {view.told.get(identity, 'nothing')}"
        for identity, word in view.words.items()
        if view.told.get(identity) != word
    ]


def no_fact_is_lost(view: View) -> list[str]:
    """The journal has every fact that a service is the source of."""
    return [f"the journal has not {fact}" for fact in view.untold]


def every_buyer_has_an_end(view: View) -> list[str]:
    """Whoever came to buy was served or gave up, and the journal says so once."""
    return [
        f"{name} came, and the journal has {count or 'no'} ends of that"
        for name, count in view.ends_of.items()
        if count != 1
    ]


def nothing_sent_that_was_not_stored(view: View) -> list[str]:
    """Every mined transaction of our signers stands in its service's store."""
    return [f"{tx} was mined, and no store knows it" for tx in view.unknown]


INVARIANTS: tuple[Invariant, ...] = (
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


# --- Payouts -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PaidOut:
    """What one looks at where credits are paid out, all at one block: of all receivers, or of those
    about whom there is news, and then all about them and their users.

    `moved`: receiver and amount of each transfer out of the wallet, from the chain itself.
    `payouts`: the service's word, `torn`: its facts that could not follow those before. `asked`:
    who asked for how much, by receiver (every payout has its own). `earned`: what all credits that
    a user may have earned are worth, and `got`, what the user was paid in all.

    The rest is for the end, and empty before. `late`: payouts that are open although their time
    is over, or that nobody knows any more. `ledger`, `chain`: the same sums, of the books and of
    the chain. `credited`: the fewest and the most credits that a user's account may have received;
    `accounts`, `lines`: the books themselves.
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
    lines: Sequence[tuple[int, str, Transfer]] = ()


def one_transfer_a_payout(view: PaidOut) -> list[str]:
    """Whoever asked for a payout is paid once at most, and exactly what was asked."""
    times = Counter(receiver for receiver, _ in view.moved)
    problems = [f"{receiver} was paid {n} times" for receiver, n in times.items() if n > 1]
    for receiver, amount in view.moved:
        due = view.asked[receiver][1] if receiver in view.asked else 0
        if amount != due:
            problems.append(f"{receiver} was paid {amount}, asked were {due}")
    return problems


def none_refunded_and_paid(view: PaidOut) -> list[str]:
    """Who got the credits back, got no money."""
    paid = {receiver for receiver, _ in view.moved}
    gone = (PayoutState.REFUNDED, PayoutState.CANCELLED)
    return [
        f"{each.id} is {each.state.value}, and was paid"
        for each in view.payouts
        if each.state in gone and each.address in paid
    ]


def none_marked_paid_and_unpaid(view: PaidOut) -> list[str]:
    """What the service calls paid, the chain has."""
    paid = {receiver for receiver, _ in view.moved}
    return [
        f"{each.id} is called paid, and is not"
        for each in view.payouts
        if each.state is PayoutState.PAID and each.address not in paid
    ]


def nobody_paid_beyond_their_credits(view: PaidOut) -> list[str]:
    """All that a user was paid is no more than the user has earned."""
    return [
        f"{user} was paid {amount}, and has earned {view.earned.get(user, 0)}"
        for user, amount in view.got.items()
        if amount > view.earned.get(user, 0)
    ]


def payouts_follow_their_table(view: PaidOut) -> list[str]:
    """No fact of a payout comes where the table has no place for it."""
    return list(view.torn)


def every_payout_ends(view: PaidOut) -> list[str]:
    """Paid, refunded or cancelled, once nothing goes wrong any more."""
    return [f"{each} has no end" for each in view.late]


def ledger_equals_chain(view: PaidOut) -> list[str]:
    """Treasury, payments and gas of the books are those of the chain; no suspense."""
    return [
        f"{name}: the ledger has {view.ledger.get(name, 0)}, the chain {amount}"
        for name, amount in view.chain.items()
        if view.ledger.get(name, 0) != amount
    ]


def credits_are_what_was_earned(view: PaidOut) -> list[str]:
    """Each earning is in its user's account, once."""
    received = {account.id: account.credits_posted for account in view.accounts}
    return [
        f"{user} has received {received.get(f'user:{user}', 0)} credits, not {low} to {high}"
        for user, (low, high) in view.credited.items()
        if not low <= received.get(f"user:{user}", 0) <= high
    ]


def the_books_are_whole(view: PaidOut) -> list[str]:
    """The chain of hashes verifies, and every sum is that of its lines."""
    try:
        check(view.accounts, view.lines)
    except LedgerBroken as why:
        return [why.message]
    return []


PaidOutInvariant = Callable[[PaidOut], list[str]]
PAYOUT_INVARIANTS: tuple[PaidOutInvariant, ...] = (
    one_transfer_a_payout,
    none_refunded_and_paid,
    none_marked_paid_and_unpaid,
    nobody_paid_beyond_their_credits,
    payouts_follow_their_table,
    every_payout_ends,
    ledger_equals_chain,
    credits_are_what_was_earned,
    the_books_are_whole,
)


def broken(view: Seen, invariants: Iterable[Callable[[Seen], list[str]]]) -> dict[str, list[str]]:
    """What is wrong, by the name of the invariant."""
    named = [(getattr(each, "__name__", ""), each(view)) for each in invariants]
    return {name: problems for name, problems in named if problems}


def audit(view: View, invariants: Iterable[Invariant] = INVARIANTS) -> None:
    """Raise ConservationBroken naming every invariant that does not hold."""
    problems = broken(view, invariants)
    if problems:
        told = "; ".join(f"{name}: {', '.join(what)}" for name, what in problems.items())
        raise ConservationBroken(told, broken=problems)


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


# --- What ought to happen sometimes --------------------------------------------------------------


Paths = dict[str, Callable[[Event], bool]]
"""Rare paths by name, each with how to recognise it in a fact."""


def sometimes(facts: Iterable[Event], paths: Paths) -> dict[str, int]:
    """How often each rare path was taken. A run that never took one has not tested it."""
    counts = dict.fromkeys(paths, 0)
    for fact in facts:
        for name, taken in paths.items():
            counts[name] += taken(fact)
    return counts


PATHS: Paths = {
    "executed": lambda f: isinstance(f, ev.SettlementExecuted),
    "refunded": lambda f: isinstance(f, ev.SettlementRefunded),
    "refunded_after_deadline": lambda f: (
        isinstance(f, ev.SettlementRefunded) and f.reason == "expired"
    ),
    "rejected": lambda f: isinstance(f, ev.PaymentRejected),
    "act_refused_by_simulation": lambda f: isinstance(f, ev.TransactionFailed) and not f.tx,
    "transaction_reverted": lambda f: isinstance(f, ev.TransactionMined) and not f.ok,
    "transaction_replaced": lambda f: isinstance(f, ev.TransactionReplaced),
    "block_orphaned": lambda f: isinstance(f, ev.BlockOrphaned),
    "service_crashed": lambda f: isinstance(f, ev.FaultInjected) and f.site.startswith("crash."),
    "answer_lost": lambda f: isinstance(f, ev.FaultInjected) and f.site == "http.cut",
    "buyer_gave_up": lambda f: isinstance(f, ev.BuyerGaveUp),
}
"""Of settlements, and of what befalls everybody."""

PAYOUT_PATHS: Paths = {
    "payout_paid": lambda f: isinstance(f, ev.PayoutPaid),
    "payout_refunded": lambda f: isinstance(f, ev.PayoutRefunded),
    "payout_not_accepted": lambda f: isinstance(f, ev.PayoutAnswered) and f.status >= 400,
    "replay_answered": lambda f: isinstance(f, ev.PayoutAnswered) and f.replayed,
    "payout_reverted": lambda f: isinstance(f, ev.TransactionMined) and not f.ok and f.act == PAY,
    "payout_fee_bumped": lambda f: isinstance(f, ev.TransactionReplaced) and f.act == PAY,
    "signer_quarantined": lambda f: isinstance(f, ev.SignerQuarantined),
}
"""Of payouts."""

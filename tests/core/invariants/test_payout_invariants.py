"""Each invariant of payouts finds its planted violation, and no other one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from workbench.core import invariants as rules
from workbench.core.invariants import (
    PAYOUT_INVARIANTS,
    PayoutInvariant,
    PayoutView,
    broken,
)
from workbench.core.ledger import Account, LedgerModel, LedgerTransfer, TransferKind, resolved
from workbench.core.payout import Payout, PayoutState

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

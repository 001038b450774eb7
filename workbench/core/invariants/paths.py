"""Rare paths: a run that never takes one has not tested it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workbench.core import facts as ev
from workbench.core.facts import Event
from workbench.core.payout import ACT as PAY

PathPredicates = dict[str, Callable[[Event], bool]]
"""Rare paths by name, each with a test of a fact."""


def sometimes(facts: Iterable[Event], paths: PathPredicates) -> dict[str, int]:
    """Return how often each rare path was taken."""
    counts = dict.fromkeys(paths, 0)
    for fact in facts:
        for name, taken in paths.items():
            counts[name] += taken(fact)
    return counts


PATHS: PathPredicates = {
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
"""Paths of settlements, and of the chain."""


PAYOUT_PATHS: PathPredicates = {
    "payout_paid": lambda f: isinstance(f, ev.PayoutPaid),
    "payout_refunded": lambda f: isinstance(f, ev.PayoutRefunded),
    "payout_not_accepted": lambda f: isinstance(f, ev.PayoutAnswered) and f.status >= 400,
    "replay_answered": lambda f: isinstance(f, ev.PayoutAnswered) and f.replayed,
    "payout_reverted": lambda f: isinstance(f, ev.TransactionMined) and not f.ok and f.act == PAY,
    "payout_fee_bumped": lambda f: isinstance(f, ev.TransactionReplaced) and f.act == PAY,
    "signer_quarantined": lambda f: isinstance(f, ev.SignerQuarantined),
}
"""Paths of payouts."""

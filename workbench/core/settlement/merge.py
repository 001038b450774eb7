"""A settlement, merged from the facts of several emitters that have no common order."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition
from workbench.core.settlement.fold import Settlement, fold_into
from workbench.core.settlement.table import (
    ABOUT_BLOCK_OF,
    LATE,
    RELEVANT_EVENTS,
    TRANSITIONS,
    SettlementState,
    is_detail,
)

_DUE_IN = {
    "create": SettlementState.AUTHORIZED,
    "fund": SettlementState.CREATED,
    "swap": SettlementState.FUNDED,
    "refund": SettlementState.FUNDED,
    "execute": SettlementState.FINAL,
}
"""The state in which an action is due, so the one that its failure concerns."""

_STATES = list(SettlementState)
_LEADS_TO = {kind: _STATES.index(state) for (_, kind), state in TRANSITIONS.items()}


def rank_of(event: ev.Event) -> int | None:
    """Return the rank of a fact in the life of a settlement. None: a detail without a rank."""
    rank = _LEADS_TO.get(type(event))
    if rank is not None:
        return 2 * rank
    due = _DUE_IN.get(event.act) if isinstance(event, ev.TransactionFailed) else None
    return None if due is None else 2 * _STATES.index(due) + 1


InconsistentJournals = dict[str, str]
"""Why a fact cannot follow the earlier facts of a settlement, by settlement id."""


def merge(
    facts: Iterable[ev.Event], inconsistent: InconsistentJournals | None = None
) -> dict[str, Settlement]:
    """As `fold`, for a journal with the facts of several emitters, which have no common order.

    `inconsistent`: see `merge_into`.
    """
    return merge_into({}, ev.canonical(list(facts)), inconsistent)


def merge_into(
    settlements: dict[str, Settlement],
    facts: Iterable[ev.Event],
    inconsistent: InconsistentJournals | None = None,
) -> dict[str, Settlement]:
    """Continue `merge` with facts that rank after all facts merged before.

    Facts of the chain have one emitter, the watcher, and must follow each other. Facts of peers are
    sorted by their rank. A fact of a peer whose cause is missing, or was orphaned, is skipped. So a
    caller that merges step by step starts a settlement again when a fact of a lower rank arrives.

    If `inconsistent` is given, a chain fact that cannot follow (another one is missing) is recorded
    there and skipped. Otherwise it raises IllegalTransition.
    """
    relevant = [event for event in facts if type(event) in RELEVANT_EVENTS]
    for event in sorted(relevant, key=lambda each: rank_of(each) or 0):
        if not event.contract and not _has_cause(settlements.get(event.subject), event):
            continue
        try:
            fold_into(settlements, [event])
        except IllegalTransition as why:
            if inconsistent is None:
                raise
            inconsistent.setdefault(event.subject, why.message)
    return settlements


def _has_cause(before: Settlement | None, event: ev.Event) -> bool:
    """True if the state, and the block, that a peer's fact refers to are still there."""
    kind = type(event)
    if is_detail(event) or kind not in _LEADS_TO:
        return True
    state = before.state if before else None
    about = ABOUT_BLOCK_OF.get(kind)
    if about and event.block and before:
        block = before.block_of(about)
        if block is None or block.hash != event.block.hash:
            return False
    return (state, kind) in TRANSITIONS or (state, kind) in LATE

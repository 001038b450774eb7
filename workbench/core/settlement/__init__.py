"""The life of one settlement: its states, its fold, and its next step. No input or output."""

from workbench.core.settlement.fold import (
    DETAIL_EVENTS,
    RETRIES,
    Settlement,
    SettlementFailure,
    StateEntry,
    apply,
    fold,
    fold_into,
    given_up,
)
from workbench.core.settlement.merge import InconsistentJournals, merge, merge_into, rank_of
from workbench.core.settlement.next_step import (
    FACILITATOR_REASONS,
    SettlementStep,
    next_step,
    refund_reason,
)
from workbench.core.settlement.table import (
    ABOUT_BLOCK_OF,
    LATE,
    NOT_ABOUT_SETTLEMENTS,
    OPEN,
    RELEVANT_EVENTS,
    TRANSITION_EVENTS,
    TRANSITIONS,
    SettlementState,
    is_detail,
)
from workbench.core.settlement.terms import terms_of

__all__ = [
    "ABOUT_BLOCK_OF",
    "DETAIL_EVENTS",
    "FACILITATOR_REASONS",
    "LATE",
    "NOT_ABOUT_SETTLEMENTS",
    "OPEN",
    "RELEVANT_EVENTS",
    "RETRIES",
    "TRANSITIONS",
    "TRANSITION_EVENTS",
    "InconsistentJournals",
    "Settlement",
    "SettlementFailure",
    "SettlementState",
    "SettlementStep",
    "StateEntry",
    "apply",
    "fold",
    "fold_into",
    "given_up",
    "is_detail",
    "merge",
    "merge_into",
    "next_step",
    "rank_of",
    "refund_reason",
    "terms_of",
]

"""The one table of states: word, end or not, contract state, vault debt, deadline, shape, colour.

Audit, commands, frames, metrics, charts, the tracker and the lanes read this table. So a state has
one word, one shape and one colour wherever it appears, and a new state needs one row here. The
transitions between the states are in `core.settlement.table` and `core.payout`.

Colours differ in lightness as well as in hue. Under simulated protanopia and deuteranopia the
smallest CIEDE2000 difference is 13.7 between any two colours, and 16.2 between consecutive stages.
Shapes carry the same information without colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StateRow:
    """How one state is presented."""

    word: str
    """The name in JSON, tables and charts."""
    is_end: bool
    """True if no state follows."""
    shape: str
    """The mark of a lane that stands in this state: one of `SHAPES`."""
    colour: str
    """A key of `PALETTE`."""
    label: str
    """The word as it begins a line of text."""
    waits_for: str = ""
    """What must happen next, as the end of a line of text. Empty for an end."""

    @property
    def text(self) -> str:
        """The word inside a line of text, with spaces: `gave up` for `gave_up`."""
        return self.label[0].lower() + self.label[1:]

    def to_json(self) -> dict[str, Any]:
        """The presentation of the state, for pages."""
        names = ("word", "is_end", "shape", "colour", "label", "waits_for")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class SettlementStage(StateRow):
    """A stage of a settlement, and what it means for the vault."""

    contract: int = 0
    """The number of the state in SettlementVault.sol (`enum Status`). 0: not on chain."""
    vault_owes: tuple[str, ...] = ()
    """The tokens that the vault holds for this settlement: `asset`, `eurc`, `usdc`."""
    deadline: str = ""
    """The field of the terms after which the settlement counts as expired in this state."""


SHAPES = ("disc", "triangle", "diamond", "cross", "ring", "chevron", "dot")
"""Executed, refunded (points back), rejected, gave up, asked only, still open, not come yet."""

PALETTE: dict[str, tuple[str, str]] = {
    "requested": ("#7f8b92", "#6d7479"),
    "authorized": ("#4d4f5e", "#9ca4b0"),
    "created": ("#2a8dd8", "#8ceaff"),
    "funded": ("#0d50c2", "#496bd2"),
    "swapped": ("#aa8015", "#ecb840"),
    "final": ("#54105f", "#b28dff"),
    "executed": ("#2b7f5b", "#74bb8e"),
    "refunded": ("#931a0d", "#cf4a30"),
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#59626c", "#9da6b0"),
}
"""Colours by key: for a light background, and for a dark one."""

_BOTH_LEGS = ("asset", "eurc")
_AFTER_SWAP = ("asset", "eurc", "usdc")

STAGES: tuple[SettlementStage, ...] = (
    SettlementStage(
        "requested", False, "chevron", "requested", "Requested", "waiting for a signature"
    ),
    SettlementStage(
        "authorized", False, "chevron", "authorized", "Authorized", "on its way to the chain"
    ),
    SettlementStage("rejected", True, "diamond", "ink", "Rejected"),
    SettlementStage(
        "created", False, "chevron", "created", "Created", "waiting for both sides' funds",
        contract=1, deadline="fund_deadline",
    ),
    SettlementStage(
        "funded", False, "chevron", "funded", "Funded", "waiting for the swap",
        contract=2, vault_owes=_BOTH_LEGS, deadline="swap_deadline",
    ),
    SettlementStage(
        "swapped", False, "chevron", "swapped", "Swapped", "waiting for finality",
        contract=3, vault_owes=_AFTER_SWAP,
    ),
    SettlementStage(
        "final", False, "chevron", "final", "Final", "about to be executed",
        contract=3, vault_owes=_AFTER_SWAP,
    ),
    SettlementStage(
        "executed", False, "disc", "executed", "Executed", "waiting for its confirmations",
        contract=4,
    ),
    SettlementStage("delivered", True, "disc", "executed", "Delivered", contract=4),
    SettlementStage("refunded", True, "triangle", "refunded", "Refunded", contract=5),
)  # fmt: skip
"""The stages of a settlement in their order: `requested`, then those of `SettlementState`."""

PAYOUT_STAGES: tuple[StateRow, ...] = (
    StateRow("requested", False, "chevron", "requested", "Requested"),
    StateRow("held", False, "chevron", "requested", "Held"),
    StateRow("approved", False, "chevron", "authorized", "Approved"),
    StateRow("sent", False, "chevron", "funded", "Sent"),
    StateRow("paid", True, "disc", "executed", "Paid"),
    StateRow("refunded", True, "triangle", "refunded", "Refunded"),
    StateRow("cancelled", True, "cross", "ink", "Cancelled"),
)
"""The states of a payout (`PayoutState`) in their order."""

OUTCOMES: tuple[StateRow, ...] = (
    StateRow("executed", True, "disc", "executed", "Executed"),
    StateRow("refunded", True, "triangle", "refunded", "Refunded"),
    StateRow("rejected", True, "diamond", "ink", "Rejected"),
    StateRow("gave_up", True, "cross", "ink", "Gave up"),
    StateRow("asked_only", True, "ring", "muted", "Asked only"),
    StateRow("open", False, "chevron", "ink", "Still open"),
    StateRow("not_come", False, "dot", "muted", "Not come yet"),
)
"""The outcomes of a planned buyer. Each buyer has exactly one."""

STAGE: dict[str, SettlementStage] = {row.word: row for row in STAGES}
OUTCOME: dict[str, StateRow] = {row.word: row for row in OUTCOMES}
_OUTCOME_BY_SHAPE = {row.shape: row for row in OUTCOMES}

_WORD_BY_NUMBER = {row.contract: row.word for row in reversed(STAGES)} | {0: "none"}
CONTRACT_WORDS = tuple(_WORD_BY_NUMBER[number] for number in sorted(_WORD_BY_NUMBER))
"""The words of the contract's states by number: the first stage that has this number."""


def contract_word(stage: str) -> str:
    """The contract's word for a settlement in this stage. Raises KeyError for an unknown word."""
    return CONTRACT_WORDS[STAGE[stage].contract]


def colour(word: str, *, dark: bool = False) -> str:
    """The colour (`#rrggbb`) of a stage or an outcome. Raises KeyError for an unknown word."""
    return PALETTE[(STAGE.get(word) or OUTCOME[word]).colour][dark]


def outcome_of_row(row: StateRow) -> StateRow:
    """The outcome of a settlement or payout that stands in this state: `open` before an end.

    A state has the shape of its outcome, and no two outcomes share a shape.
    """
    return _OUTCOME_BY_SHAPE[row.shape]


def outcome_of(stage: str) -> StateRow:
    """The outcome of a settlement in this stage. Raises KeyError for an unknown word."""
    return outcome_of_row(STAGE[stage])


def to_json() -> dict[str, Any]:
    """All tables, JSON-ready: `stages`, `payout_stages`, `outcomes`, `palette` and `shapes`.

    A stage also has `outcome`, a word of `outcomes`. A colour of `palette` is a pair: for a light
    background, and for a dark one.
    """
    return {
        "stages": [row.to_json() | {"outcome": outcome_of_row(row).word} for row in STAGES],
        "payout_stages": [row.to_json() for row in PAYOUT_STAGES],
        "outcomes": [row.to_json() for row in OUTCOMES],
        "palette": {key: list(pair) for key, pair in PALETTE.items()},
        "shapes": list(SHAPES),
    }

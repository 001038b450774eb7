"""One table of states: what each is called, whether it is an end, its shape and its colour.

Frames, metrics, charts, the tracker page and the lanes read this table, so that a state has one
word, one shape and one colour wherever it is shown. Colours are told apart by lightness as well as
by hue; under simulated protanopia and deuteranopia the smallest difference (CIEDE2000) between two
of them is 13.7, and 16.2 between stages that follow each other. Shapes say the same without colour.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StateRow:
    """How one state is shown.

    `word`: what people and machines read. `is_end`: nothing follows it. `shape`: the mark of a lane
    that has come as far as this, one of `SHAPES`. `colour`: a key of `PALETTE`. `label`: the word
    as the beginning of a line. `waits_for`: what must happen next, as the end of a line; empty
    where nothing follows.
    """

    word: str
    is_end: bool
    shape: str
    colour: str
    label: str
    waits_for: str = ""

    @property
    def text(self) -> str:
        """The word inside a line, with spaces: `gave up` for `gave_up`."""
        return self.label[0].lower() + self.label[1:]


SHAPES = ("disc", "triangle", "diamond", "cross", "ring", "chevron", "dot")
"""Executed, refunded (pointing back), rejected, gave up, asked only, still open, not come yet."""

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
"""Colours by key: on a light ground, and on a dark one."""

STAGES: tuple[StateRow, ...] = (
    StateRow("requested", False, "chevron", "requested", "Requested", "waiting for a signature"),
    StateRow("authorized", False, "chevron", "authorized", "Authorized", "on its way to the chain"),
    StateRow("rejected", True, "diamond", "ink", "Rejected"),
    StateRow("created", False, "chevron", "created", "Created", "waiting for both sides' funds"),
    StateRow("funded", False, "chevron", "funded", "Funded", "waiting for the swap"),
    StateRow("swapped", False, "chevron", "swapped", "Swapped", "waiting for finality"),
    StateRow("final", False, "chevron", "final", "Final", "about to be executed"),
    StateRow("executed", False, "disc", "executed", "Executed", "waiting for its confirmations"),
    StateRow("delivered", True, "disc", "executed", "Delivered"),
    StateRow("refunded", True, "triangle", "refunded", "Refunded"),
)
"""The stages of a settlement in the order of a life: `requested`, then `settlement.State`."""

PAYOUT_STAGES: tuple[StateRow, ...] = (
    StateRow("requested", False, "chevron", "requested", "Requested"),
    StateRow("held", False, "chevron", "requested", "Held"),
    StateRow("approved", False, "chevron", "authorized", "Approved"),
    StateRow("sent", False, "chevron", "funded", "Sent"),
    StateRow("paid", True, "disc", "executed", "Paid"),
    StateRow("refunded", True, "triangle", "refunded", "Refunded"),
    StateRow("cancelled", True, "cross", "ink", "Cancelled"),
)
"""The states of a payout, as `payout.State` has them, in the order of a life."""

OUTCOMES: tuple[StateRow, ...] = (
    StateRow("executed", True, "disc", "executed", "Executed"),
    StateRow("refunded", True, "triangle", "refunded", "Refunded"),
    StateRow("rejected", True, "diamond", "ink", "Rejected"),
    StateRow("gave_up", True, "cross", "ink", "Gave up"),
    StateRow("asked_only", True, "ring", "muted", "Asked only"),
    StateRow("open", False, "chevron", "ink", "Still open"),
    StateRow("not_come", False, "dot", "muted", "Not come yet"),
)
"""What became of a buyer that a scenario ordered; every buyer has exactly one of these."""

STAGE: dict[str, StateRow] = {look.word: look for look in STAGES}
OUTCOME: dict[str, StateRow] = {look.word: look for look in OUTCOMES}


def colour(word: str, *, dark: bool = False) -> str:
    """The colour (`#rrggbb`) of a stage or an outcome. Raises KeyError for a word not listed."""
    return PALETTE[(STAGE.get(word) or OUTCOME[word]).colour][dark]


def outcome_of(stage: str) -> StateRow:
    """The outcome of a settlement that stands in this stage: `open` before its end.

    An outcome has the shape of its stages, and no two outcomes share a shape. Raises KeyError for
    a word not listed.
    """
    return _BY_SHAPE[STAGE[stage].shape]


_BY_SHAPE = {look.shape: look for look in OUTCOMES}


def to_json() -> dict[str, Any]:
    """All tables, JSON-ready: `stages`, `payout_stages`, `outcomes`, `palette` and `shapes`.

    A row has the fields of `StateRow`; a stage also has `outcome`, a word of `outcomes`. A colour
    of `palette` is a pair: for a light background, and for a dark one.
    """
    return {
        "stages": [asdict(each) | {"outcome": outcome_of(each.word).word} for each in STAGES],
        "payout_stages": [asdict(each) for each in PAYOUT_STAGES],
        "outcomes": [asdict(each) for each in OUTCOMES],
        "palette": {key: list(pair) for key, pair in PALETTE.items()},
        "shapes": list(SHAPES),
    }

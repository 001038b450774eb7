"""One table of states: what each is called, whether it is an end, its shape and its colour.

Frames, metrics, charts, the tracker page and the lanes read this table, so that a state has one
word, one shape and one colour wherever it is shown. Colours are told apart by lightness as well as
by hue; under simulated protanopia and deuteranopia the smallest difference (CIEDE2000) between two
of them is 13.7, and 16.2 between stages that follow each other. Shapes say the same without colour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """How one state is shown.

    `word`: what people and machines read. `is_end`: nothing follows it. `shape`: the mark of a lane
    that has come as far as this, one of `SHAPES`. `colour`: a key of `PALETTE`. `label`: the word
    as the beginning of a line.
    """

    word: str
    is_end: bool
    shape: str
    colour: str
    label: str


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

STAGES: tuple[Look, ...] = (
    Look("requested", False, "chevron", "requested", "Requested"),
    Look("authorized", False, "chevron", "authorized", "Authorized"),
    Look("rejected", True, "diamond", "ink", "Rejected"),
    Look("created", False, "chevron", "created", "Created"),
    Look("funded", False, "chevron", "funded", "Funded"),
    Look("swapped", False, "chevron", "swapped", "Swapped"),
    Look("final", False, "chevron", "final", "Final"),
    Look("executed", False, "disc", "executed", "Executed"),
    Look("delivered", True, "disc", "executed", "Delivered"),
    Look("refunded", True, "triangle", "refunded", "Refunded"),
)
"""The stages of a settlement in the order of a life: `requested`, then `settlement.State`."""

PAYOUT_STAGES: tuple[Look, ...] = (
    Look("requested", False, "chevron", "requested", "Requested"),
    Look("held", False, "chevron", "requested", "Held"),
    Look("approved", False, "chevron", "authorized", "Approved"),
    Look("sent", False, "chevron", "funded", "Sent"),
    Look("paid", True, "disc", "executed", "Paid"),
    Look("refunded", True, "triangle", "refunded", "Refunded"),
    Look("cancelled", True, "cross", "ink", "Cancelled"),
)
"""The states of a payout, as `payout.State` has them, in the order of a life."""

OUTCOMES: tuple[Look, ...] = (
    Look("executed", True, "disc", "executed", "Executed"),
    Look("refunded", True, "triangle", "refunded", "Refunded"),
    Look("rejected", True, "diamond", "ink", "Rejected"),
    Look("gave_up", True, "cross", "ink", "Gave up"),
    Look("asked_only", True, "ring", "muted", "Asked only"),
    Look("open", False, "chevron", "ink", "Still open"),
    Look("not_come", False, "dot", "muted", "Not come yet"),
)
"""What became of a buyer that a scenario ordered; every buyer has exactly one of these."""

STAGE: dict[str, Look] = {look.word: look for look in STAGES}
OUTCOME: dict[str, Look] = {look.word: look for look in OUTCOMES}


def colour(word: str, *, dark: bool = False) -> str:
    """The colour (`#rrggbb`) of a stage or an outcome. Raises KeyError for a word not listed."""
    return PALETTE[(STAGE.get(word) or OUTCOME[word]).colour][dark]

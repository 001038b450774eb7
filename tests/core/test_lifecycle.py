"""The table of states names every state once, and each with a shape and a colour."""

from __future__ import annotations

import re

from workbench.core import payout, settlement
from workbench.core.lifecycle import OUTCOMES, PALETTE, PAYOUT_STAGES, SHAPES, STAGES, colour


def test_every_state_of_a_settlement_and_of_a_payout_is_in_the_table() -> None:
    """A state that is added to the code must be added here, too."""
    assert [look.word for look in STAGES] == ["requested", *(s.value for s in settlement.State)]
    assert [look.word for look in PAYOUT_STAGES] == [s.value for s in payout.State]


def test_each_row_has_a_known_shape_and_colour() -> None:
    for look in (*STAGES, *PAYOUT_STAGES, *OUTCOMES):
        assert look.shape in SHAPES
        assert look.colour in PALETTE
    for pair in PALETTE.values():
        assert all(re.fullmatch("#[0-9a-f]{6}", each) for each in pair)


def test_outcomes_differ_in_their_shapes() -> None:
    """Colour is never the only sign."""
    assert len({look.shape for look in OUTCOMES}) == len(OUTCOMES)


def test_ends_are_the_states_that_nothing_follows() -> None:
    """As the transition tables have it; a rejection may still be overtaken by the chain."""
    follows = {state for state, _ in settlement.TRANSITIONS if state}
    ends = {look.word for look in STAGES if look.is_end}
    assert ends == {s.value for s in settlement.State if s not in follows} | {"rejected"}
    assert {look.word for look in PAYOUT_STAGES if look.is_end} == {s.value for s in payout.ENDED}


def test_colours_by_word() -> None:
    assert colour("executed") == colour("delivered")
    assert colour("gave_up", dark=True) == PALETTE["ink"][1]

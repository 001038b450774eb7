"""The table of states names every state once, and each with a shape and a colour."""

from __future__ import annotations

import json
import re

from workbench.core import payout, settlement
from workbench.core.lifecycle import (
    OUTCOMES,
    PALETTE,
    PAYOUT_STAGES,
    SHAPES,
    STAGES,
    colour,
    outcome_of,
    to_json,
)


def test_every_state_of_a_settlement_and_of_a_payout_is_in_the_table() -> None:
    """A state that is added to the code must be added here, too."""
    assert [look.word for look in STAGES] == [
        "requested",
        *(s.value for s in settlement.SettlementState),
    ]
    assert [look.word for look in PAYOUT_STAGES] == [s.value for s in payout.PayoutState]


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
    assert ends == {s.value for s in settlement.SettlementState if s not in follows} | {"rejected"}
    assert {look.word for look in PAYOUT_STAGES if look.is_end} == {s.value for s in payout.ENDED}


def test_colours_by_word() -> None:
    assert colour("executed") == colour("delivered")
    assert colour("gave_up", dark=True) == PALETTE["ink"][1]


def test_the_outcome_of_a_stage_is_its_status() -> None:
    """Both come from the state; `pending` is the status of all that is open."""
    for state in settlement.SettlementState:
        status = settlement.Settlement("", state).status
        assert outcome_of(state.value).word == ("open" if status == "pending" else status)
    assert outcome_of("requested").word == "open"


def test_every_stage_says_what_it_waits_for_unless_it_is_the_end() -> None:
    assert {look.word for look in STAGES if look.waits_for} == {
        look.word for look in STAGES if not look.is_end
    }


def test_the_table_as_json() -> None:
    """What pages read: every row with its fields, a stage with its outcome, colours in pairs."""
    table = json.loads(json.dumps(to_json()))
    assert [row["word"] for row in table["stages"]] == [look.word for look in STAGES]
    assert {row["outcome"] for row in table["stages"]} <= {row["word"] for row in table["outcomes"]}
    assert table["palette"]["ink"] == list(PALETTE["ink"])
    assert "gave up" == next(look.text for look in OUTCOMES if look.word == "gave_up")

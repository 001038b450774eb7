"""A payout's life: the table is all there is, and no error leads to a refund."""

from __future__ import annotations

import itertools

import pytest

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition
from workbench.core.payout import (
    ENDED,
    MOVING,
    OPEN,
    TRANSITIONS,
    Payout,
    PayoutState,
    PayoutStep,
    apply,
    fold,
    next_step,
)

KNOWN = {"subject": "0x01", "at_ms": 1, "source": "payouts"}
FACTS: dict[type[ev.Event], ev.Event] = {
    fact.__class__: fact
    for fact in (
        ev.PayoutRequested(
            subject="0x01", at_ms=1, source="payouts", user_id="u", key="k",
            address="0xab", credits=5, units=50, asset="eip155:1/native",
        ),
        ev.PayoutHeld(subject="0x01", at_ms=1, source="payouts", hold="0x01/hold"),
        ev.PayoutApproved(subject="0x01", at_ms=1, source="payouts", by="rules"),
        ev.PayoutBatched(subject="0x01", at_ms=2, source="payouts", batch="0x0b", place=1),
        ev.PayoutSent(subject="0x01", at_ms=2, source="payouts", signer="0xcd", nonce=0, tx="0xef"),
        ev.PayoutPaid(subject="0x01", at_ms=3, source="payouts", tx="0xff", units=50, gas_wei=1),
        ev.PayoutRefunded(
            subject="0x01", at_ms=3, source="payouts", tx="0xff", reason="reverted", gas_wei=1
        ),
        ev.PayoutCancelled(
            subject="0x01", at_ms=3, source="payouts", tx="", reason="cancelled", gas_wei=0
        ),
    )
}  # fmt: skip


def test_the_table_names_every_fact_of_a_payout() -> None:
    """And every state is reached; from an end nothing leads on."""
    kinds = ev.Event.kinds.values()
    moving_nothing = {
        ev.PayoutAnswered,
        ev.PayoutMismatched,
        ev.PayoutOrphaned,
        ev.PayoutResolved,
    }
    named = {k for k in kinds if k.__name__.startswith("Payout")} - moving_nothing
    assert named == MOVING == set(FACTS)
    assert set(PayoutState) == set(TRANSITIONS.values()) == {*OPEN, *ENDED}
    assert not {state for state, _ in TRANSITIONS} & set(ENDED)


@pytest.mark.parametrize(
    ("state", "kind"),
    itertools.product([None, *PayoutState], sorted(MOVING, key=lambda k: k.__name__)),
)
def test_only_what_the_table_has(state: PayoutState | None, kind: type[ev.Event]) -> None:
    before = None if state is None else Payout("0x01", state)
    if (state, kind) in TRANSITIONS:
        assert apply(before, FACTS[kind]).state is TRANSITIONS[state, kind]
    else:
        with pytest.raises(IllegalTransition, match=kind.__name__):
            apply(before, FACTS[kind])


def test_a_life_is_a_fold() -> None:
    names = ("PayoutRequested", "PayoutHeld", "PayoutApproved", "PayoutSent", "PayoutPaid")
    life = [fact for fact in FACTS.values() if fact.type in names]
    paid = fold(life)["0x01"]
    assert (PayoutState.PAID, "u", 5, 50, "0xff") == (
        paid.state, paid.user_id, paid.credits, paid.units, paid.tx,
    )  # fmt: skip
    assert {} == fold([ev.BlockOrphaned(subject="0x02", at_ms=1, source="watcher", number=1)])


@pytest.mark.parametrize("state", PayoutState)
@pytest.mark.parametrize("may_sign", [True, False])
@pytest.mark.parametrize("final", [True, False])
def test_what_is_owed(state: PayoutState, may_sign: bool, final: bool) -> None:
    """Signed only when approved and free, judged only when sent and final."""
    step = next_step(Payout("0x01", state), may_sign=may_sign, slot_is_final=final)
    assert (step is PayoutStep.SEND) == (state is PayoutState.APPROVED and may_sign)
    assert (step is PayoutStep.JUDGE) == (state is PayoutState.SENT and final)
    assert (step is PayoutStep.NOTHING) == (state in ENDED)

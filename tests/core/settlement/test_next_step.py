"""The next step of a settlement, its retries, its deadlines, and the reason of a refund."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.settlement.test_settlement import ENDS, FACTS, ID, MINED, REFUNDABLE, WALKS, walk
from tests.strategies import uint64
from workbench.core import facts as ev
from workbench.core.finality import FinalityPolicy
from workbench.core.settlement import (
    FACILITATOR_REASONS,
    RETRIES,
    TRANSITIONS,
    Settlement,
    SettlementFailure,
    SettlementState,
    SettlementStep,
    apply,
    given_up,
    next_step,
    refund_reason,
)

ACT: dict[SettlementStep, type[ev.Event]] = {
    SettlementStep.FUND: ev.SettlementFunded,
    SettlementStep.SWAP: ev.SettlementSwapped,
    SettlementStep.CONFIRM: ev.FinalityReached,
    SettlementStep.EXECUTE: ev.SettlementExecuted,
    SettlementStep.REFUND: ev.SettlementRefunded,
}
"""Each step and the fact that it leads to."""


FAILURE = SettlementFailure("swap", "outside_band", "the rate is outside the band.")


small = st.integers(0, 40)


def standing_at(state: SettlementState, **known: Any) -> Settlement:
    """A settlement in `state`, every state entered by the block MINED."""
    settlement = walk(WALKS[state])
    assert settlement is not None
    entered = tuple(replace(each, block=MINED) for each in settlement.entered)
    return replace(settlement, entered=entered, **known)


settlements = st.builds(
    standing_at,
    st.sampled_from(SettlementState),
    fund_deadline=small,
    swap_deadline=small,
    failure=st.none() | st.just(FAILURE),
)


heads = st.integers(90, 120)


policies = st.builds(FinalityPolicy, small, small)


@given(settlements, heads, small, policies, st.booleans())
def test_a_step_is_legal_and_is_never_owed_twice(
    settlement: Settlement, head: int, now: int, finality: FinalityPolicy, authorized: bool
) -> None:
    """The table takes the step's fact; and once it is there, the same step is not asked again."""
    step = next_step(settlement, head=head, now=now, finality=finality, authorized=authorized)
    if step in (SettlementStep.WAIT, SettlementStep.NOTHING):
        return
    assert (settlement.state, ACT[step]) in TRANSITIONS
    after = apply(settlement, replace(FACTS[ACT[step]], block=MINED))
    again = next_step(after, head=head, now=now, finality=finality, authorized=authorized)
    assert step is not again


@given(settlements, heads, uint64, policies, st.booleans())
def test_money_is_refunded_only_before_the_swap(
    settlement: Settlement, head: int, now: int, finality: FinalityPolicy, authorized: bool
) -> None:
    """And then exactly when time ran out or the act cannot succeed; ended ones ask for nothing."""
    step = next_step(settlement, head=head, now=now, finality=finality, authorized=authorized)
    limits = {
        SettlementState.CREATED: settlement.fund_deadline,
        SettlementState.FUNDED: settlement.swap_deadline,
    }
    over = settlement.state in limits and now > limits[settlement.state]
    lost = settlement.failure is not None and settlement.state in REFUNDABLE
    assert (over or lost) == (step is SettlementStep.REFUND)
    ended = settlement.state in (*ENDS, SettlementState.EXECUTED)
    assert ended == (step is SettlementStep.NOTHING)


def asked(
    settlement: Settlement, now: int, head: int = 100, authorized: bool = True
) -> SettlementStep:
    """`next_step` under two confirmations."""
    return next_step(
        settlement, head=head, now=now, finality=FinalityPolicy(2), authorized=authorized
    )


@given(st.integers(1, 2**64))
def test_deadlines_to_the_second(deadline: int) -> None:
    """At the deadline one may still act, as the vault says; a second later it is a refund."""
    created = standing_at(SettlementState.CREATED, fund_deadline=deadline, swap_deadline=0)
    funded = standing_at(SettlementState.FUNDED, fund_deadline=0, swap_deadline=deadline)
    for settlement, step in ((created, SettlementStep.FUND), (funded, SettlementStep.SWAP)):
        assert [step, step, SettlementStep.REFUND] == [
            asked(settlement, now) for now in (deadline - 1, deadline, deadline + 1)
        ]


def test_without_authority_one_waits_for_the_deadline() -> None:
    """Nothing is pulled that nobody handed to us; the empty settlement is closed when it ends."""
    created = standing_at(SettlementState.CREATED, fund_deadline=1_000)
    assert SettlementStep.WAIT is asked(created, 1_000, authorized=False)
    assert SettlementStep.REFUND is asked(created, 1_001, authorized=False)
    assert SettlementStep.SWAP is asked(
        standing_at(SettlementState.FUNDED, swap_deadline=9), 1, authorized=False
    )


def test_finality_to_the_block() -> None:
    """Deadlines play no part any more, nor does a failure."""
    swapped = standing_at(SettlementState.SWAPPED, swap_deadline=0, failure=FAILURE)
    assert [SettlementStep.WAIT, SettlementStep.CONFIRM] == [
        asked(swapped, 10**9, head) for head in (101, 102)
    ]
    off_chain = replace(swapped, entered=tuple(replace(e, block=None) for e in swapped.entered))
    assert SettlementStep.WAIT is asked(off_chain, 0, 10**9), "without a block there is no depth"
    assert SettlementStep.EXECUTE is asked(
        standing_at(SettlementState.FINAL, failure=FAILURE), 10**9
    )


def failed(act: str, *, tx: str = "", transient: bool = True, code: str = "not_final") -> ev.Event:
    """An act refused: in simulation (no `tx`), or mined and reverted."""
    return ev.TransactionFailed(
        subject=ID,
        at_ms=1,
        source="facilitator",
        act=act,
        tx=tx,
        code=code,
        message=f"{act} failed.",
        transient=transient,
    )


def after(settlement: Settlement, told: Sequence[ev.Event]) -> Settlement:
    """`settlement` after these facts."""
    for fact in told:
        settlement = apply(settlement, fact)
    return settlement


@pytest.mark.parametrize(
    ("state", "act"), [(SettlementState.CREATED, "fund"), (SettlementState.FUNDED, "swap")]
)
@pytest.mark.parametrize("tx", ["", "0xfeed"], ids=["simulated", "mined"])
def test_a_lasting_failure_leads_to_a_refund_with_its_reason(
    state: SettlementState, act: str, tx: str
) -> None:
    """At once, and with the code as the reason on chain."""
    settlement = standing_at(state, fund_deadline=100, swap_deadline=100)
    settlement = apply(settlement, failed(act, tx=tx, transient=False, code="over_budget"))
    assert SettlementStep.REFUND is asked(settlement, 1)
    assert "over_budget" == refund_reason(settlement)


@given(st.lists(st.sampled_from(["swap", "fund", "create"]), max_size=30))
def test_what_may_pass_does_not_lead_to_a_refund(acts: list[str]) -> None:
    """However often the simulation says so: only the deadline ends that."""
    settlement = standing_at(SettlementState.FUNDED, swap_deadline=100)
    settlement = after(settlement, [failed(act) for act in acts])
    assert settlement.failure is None
    assert [SettlementStep.SWAP, SettlementStep.REFUND] == [
        asked(settlement, now) for now in (100, 101)
    ]
    assert "expired" == refund_reason(settlement)


@given(
    st.lists(st.sampled_from(["reverted", "refused", "other", "raced"]), max_size=12),
    st.integers(0, 4),
)
def test_an_act_is_tried_again_so_often_and_then_refunded(fates: list[str], retries: int) -> None:
    """Exactly 1 + `retries` mined reverts, the last one for a reason: simulated refusals do not
    count, nor does another act's revert; a race counts, and ends nothing."""
    settlement = standing_at(SettlementState.FUNDED, swap_deadline=100)
    fact = {
        "reverted": failed("swap", tx="0x01"),
        "refused": failed("swap"),
        "other": failed("create", tx="0x02"),
        "raced": failed("swap", tx="0x03", code="state_moved"),
    }
    over = False
    for fate in fates:
        settlement = apply(settlement, fact[fate])
        act = "create" if fate == "other" else "swap"
        over |= fate in ("reverted", "other") and settlement.reverted.count(act) > retries
        step = next_step(
            settlement,
            head=100,
            now=1,
            finality=FinalityPolicy(2),
            authorized=True,
            retries=retries,
        )
        assert (SettlementStep.REFUND if over else SettlementStep.SWAP) is step
        assert ("not_final" if over else "expired") == refund_reason(settlement, retries)
    mined = fates.count("reverted") + fates.count("raced")
    assert mined == settlement.reverted.count("swap")


def test_two_retries_unless_somebody_says_otherwise() -> None:
    settlement = standing_at(SettlementState.FUNDED, swap_deadline=100)
    steps = []
    for _ in range(1 + RETRIES):
        steps.append(asked(settlement, 1))
        settlement = apply(settlement, failed("swap", tx="0x01"))
    assert [SettlementStep.SWAP] * 3 == steps
    assert SettlementStep.REFUND is asked(settlement, 1)


def test_a_failure_is_about_one_state() -> None:
    """Whoever funded meanwhile: the next state starts with a clean sheet."""
    settlement = apply(standing_at(SettlementState.CREATED), failed("fund", transient=False))
    assert settlement.failure is not None
    assert apply(settlement, FACTS[ev.SettlementFunded]).failure is None
    reverted = after(standing_at(SettlementState.CREATED), [failed("fund", tx="0x01")] * 3)
    assert given_up(reverted) is not None
    assert given_up(apply(reverted, FACTS[ev.SettlementFunded]), 0) is None


@given(st.text(st.characters(codec="ascii"), max_size=80))
@example("x" * 31)
@example("x" * 32)
def test_a_reason_fits_one_word(code: str) -> None:
    """31 bytes of ASCII, as the vault keeps it."""
    reason = refund_reason(
        standing_at(SettlementState.FUNDED, failure=SettlementFailure("swap", code, ""))
    )
    assert code[:FACILITATOR_REASONS] == reason
    assert len(reason.encode("ascii")) < 32

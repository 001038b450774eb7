"""N confirmations mean head ≥ block + N, and the larger of setting and gate is N."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import uint64
from workbench.core.finality import FinalityPolicy

depths = st.integers(0, 10_000)


@given(depths, depths, uint64)
def test_the_larger_of_setting_and_gate_rules_to_the_block(
    confirmations: int, gate: int, block: int
) -> None:
    """Not one block earlier, and not one later."""
    policy, depth = FinalityPolicy(confirmations, gate), max(confirmations, gate)
    assert depth == policy.depth
    assert policy.reached(block, block + depth)
    assert not policy.reached(block, block + depth - 1)


@given(depths, uint64, uint64, uint64)
def test_what_is_final_stays_final(confirmations: int, block: int, head: int, more: int) -> None:
    """A longer chain takes no finality back."""
    policy = FinalityPolicy(confirmations)
    assert policy.reached(block, head) <= policy.reached(block, head + more)


def test_the_vault_demands_nothing_unless_asked() -> None:
    """A policy without a gate is the setting alone."""
    assert FinalityPolicy(3, 0) == FinalityPolicy(3)

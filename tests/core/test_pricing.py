"""Prices and budgets against exact fractions: rounded once, upwards, and never by a float."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import uint256
from workbench.core.errors import (
    BudgetTooSmall,
    InvalidAmount,
    InvalidSetting,
    OverCeiling,
    StaleRate,
)
from workbench.core.pricing import (
    MAX_SLIPPAGE_BPS,
    Price,
    check_budget,
    check_ceiling,
    eurc_at_rate,
    eurc_budget,
    parse_rate,
)

rates = st.integers(1, 10**12)
slippages = st.integers(0, MAX_SLIPPAGE_BPS)


def is_smallest_at_least(exact: Fraction, value: int) -> bool:
    """Whether `value` is the smallest integer that is not below `exact`."""
    return value - 1 < exact <= value


@given(uint256, st.integers(1, 10**40), st.integers(0, 36))
def test_the_price_is_the_smallest_integer_that_covers_it(
    amount: int, per_asset: int, decimals: int
) -> None:
    """The seller is never paid a fraction of a unit too little, nor the buyer charged a unit."""
    exact = Fraction(amount * per_asset, 10**decimals)
    assert is_smallest_at_least(exact, Price(per_asset, decimals).required_usdc(amount))


@given(uint256, rates, slippages)
@example(1, 3, 0)
@example(110_000_000, 110_000_000, 0)
def test_the_budget_is_the_smallest_integer_that_covers_it(
    required: int, rate: int, slippage: int
) -> None:
    """ceil(required / rate × (1 + slippage)), in fractions."""
    exact = required / Fraction(rate, 10**8) * (1 + Fraction(slippage, 10_000))
    assert is_smallest_at_least(exact, eurc_budget(required, rate, slippage))
    assert is_smallest_at_least(required / Fraction(rate, 10**8), eurc_at_rate(required, rate))


def test_the_house_example() -> None:
    """100 YPS at 1.10 are 110 USDC, and at 1.10 USDC per EURC these are 100 EURC, not 121."""
    assert 110_000_000 == Price.parse("1.10").required_usdc(100 * 10**18)
    assert 100_000_000 == eurc_budget(110_000_000, parse_rate("1.10"), 0)
    assert 101_000_000 == eurc_budget(110_000_000, parse_rate("1.10"), 100)


def test_one_base_unit_of_the_asset_costs_one_base_unit() -> None:
    """Dust is not free."""
    assert 1 == Price.parse("1.10").required_usdc(1)
    assert 0 == Price.parse("1.10").required_usdc(0)


@given(uint256, uint256, rates, rates, slippages, slippages)
def test_the_budget_is_monotone(
    required: int, more: int, rate: int, better: int, slippage: int, wider: int
) -> None:
    """It grows with what is required and with slippage, and shrinks as the euro buys more."""
    budget = eurc_budget(required, rate, slippage)
    assert budget <= eurc_budget(required + more, rate, slippage)
    assert budget >= eurc_budget(required, rate + better, slippage)
    assert eurc_budget(required, rate, min(slippage, wider)) <= budget


@given(uint256, rates, slippages)
def test_a_budget_of_ours_is_never_too_small_and_one_less_than_the_least_always(
    required: int, rate: int, slippage: int
) -> None:
    """The seller's check accepts every budget that the buyer's rule makes."""
    check_budget(eurc_budget(required, rate, slippage), required, rate)
    least = eurc_at_rate(required, rate)
    check_budget(least, required, rate)
    with pytest.raises(BudgetTooSmall) as refused:
        check_budget(least - 1, required, rate)
    assert {"max_eurc": least - 1, "least_eurc": least} == refused.value.details


@pytest.mark.parametrize("slippage", [-1, MAX_SLIPPAGE_BPS + 1])
def test_slippage_out_of_bounds_is_refused(slippage: int) -> None:
    """With the name of the setting."""
    with pytest.raises(InvalidSetting, match="SLIPPAGE_BPS"):
        eurc_budget(1, 10**8, slippage)
    assert eurc_budget(10_000, 10**8, MAX_SLIPPAGE_BPS) == 15_000


def test_without_a_rate_there_is_no_budget() -> None:
    """A hook whose rate was never set says 0: a named error, not a division by zero."""
    with pytest.raises(StaleRate, match="no EUR/USD reference rate"):
        eurc_budget(1, 0, 0)
    with pytest.raises(StaleRate, match="no EUR/USD reference rate"):
        eurc_at_rate(1, 0)
    with pytest.raises(StaleRate, match="no EUR/USD reference rate"):
        check_budget(1, 1, 0)


@given(uint256, uint256)
def test_the_ceiling_is_the_last_budget_allowed(budget: int, ceiling: int) -> None:
    """At the ceiling one may buy, above it not, and without one always."""
    check_ceiling(budget, None)
    check_ceiling(ceiling, ceiling)
    if budget <= ceiling:
        check_ceiling(budget, ceiling)
        return
    with pytest.raises(OverCeiling, match="MAX_EURC_PER_PURCHASE") as refused:
        check_ceiling(budget, ceiling)
    assert {"budget_eurc": budget, "ceiling_eurc": ceiling} == refused.value.details


@pytest.mark.parametrize("text", ["0", "0.000", " 0 "])
def test_a_price_or_rate_of_zero_is_refused(text: str) -> None:
    """With the name of the setting to change."""
    with pytest.raises(InvalidSetting, match="PRICE_PER_UNIT_USDC"):
        Price.parse(text)
    with pytest.raises(InvalidSetting, match="EUR_USD_RATE"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["1.1234567", "-1", "one", ""])
def test_a_price_is_a_decimal_number_of_at_most_six_places(text: str) -> None:
    """USDC has six."""
    with pytest.raises(InvalidAmount):
        Price.parse(text)


def test_a_rate_has_eight_places() -> None:
    """Scaled by 1e8, as the hook keeps it."""
    assert 110_000_000 == parse_rate(" 1.10 ")
    assert 1 == parse_rate("0.00000001")
    with pytest.raises(InvalidAmount):
        parse_rate("0.000000001")

"""The price of a purchase: the quote in USDC and the budget in EURC. Integers only."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.errors import BudgetTooSmall, InvalidSetting, OverCeiling, StaleRate
from workbench.core.money import EURC, USDC, Amount, mul_div_up, parse_decimal

RATE_SCALE = 10**8
BPS = 10_000
MAX_SLIPPAGE_BPS = 5_000
DEFAULT_CEILING_EURC = 1_000 * 10**6
"""Default ceiling of one purchase in EURC base units."""


@dataclass(frozen=True, slots=True)
class Price:
    """USDC base units for one whole asset (10^decimals base units)."""

    usdc_per_asset: int
    asset_decimals: int = 18

    @classmethod
    def parse(cls, text: str, asset_decimals: int = 18) -> Price:
        """Return the price from a text: `"1.10"` is 1_100_000 USDC units for one asset. Raises
        InvalidSetting."""
        units = parse_decimal(text.strip(), USDC.decimals)
        if units == 0:
            raise InvalidSetting("the price is 0", hint="Set PRICE_PER_UNIT_USDC above 0.")
        return cls(units, asset_decimals)

    def required_usdc(self, asset_amount: int) -> int:
        """Return the USDC base units for `asset_amount`, rounded up."""
        return mul_div_up(asset_amount, self.usdc_per_asset, 10**self.asset_decimals)


def parse_rate(text: str) -> int:
    """Return USDC per EURC, scaled by 1e8: `"1.10"` is 110_000_000. Raises InvalidSetting on 0."""
    rate = parse_decimal(text.strip(), 8)
    if rate == 0:
        raise InvalidSetting("the EUR/USD rate is 0", hint="Set EUR_USD_RATE, such as 1.10.")
    return rate


def eurc_at_rate(required_usdc: int, rate_e8: int) -> int:
    """Return the EURC base units that buy `required_usdc` at the reference rate, rounded up."""
    return mul_div_up(required_usdc, RATE_SCALE, _positive(rate_e8))


def eurc_budget(required_usdc: int, rate_e8: int, slippage_bps: int) -> int:
    """Return ceil(required / rate × (1 + slippage)), rounded once, upwards.

    USDC per EURC divides: 110 USDC at 1.10 are 100 EURC. (The example of the seed multiplies.)
    """
    if not 0 <= slippage_bps <= MAX_SLIPPAGE_BPS:
        raise InvalidSetting(
            f"slippage of {slippage_bps} basis points is out of bounds",
            hint=f"Set SLIPPAGE_BPS between 0 and {MAX_SLIPPAGE_BPS}.",
        )
    return mul_div_up(required_usdc, RATE_SCALE * (BPS + slippage_bps), _positive(rate_e8) * BPS)


def _positive(rate_e8: int) -> int:
    """Return the rate. Raises InvalidSetting unless it is positive."""
    if rate_e8 <= 0:  # The rate of a hook that was never set.
        raise StaleRate(
            "there is no EUR/USD reference rate.",
            hint="Let the keeper set one, or set EUR_USD_RATE.",
        )
    return rate_e8


def check_ceiling(budget: int, ceiling: int | None) -> None:
    """Raise OverCeiling if the budget is above the user's limit (None: no limit)."""
    if ceiling is not None and budget > ceiling:
        raise OverCeiling(
            f"the price is too high: it may cost {Amount(budget, EURC)}, above your ceiling of "
            f"{Amount(ceiling, EURC)}.",
            hint="Buy less, or raise MAX_EURC_PER_PURCHASE if the price is right.",
            budget_eurc=budget,
            ceiling_eurc=ceiling,
        )


def check_budget(max_eurc: int, required_usdc: int, rate_e8: int) -> None:
    """Raise BudgetTooSmall if the budget does not suffice at the reference rate without a fee."""
    least = eurc_at_rate(required_usdc, rate_e8)
    if max_eurc < least:
        raise BudgetTooSmall(
            f"the budget of {Amount(max_eurc, EURC)} cannot buy {Amount(required_usdc, USDC)}: "
            f"at the reference rate it takes at least {Amount(least, EURC)}.",
            hint="Raise max_eurc (required / rate × (1 + slippage)) and sign again.",
            max_eurc=max_eurc,
            least_eurc=least,
        )

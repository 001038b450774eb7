"""Sources of EUR/USD for the parties, and of the seller's price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from workbench.core.money import mul_div_up
from workbench.core.ports import SettlementContracts
from workbench.core.pricing import Price


class RateSource(Protocol):
    """A party's own view of USDC per EURC, times 10**8."""

    async def usdc_per_eurc_e8(self) -> int: ...


@dataclass(frozen=True, slots=True)
class FixedRate:
    """A rate from the settings."""

    rate_e8: int

    async def usdc_per_eurc_e8(self) -> int:
        return self.rate_e8


@dataclass(frozen=True, slots=True)
class HookRate:
    """The reference rate of the hook, which also limits the pool."""

    chain: SettlementContracts

    async def usdc_per_eurc_e8(self) -> int:
        return (await self.chain.rate()).usdc_per_eurc_e8


class PriceSource(Protocol):
    """The present price of one whole asset."""

    async def price(self) -> Price: ...


@dataclass(frozen=True, slots=True)
class FixedPrice:
    """A price from the settings."""

    fixed: Price

    async def price(self) -> Price:
        return self.fixed


@dataclass(frozen=True, slots=True)
class EuroPrice:
    """A constant price in EUR: `start` at the rate `start_e8`; its USDC follow the rate."""

    start: Price
    start_e8: int
    rates: RateSource

    async def price(self) -> Price:
        rate = await self.rates.usdc_per_eurc_e8()
        usdc = mul_div_up(self.start.usdc_per_asset, rate, self.start_e8)
        return replace(self.start, usdc_per_asset=usdc)

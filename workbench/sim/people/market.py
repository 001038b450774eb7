"""EUR/USD outside the pool, as the scenario describes it. Integers only: equal on every machine."""

from __future__ import annotations

from math import isqrt
from random import Random

from workbench.scenario import RatePath

YEAR_S, DAY_S = 365 * 86_400, 86_400
BPS = 10_000
ONE = 10**12
"""The fixed point of returns: 10**12 is one."""
LEAST_E8, MOST_E8 = 10**7, 10**9
"""Bounds of the rate: 0.1 to 10 USD for one euro, as the hook accepts."""


class SimMarket:
    """The rate over time, step by step. `rate_e8`: USDC for one EURC, times 10**8."""

    def __init__(self, path: RatePath, step_s: int, chance: Random) -> None:
        self._path, self._step_s, self._chance = path, step_s, chance
        self._elapsed_s = 0
        self.rate_e8 = path.points[0][1] if path.points else path.start_e8

    def step(self) -> int:
        """Advance one step. Return the new rate."""
        self._elapsed_s += self._step_s
        path = self._path
        if path.model == "csv":
            self.rate_e8 = max(p for p in path.points if p[0] <= self._elapsed_s)[1]
        elif path.model != "constant":
            moved = self.rate_e8 * (ONE + self._return()) // ONE
            self.rate_e8 = min(max(moved, LEAST_E8), MOST_E8)
        return self.rate_e8

    def _return(self) -> int:
        """Return the relative change of one step, in units of 1 / ONE."""
        path, step = self._path, self._step_s
        change = ONE * path.drift_bps_per_day * step // (BPS * DAY_S)
        if path.model in ("gbm", "jumps"):
            deviation = isqrt((ONE * path.volatility_bps_per_year // BPS) ** 2 * step // YEAR_S)
            change += deviation * normal(self._chance) // ONE
        if path.model == "jumps" and self._chance.randrange(path.jump_every_s) < step:
            change += self._chance.choice((-1, 1)) * ONE * path.jump_bps // BPS
        return change


def normal(chance: Random) -> int:
    """Return a standard normal number times ONE: the sum of twelve uniform ones (Irwin-Hall).

    A library's Gaussian uses logarithm and cosine, whose last digit differs between machines.
    """
    return sum(chance.randrange(ONE) for _ in range(12)) - 6 * ONE


class MarketRate:
    """The market as parties see it: the rate of the last step. A `RateSource`."""

    def __init__(self, path: SimMarket) -> None:
        self.path = path

    async def usdc_per_eurc_e8(self) -> int:
        return self.path.rate_e8

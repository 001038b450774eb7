"""The path of EUR/USD: what was ordered, in integers, the same for the same seed."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.scenario import RatePath
from workbench.sim.people.market import LEAST_E8, MOST_E8, ONE, YEAR_S, SimMarket, normal
from workbench.sim.rng import SeededStreams

START = 110_000_000


def walk(path: RatePath, steps: int, step_s: int = 10, seed: int = 1) -> list[int]:
    rate = SimMarket(path, step_s, SeededStreams(seed).stream("market"))
    return [rate.step() for _ in range(steps)]


def test_a_constant_rate_stays() -> None:
    assert {START} == set(walk(RatePath(), 100))


def test_drift_is_so_much_a_day() -> None:
    """100 bps a day, in steps of a minute: 1.10 becomes 1.111, up to what compounding adds."""
    end = walk(RatePath(model="drift", drift_bps_per_day=100), 24 * 60, step_s=60)[-1]
    assert 111_100_000 <= end <= 111_106_000


@given(st.integers(0, 2**32), st.integers(1, 20_000), st.integers(1, 86_400))
def test_any_path_stays_within_bounds(seed: int, volatility: int, step_s: int) -> None:
    path = RatePath(model="gbm", volatility_bps_per_year=volatility, drift_bps_per_day=-300)
    rates = walk(path, 50, step_s, seed)
    assert all(LEAST_E8 <= rate <= MOST_E8 for rate in rates)
    assert rates == walk(path, 50, step_s, seed)


def test_volatility_is_what_was_ordered() -> None:
    """The deviation of yearly log returns over many steps, within 5 %."""
    path = RatePath(model="gbm", volatility_bps_per_year=1_000)
    rates = [START, *walk(path, 20_000, step_s=3_600)]
    returns = [b / a - 1 for a, b in pairwise(rates)]
    yearly = (sum(r * r for r in returns) / len(returns) * YEAR_S / 3_600) ** 0.5
    assert yearly == pytest.approx(0.1, rel=0.05)


def test_jumps_come_as_often_as_ordered() -> None:
    path = RatePath(model="jumps", jump_every_s=600, jump_bps=50)
    rates = [START, *walk(path, 6_000, step_s=10)]
    jumps = [b * 10_000 // a for a, b in pairwise(rates) if a != b]
    assert 70 <= len(jumps) <= 130, "100 were expected"
    assert {9_949, 9_950, 10_049, 10_050} >= set(jumps)


def test_a_csv_is_followed_point_by_point() -> None:
    path = RatePath(model="csv", points=((0, START), (15, 111_000_000), (30, 109_000_000)))
    assert [START, 111_000_000, 109_000_000, 109_000_000] == walk(path, 4)


def test_the_same_seed_gives_these_very_numbers() -> None:
    """Computed once; no library's logarithm or cosine takes part, so any machine agrees."""
    path = RatePath(model="gbm", volatility_bps_per_year=5_000)
    assert [110007830, 109970710, 110024584] == walk(path, 3, 60, seed=7)


def test_thenormal_numbers_are_standard() -> None:
    numbers = [normal(Random(7 + n)) / ONE for n in range(2_000)]
    assert sum(numbers) / len(numbers) == pytest.approx(0, abs=0.1)
    assert sum(n * n for n in numbers) / len(numbers) == pytest.approx(1, rel=0.1)

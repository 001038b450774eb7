"""Who comes when, and for how much."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from workbench.scenario import KINDS, Arrivals, BuyerGroup, PurchaseSize
from workbench.sim.people import buyers
from workbench.sim.people.buyers import arrivals, buyer_plans, size

UNIT = 10**18


def test_every_kind_that_a_file_may_name_is_played() -> None:
    assert set(KINDS) == set(buyers.KINDS)


def test_arrivals_as_ordered() -> None:
    assert [0, 250, 500] == arrivals(Arrivals(model="even", every_ms=250), 3, Random(1))
    assert [0, 0, 0] == arrivals(Arrivals(model="burst"), 3, Random(1))
    times = arrivals(Arrivals(model="poisson", every_ms=1_000), 2_000, Random(1))
    assert times == sorted(times)
    assert 1_800_000 < times[-1] < 2_200_000


@given(st.integers(0, 2**32), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 20_000))
def test_sizes_stay_within_what_was_ordered(seed: int, a: int, b: int, sigma_bps: int) -> None:
    low, high = sorted((a * UNIT, b * UNIT))
    chance = Random(seed)
    for model in ("uniform", "lognormal"):
        units = size(
            PurchaseSize(model=model, low_units=low, high_units=high, sigma_bps=sigma_bps), chance
        )
        assert low <= units <= high
    assert low == size(PurchaseSize(low_units=low, high_units=high), chance)


def test_a_group_starts_when_it_should() -> None:
    group = BuyerGroup(count=2, start_s=60, arrivals=Arrivals(every_ms=1_000))
    came = buyer_plans(4, group, Random(1))
    assert [("buyer-4-0", 60_000), ("buyer-4-1", 61_000)] == [(v.name, v.at_ms) for v in came]

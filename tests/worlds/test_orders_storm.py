"""Random orders at random moments: nothing breaks, all ends, and a replay finds the same."""

from __future__ import annotations

import random

import pytest

from tests.sim.scenarios import paying
from workbench import Experiment, Order, Run
from workbench.scenario import FAULT_SITES, Scenario

ORDERS = 12


def random_orders(seed: int) -> list[Order]:
    """Any site, any parameter within its usual range, at any moment of the two minutes."""
    chance = random.Random(seed)
    orders = []
    for _ in range(ORDERS):
        site = chance.choice(sorted(FAULT_SITES))
        known = FAULT_SITES[site]
        parameter = chance.randint(known.low, known.high) if known.unit else None
        at_s = chance.randrange(0, 110_000) / 1000
        orders.append(Order(site, parameter, at_s, passes=chance.choice((1, 1, 2, 5))))
    return orders


def played(scenario: Scenario, orders: list[Order]) -> Run:
    experiment = Experiment(scenario, orders=orders)
    run = experiment.run()
    assert experiment.failure is None, experiment.failure
    return run


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_orders_breaks_no_invariant_and_is_repeated(seed: int) -> None:
    _storm(seed)


@pytest.mark.check
@pytest.mark.parametrize("seed", range(4, 40))
def test_many_storms_of_orders(seed: int) -> None:
    _storm(seed)


def _storm(seed: int) -> None:
    scenario, orders = paying(), random_orders(seed)
    print(f"seed {seed}: {orders}")  # noqa: T201 - for a failure
    run = played(scenario, orders)
    assert run.finished
    assert {} == run.invariants_broken
    assert not {"open", "not_come"} & set(run.outcomes)
    assert len(orders) == len(run.orders)
    assert run.trace_hash == run.again().trace_hash

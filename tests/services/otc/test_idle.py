"""Worlds that nobody uses for a while stay healthy: the keeper refreshes the reference rate."""

from __future__ import annotations

import pytest

from workbench import World
from workbench.core.facts import TransactionMined

HOUR = 3600
LIFETIME = 86_400


def refreshes(world: World) -> int:
    """How often the keeper has set the rate."""
    mined = [e for e in world.run.events if isinstance(e, TransactionMined)]
    return len([e for e in mined if e.act == "set_rate"])


def test_the_keeper_refreshes_at_half_the_lifetime(world: World) -> None:
    """Not before, and once."""
    world.skip(LIFETIME // 2 - HOUR)
    world.advance(3)
    assert 0 == refreshes(world)
    world.skip(HOUR + 1)
    world.advance(3)
    assert 1 == refreshes(world)
    rate = world.do(world.chain.rate())
    assert rate.set_at > world.now - 10


@pytest.mark.parametrize("hours", [1, 13, 30, 24 * 40])
def test_after_hours_of_idleness_a_purchase_still_works(world: World, hours: int) -> None:
    """Even when the rate went stale while nobody was at work."""
    world.skip(hours * HOUR)
    world.advance(3)
    assert "executed" == world.buy("100").status


def test_a_settlement_in_flight_survives_a_sleeping_machine(world: World) -> None:
    """Everybody sleeps through the deadlines: the settlement ends, and nobody loses anything."""
    before = world.balances()
    identity = world.do(_pay(world))
    world.skip(2 * HOUR)
    world.advance(8)
    view = world.get(f"http://seller/settlement/{identity}").data()
    assert ("refunded", "expired", True) == (view["status"], view["reason"], view["final"])
    assert before == world.balances()


async def _pay(world: World) -> str:
    payment, _ = await world.buyer.authorize("http://seller", 10**18)
    return str((await world.buyer.pay("http://seller", payment))["settlement_id"])

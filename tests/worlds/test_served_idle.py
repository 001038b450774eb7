"""A served world that nobody uses for hours stays healthy.

Agreement 6: a keeper refreshes the reference rate at half its lifetime; after an idle hour a
purchase still works. Here under the wall clock, over HTTP, on a node whose clock is put forward.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from workbench.core.facts import TransactionMined
from workbench.core.ports import ReferenceRate, Request
from workbench.core.purchase import Purchase
from workbench.evm.node.anvil import DEFAULT_CHAIN_ID
from workbench.settings import Settings
from workbench.worlds.local import LocalWorld, boot_served

HOUR = 3600
HALF_A_LIFE, A_LIFE = 12, 24
"""Of the rate, in hours."""


async def jump(world: LocalWorld, hours: int) -> int:
    """Nothing happens for hours, as far as the chain can tell; its time, in Unix seconds."""
    chain = world.wiring.chain("test")
    await chain.rpc.call("evm_increaseTime", hex(hours * HOUR))
    await chain.rpc.call("evm_mine")
    return (await chain.head()).timestamp


async def refreshed(world: LocalWorld, since: int) -> ReferenceRate:
    """The rate, once the keeper has set it anew: within 20 seconds."""
    chain = world.wiring.chain("test")
    for _ in range(200):
        rate = await chain.rate()
        if rate.set_at >= since:
            return rate
        await world.wiring.clock("test").sleep(0.1)
    raise AssertionError(f"the rate is of {rate.set_at}, the time was {since}")


async def buy(world: LocalWorld) -> Purchase:
    return await world.wiring.buyer().buy(world.servers["seller"].url, 100 * 10**18)


async def healthy(world: LocalWorld) -> bool:
    """What the facilitator says of itself, over HTTP."""
    url = f"{world.servers['facilitator'].url}/health"
    health = (await world.wiring.http("test").send(Request("GET", url))).data()
    return health["status"] == "ok" and not health["rate_stale"] and not world.alarms()


async def idle_hours(folder: Path) -> None:
    """A little more than half the rate's life, then a little more than all of it."""
    node, deployment = boot_served(DEFAULT_CHAIN_ID, lambda _: None)
    try:
        settings = Settings.load({}, folder, world={})
        async with LocalWorld(node, deployment, folder, settings, auto_ports=True) as world:
            now = await jump(world, HALF_A_LIFE + 1)
            rate = await refreshed(world, now)
            assert await healthy(world)
            # At once after the jump: the rate is too old to swap by, until the keeper has been.
            now = await jump(world, A_LIFE + 6)
            assert rate.stale(now)
            assert "executed" == (await buy(world)).status
            assert now <= (await refreshed(world, now)).set_at
            assert await healthy(world)
            async with world.stores["facilitator"].unit() as unit:
                facts = [fact for _, fact in await unit.facts()]
            acts = [f.act for f in facts if isinstance(f, TransactionMined) and f.ok]
            assert 2 == acts.count("set_rate")
    finally:
        node.stop()


@pytest.mark.slow
def test_after_idle_hours_a_purchase_over_http_is_executed(tmp_path: Path) -> None:
    """The keeper has refreshed the rate once for each jump, and services are in good health."""
    asyncio.run(idle_hours(tmp_path))

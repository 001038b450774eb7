"""Seller, facilitator and tracker on a node whose answers are changed for a while.

No service ends, no settlement is done twice or lost, and everything is right once the node is.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.evm.faulty import FaultyRpc
from workbench import World
from workbench.core.errors import WorkbenchError
from workbench.core.pricing import Price
from workbench.evm.node.boot import boot
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import Rpc
from workbench.worlds.factories import LOCAL_FINALITY, addresses_of, local_keys
from workbench.worlds.rules import WorldRules

SERVICES = ("seller", "facilitator", "tracker")
SEEDS = [1, pytest.param(range(2, 8), marks=pytest.mark.check)]
RATE = 0.1
WANTED = 3


class OddWorld(World):
    """Its services reach the node over lines whose answers are changed while `rate` says so."""

    odd: dict[str, FaultyRpc]

    def _rpc(self, name: str) -> Rpc:
        if name not in SERVICES:
            return super()._rpc(name)
        self.__dict__.setdefault("odd", {})
        if name not in self.odd:
            chance = random.Random(f"{self.seed} {name}")
            self.odd[name] = FaultyRpc(BlockingRpc(self.node.url), chance)
        return self.odd[name]

    def lie(self, rate: float) -> None:
        for line in self.odd.values():
            line.rate_changed = rate


def odd_world(seed: int) -> OddWorld:
    node, where = boot()
    rules = WorldRules(price=Price.parse("1.10"), finality=LOCAL_FINALITY, poll_s=1.0)
    return OddWorld(node, where, addresses_of(where.addresses), local_keys(), rules, seed)


def tried(work: Any) -> bool:
    """Whether it was done. An error must be one of ours: nothing else may come of any answer."""
    try:
        work()
    except WorkbenchError:
        return False
    return True


@pytest.mark.parametrize("given", SEEDS)
def test_settlements_among_changed_answers(given: Any) -> None:
    for seed in list(given) if isinstance(given, range) else [given]:
        with odd_world(seed) as world:
            world.lie(RATE)
            for _ in range(WANTED):
                tried(lambda: world.buy("1"))
                tried(lambda: world.advance(3))
            assert sum(line.changed.total() for line in world.odd.values()) > 20
            world.lie(0.0)
            for _ in range(4):
                world.advance(20)
            done = world.buy("1")
            assert done.settlements().status.tolist()[-1:] == ["executed"]
            world.advance(10)
            for service in (world.seller, world.facilitator):
                assert service.book.open() == [], service.name
            world.audit()

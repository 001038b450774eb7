"""A service's line to the node: calm, it passes many calls on together; with faults, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from workbench.core.errors import RpcUnreachable
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.rpc.client import Rpc
from workbench.scenario import Fault
from workbench.sim.faults.rpc import FaultyRpc, Mempool
from workbench.sim.faults.sites import Crashed, Faults
from workbench.sim.rng import SeededStreams
from workbench.sim.time.loop import VirtualClock, VirtualLoop


class Node(Rpc):
    """Answers with what it was asked, and counts."""

    url = "http://node"

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def call(self, method: str, *params: Any) -> Any:
        self.asked.append(1)
        return [method, *params]

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        self.asked.append(len(calls))
        return [list(each) for each in calls]

    async def close(self) -> None:
        """Nothing is open."""


def line(node: Node, *ordered: Fault, latency_ms: int = 0) -> tuple[FaultyRpc, Faults]:
    streams, clock = SeededStreams(1), VirtualClock(VirtualLoop(), 0)
    faults = Faults(ordered, streams, clock.now_ms, lambda _: None)
    mempool = Mempool(node, faults, streams.stream("mempool"))
    chance = streams.stream("rpc")
    return FaultyRpc(node, "test", clock, faults, mempool, chance, latency_ms=latency_ms), faults


CALLS: list[RpcCall] = [("eth_chainId",), ("eth_sendRawTransaction", "0x02"), ("eth_blockNumber",)]
SURE = {"chance_ppm": 1_000_000, "stop_s": 60}


def test_a_calm_line_passes_calls_on_together() -> None:
    node = Node()
    calm, faults = line(node, Fault(site="http.lost", **SURE))
    faults.begin()
    assert [list(each) for each in CALLS] == asyncio.run(calm.many(CALLS))
    assert [3] == node.asked
    calm.dead = True
    for asking in (calm.many(CALLS), calm.simulate_all([{}]), calm.call("eth_chainId")):
        with pytest.raises(Crashed):
            asyncio.run(asking)


def test_who_dies_while_the_node_works_gets_no_answer() -> None:
    """However it was asked: what others of the same service wait for ends with it."""

    class Slow(Node):
        async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
            calm.dead = True
            return await super().many(calls)

        async def call(self, method: str, *params: Any) -> Any:
            return await self.many([(method, *params)])

    calm, _ = line(Slow())
    for ask in (
        lambda: calm.many(CALLS),
        lambda: calm.simulate_all([{}]),
        lambda: calm.call("eth_chainId"),
        lambda: calm.ask(CALLS),
        lambda: calm.start_simulation([{}]),
    ):
        calm.dead = False

        async def work(asked: Any) -> Any:
            return await asked()

        with pytest.raises(Crashed):
            asyncio.run(work(ask))


def test_faults_hit_each_call_between_their_begin_and_end() -> None:
    node = Node()
    shaky, faults = line(node, Fault(site="rpc.error", **SURE))
    for begin_or_end, struck in ((None, False), (faults.begin, True), (faults.end, False)):
        if begin_or_end:
            begin_or_end()
        answers = asyncio.run(shaky.many(CALLS))
        assert [struck] * 3 == [isinstance(answer, RpcUnreachable) for answer in answers]

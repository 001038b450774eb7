"""A node that limits requests: payouts are made all the same, and soon."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.evm.gateway import Gateway
from workbench.core.payout import PayoutState
from workbench.evm.node.boot import boot
from workbench.evm.rpc.client import HttpRpc
from workbench.services.payouts.input import PayoutInput
from workbench.settings import Settings
from workbench.worlds.factories import LOCAL_FINALITY, addresses_of, local_keys
from workbench.worlds.served import Served, ServedChain

COUNT = 3
PATIENCE_S = 60.0
"""Without back-off, half of all requests refused were too many for three payouts."""


@pytest.mark.parametrize("share", [0.25, pytest.param(0.5, marks=pytest.mark.check)])
def test_all_are_paid_where_many_requests_are_refused(tmp_path: Path, share: float) -> None:
    """By 429, as providers do; sends too. Nobody is paid twice."""
    chance = random.Random(1)

    def decide(request: dict[str, Any], node: Any) -> Any:
        return (429, {}, b"Too Many Requests") if chance.random() < share else None

    node, where = boot()
    with node, Gateway(node.url, decide) as limited:
        place = ServedChain(
            rpc_url=limited.url,
            chain_id=where.chain_id,
            addresses=addresses_of(where.addresses),
            start_block=where.deploy_block - 1,
            keys=local_keys(),
            finality=LOCAL_FINALITY,
        )
        asyncio.run(pay(place, node.url, tmp_path))
        for number in range(COUNT):
            assert 0 < int(node.call("eth_getBalance", payee(number), "latest"), 16)
        paid = {int(node.call("eth_getBalance", payee(n), "latest"), 16) for n in range(COUNT)}
        assert 1 == len(paid), "each got the same, once"


def payee(number: int) -> str:
    return f"0x{number + 0xFEED00:040x}"


async def pay(place: ServedChain, node_url: str, folder: Path) -> None:
    """Until all are paid. Blocks come by themselves, five in a second."""
    settings = Settings.load(environ={"POLL_INTERVAL_MS": "50"}, folder=folder, world={})
    served = Served(place, folder, settings, names=("payouts",), auto_ports=True)
    served.wiring = served.wire()
    payouts, rpc = served.wiring.payouts().payouts, HttpRpc(node_url)
    running = [asyncio.ensure_future(mine(rpc)), asyncio.ensure_future(payouts.run())]
    try:
        await payouts.earn(PayoutInput("u", 1_000, "credits"))
        for number in range(COUNT):
            await payouts.request(PayoutInput("u", 1, f"key-{number}", payee(number)))
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            async with payouts.store.unit() as unit:
                if len(await unit.payouts(PayoutState.PAID)) == COUNT:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("not all were paid")
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await rpc.close()
        await served.close()


async def mine(rpc: HttpRpc) -> None:
    while True:
        await rpc.call("evm_mine")
        await asyncio.sleep(0.2)

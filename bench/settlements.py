"""Full settlements per second through the services, against the node's own rate.

The services settle N purchases over real HTTP, HTTP 402 to executed, while every block's raw
transactions are recorded. A fresh node, started from the same state, is then given the very same
bytes, block by block; its final block hash must be equal, or the benchmark is void. So one run
proves the rate, the replay and the determinism of the chain (bench/README.md).

    python -m bench.settlements [--settlements 100] [--buyers 16] [--rounds 3] [--json]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.common import Round, arguments, ending, measured, report
from workbench.evm.deploy.plan import Deployment
from workbench.evm.node.anvil import Anvil
from workbench.evm.node.boot import boot
from workbench.evm.node.replay import recorded
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import HttpRpc
from workbench.settings import Settings
from workbench.worlds.factories import LOCAL_FINALITY, addresses_of, local_keys
from workbench.worlds.served import Served, ServedChain

BLOCK_PAUSE_S = 0.05
BUYER_POLL_S = 0.25


async def miner(rpc: HttpRpc, stop: asyncio.Event) -> None:
    """A block whenever there is something to mine, a second of chain time apart."""
    head = await rpc.call("eth_getBlockByNumber", "latest", False)
    timestamp = int(head["timestamp"], 16)
    while not stop.is_set():
        timestamp += 1
        await rpc.call("evm_mine", {"timestamp": timestamp})
        await asyncio.sleep(BLOCK_PAUSE_S)


async def services_round(
    node: Anvil, where: Deployment, count: int, buyers: int, data: Path
) -> float:
    """Seconds for `count` purchases, `buyers` of them at a time."""
    place = ServedChain(
        rpc_url=node.url,
        chain_id=where.chain_id,
        addresses=addresses_of(where.addresses),
        start_block=where.deploy_block - 1,
        keys=local_keys(),
        finality=LOCAL_FINALITY,
    )
    environ = {"POLL_INTERVAL_MS": "20", "MAX_OPEN_PER_BUYER": "none"}
    settings = Settings.load(environ=environ, folder=data, world={})
    served = Served(place, data, settings, names=("seller", "facilitator"), auto_ports=True)
    stop, rpc = asyncio.Event(), HttpRpc(node.url)
    async with served:
        mining = asyncio.ensure_future(miner(rpc, stop))
        left = iter(range(count))

        async def buyer() -> None:
            mine = served.wiring.buyer()
            mine._rules = replace(mine._rules, poll_s=BUYER_POLL_S)
            for _ in left:
                purchase = await mine.buy(served.url("seller"), 10**18)
                assert purchase.status == "executed", purchase

        start = time.perf_counter()
        await asyncio.gather(*(buyer() for _ in range(buyers)))
        seconds = time.perf_counter() - start
        stop.set()
        await mining
        await rpc.close()
    return seconds


def measure(count: int, buyers: int) -> Round:
    """One round: services, then the same bytes on a fresh node. Raises when the hashes differ."""
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        node, where = boot()
        with node:
            rpc = BlockingRpc(node.url)
            first = int(rpc.now("eth_blockNumber"), 16) + 1
            seconds = asyncio.run(services_round(node, where, count, buyers, Path(folder)))
            blocks, ended = recorded(rpc, first), ending(rpc)
    return measured(blocks, ended, 0, count, seconds)


def main() -> int:
    """Print both sides and their ratio; 1 if the benchmark is void."""
    parser = arguments(__doc__, 100)
    parser.add_argument("--buyers", type=int, default=16)
    asked = parser.parse_args()
    return report(asked, lambda: measure(asked.settlements, asked.buyers), buyers=asked.buyers)


if __name__ == "__main__":
    sys.exit(main())

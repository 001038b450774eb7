"""Full settlements per second through the services, against the node's own rate.

The services settle N purchases over real HTTP, HTTP 402 to executed, while every block's raw
transactions are recorded. A fresh node, started from the same state, is then given the very same
bytes, block by block; its final block hash must be equal, or the benchmark is void. So one run
proves the rate, the replay and the determinism of the chain (DESIGN, agreement 11).

    python -m bench.settlements [--settlements 100] [--buyers 16] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.app import LOCAL_FINALITY, addresses_of, local_keys
from workbench.chain.anvil import Anvil
from workbench.chain.boot import boot
from workbench.chain.deploy import Deployment
from workbench.chain.rpc import DirectRpc, HttpRpc
from workbench.core.errors import WorkbenchError
from workbench.served import Place, Served
from workbench.settings import Settings

FLOOR_TX_PER_S = 1_000
"""Below this rate of pre-signed ERC-20 mints the machine is too busy to measure anything."""
BLOCK_PAUSE_S = 0.05
BUYER_POLL_S = 0.25


@dataclass(frozen=True)
class Block:
    """What is needed to make a block again."""

    timestamp: int
    raws: tuple[str, ...]


@dataclass(frozen=True)
class Round:
    """One measurement of both sides. Rates in settlements per second."""

    services_per_s: float
    node_per_s: float
    blocks: int
    per_block: float
    block_hash: str

    @property
    def ratio(self) -> float:
        return self.services_per_s / self.node_per_s


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
    place = Place(
        rpc_url=node.url,
        chain_id=where.chain_id,
        addresses=addresses_of(where.addresses),
        start_block=where.deploy_block - 1,
        keys=local_keys(),
        finality=LOCAL_FINALITY,
    )
    settings = Settings.load(environ={"POLL_INTERVAL_MS": "20"}, folder=data, world={})
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


def recorded(rpc: DirectRpc, first: int) -> tuple[list[Block], str]:
    """The blocks from `first` on as they can be made again, and the hash of the last."""
    head = int(rpc.now("eth_blockNumber"), 16)
    blocks, block_hash = [], ""
    for number in range(first, head + 1):
        block = rpc.now("eth_getBlockByNumber", hex(number), False)
        raws = tuple(rpc.now("eth_getRawTransactionByHash", tx) for tx in block["transactions"])
        blocks.append(Block(int(block["timestamp"], 16), raws))
        block_hash = block["hash"]
    return blocks, block_hash


def replay(rpc: DirectRpc, blocks: list[Block]) -> tuple[float, str]:
    """Seconds that a node takes for the same blocks, and the hash of its last."""
    start = time.perf_counter()
    for block in blocks:
        for raw in block.raws:
            rpc.now("eth_sendRawTransaction", raw)
        rpc.now("evm_mine", {"timestamp": block.timestamp})
    seconds = time.perf_counter() - start
    return seconds, rpc.now("eth_getBlockByNumber", "latest", False)["hash"]


def floor() -> float:
    """Pre-signed ERC-20 mints per second on a fresh node: how much machine there is today."""
    from workbench.chain import abi
    from workbench.chain.keys import key_of
    from workbench.chain.signer import KeySigner

    count = 500
    node, where = boot()
    with node:
        rpc, signer = DirectRpc(node.url), KeySigner(key_of("deployer").secret)
        nonce = int(rpc.now("eth_getTransactionCount", signer.address, "latest"), 16)
        fields: dict[str, Any] = {"chainId": where.chain_id, "type": 2, "gas": 100_000, "value": 0}
        fields |= {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
        fields |= {"to": bytes.fromhex(where["MockUSDC"][2:])}
        data = abi.encode_call("MockUSDC", "mint", key_of("spare1").address, 1)
        raws = [
            signer.sign_transaction({**fields, "data": data, "nonce": nonce + n})[0]
            for n in range(count)
        ]
        start = time.perf_counter()
        for raw in raws:
            rpc.now("eth_sendRawTransaction", raw)
        rpc.now("evm_mine")
        return count / (time.perf_counter() - start)


def measure(count: int, buyers: int) -> Round:
    """One round: services, then the same bytes on a fresh node. Raises when the hashes differ."""
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        node, where = boot()
        with node:
            rpc = DirectRpc(node.url)
            first = int(rpc.now("eth_blockNumber"), 16) + 1
            seconds = asyncio.run(services_round(node, where, count, buyers, Path(folder)))
            blocks, block_hash = recorded(rpc, first)
    node, _ = boot()
    with node:
        again, same_hash = replay(DirectRpc(node.url), blocks)
    if same_hash != block_hash:
        raise WorkbenchError(f"void: the replay ended in {same_hash}, the run in {block_hash}.")
    busy = [block for block in blocks if block.raws]
    return Round(count / seconds, count / again, len(busy), count / len(busy), block_hash)


def main() -> int:
    """Print both sides and their ratio; 1 if the benchmark is void."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--settlements", type=int, default=100)
    parser.add_argument("--buyers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    machine = floor()
    rounds = [measure(asked.settlements, asked.buyers) for _ in range(asked.rounds)]
    best = max(rounds, key=lambda each: each.services_per_s)
    told: dict[str, Any] = {
        "settlements": asked.settlements,
        "services_per_s": round(best.services_per_s, 2),
        "node_per_s": round(best.node_per_s, 2),
        "ratio": round(best.ratio, 4),
        "ratio_median": round(statistics.median(each.ratio for each in rounds), 4),
        "settlements_per_block": round(best.per_block, 1),
        "floor_mints_per_s": round(machine),
        "void": machine < FLOOR_TX_PER_S,
        "block_hash": best.block_hash,
    }
    if asked.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:22} {value}")
        print(f"The replay ended in the same block hash, {asked.rounds} times of {asked.rounds}.")
    return int(told["void"])


if __name__ == "__main__":
    sys.exit(main())

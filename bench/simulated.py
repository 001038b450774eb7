"""Full settlements per second of a simulated world, against the node's own rate.

N buyers with keys of their own buy on virtual time, through the very same seller, facilitator and
tracker: HTTP 402 to executed, facts stored in three journals, the books audited at the end. Then
the same raw transactions go to a fresh node of the same kind, block by block; its final block hash
must be equal, or the benchmark is void. Where blocks have no state root, so must be all accounts.

    python -m bench.simulated [--settlements 500] [--per-block 100] [--seed 1] [--rounds 3] [--json]
"""

from __future__ import annotations

import asyncio
import cProfile
import hashlib
import pstats
import random
import sys
import time

from bench.common import Round, arguments, deployers_nonce, ending, measured, mints, report
from workbench import World, simulated
from workbench.core.purchase import Purchase
from workbench.evm.node.replay import recorded
from workbench.evm.transactions.signer import KeySigner
from workbench.scenario import STATE_ROOTS, worth_a_state_root
from workbench.services.otc.buyer import Buyer
from workbench.worlds.conditions import SELLER_URL

AMOUNT = 10**18
EURC_EACH = 10**8
MINTS_PER_BLOCK = 200
BLOCK_TIME_S = 1
BLOCK_GAS = 150_000_000
"""A settlement takes 0.6 million in four transactions: with 30 million, 50 would fill a block."""


def keys(seed: int, count: int) -> list[str]:
    """Private keys as 0x hex, the same for the same seed."""
    texts = (f"bench {seed} {n}" for n in range(count))
    return ["0x" + hashlib.sha256(text.encode()).hexdigest() for text in texts]


def arrivals(seed: int, count: int, per_block: float) -> list[float]:
    """Virtual seconds from the start: each block time has as many, at random moments of it."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    return sorted(chance.uniform(0, count / per_block * BLOCK_TIME_S) for _ in range(count))


def fund(world: World, secrets: list[str]) -> None:
    """EURC for each, some blocks before anybody buys."""
    owners = [KeySigner(key).address for key in secrets]
    token, chain_id = world.deployment["MockEURC"], world.deployment.chain_id
    raws = mints(owners, token, EURC_EACH, deployers_nonce(world.rpc), chain_id)
    for first in range(0, len(raws), MINTS_PER_BLOCK):
        some = raws[first : first + MINTS_PER_BLOCK]
        world.rpc.all_now([("eth_sendRawTransaction", raw) for raw in some])
        world.advance()


async def buy_all(world: World, buyers: list[Buyer], moments: list[float]) -> list[Purchase]:
    """Every buyer at its moment, until all have ended."""

    async def one(buyer: Buyer, moment: float) -> Purchase:
        if moment > BLOCK_TIME_S:
            await world.clock.sleep(moment - BLOCK_TIME_S)
            buyer.prepare()
        await world.clock.sleep(min(moment, BLOCK_TIME_S))
        return await buyer.buy(SELLER_URL, AMOUNT)

    return await asyncio.gather(*(one(b, m) for b, m in zip(buyers, moments, strict=True)))


def run(world: World, count: int, per_block: float, profile: str = "") -> tuple[int, float]:
    """The last block of the set-up, and the seconds for `count` purchases and their audit."""
    world.rpc.now("evm_setBlockGasLimit", hex(BLOCK_GAS))
    secrets = keys(world.seed, count)
    fund(world, secrets)
    buyers = [world.wiring.buyer(key) for key in secrets]
    moments = arrivals(world.seed, count, per_block)
    last = int(world.rpc.now("eth_blockNumber"), 16)
    profiler = cProfile.Profile(time.process_time) if profile else None

    async def work() -> list[Purchase]:
        if profiler:
            profiler.enable()
        try:
            return await buy_all(world, buyers, moments)
        finally:
            if profiler:
                profiler.disable()

    start = time.perf_counter()
    purchases = world.do(work())
    world.audit()
    seconds = time.perf_counter() - start
    assert [p.status for p in purchases] == ["executed"] * count, purchases
    if profiler:
        profiler.dump_stats(profile)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    return last, seconds


def measure(count: int, per_block: float, seed: int, state_root: bool, profile: str = "") -> Round:
    """One round: a world, then the same bytes on a fresh node. Raises when they end elsewhere."""
    with simulated(seed=seed, state_root=state_root) as world:
        begin = world.deployment.deploy_block
        first = int(world.rpc.now("eth_blockNumber"), 16) + 1
        last, seconds = run(world, count, per_block, profile)
        blocks, ended = recorded(world.rpc, first), ending(world.rpc)
    assert begin < first
    return measured(blocks, ended, last - first + 1, count, seconds)


def main() -> int:
    """Print both sides and their ratio; 1 if the benchmark is void."""
    parser = arguments(__doc__, 500)
    parser.add_argument("--per-block", type=float, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="", help="a file for cProfile's figures")
    parser.add_argument("--state-root", choices=STATE_ROOTS, default="auto")
    asked = parser.parse_args()
    blocks = int(asked.settlements / asked.per_block)
    state_root = asked.state_root == "computed" or (
        asked.state_root == "auto" and worth_a_state_root(blocks, asked.settlements)
    )
    wanted = (asked.settlements, asked.per_block, asked.seed, state_root, asked.profile)
    return report(asked, lambda: measure(*wanted), seed=asked.seed)


if __name__ == "__main__":
    sys.exit(main())

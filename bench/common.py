"""What all benchmarks share: blocks as they can be made again, their replay, and the machine."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.evm.codec import abi
from workbench.evm.node.boot import boot
from workbench.evm.node.replay import RecordedBlock, replay
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of

FLOOR_TX_PER_S = 1_000
"""Below this rate of pre-signed ERC-20 mints the machine is too busy to measure anything."""
FLOOR_MINTS = 500
TIP_WEI, MAX_FEE_WEI, MINT_GAS = 10**9, 10**10, 100_000


@dataclass(frozen=True)
class Ending:
    """What a run's chain came to, and what its replay must come to.

    `state`: a digest of all accounts, where the block hash does not hold them ("" where it does).
    """

    block_hash: str
    state: str = ""


@dataclass(frozen=True)
class Round:
    """One measurement of both sides. Rates in settlements per second."""

    services_per_s: float
    node_per_s: float
    blocks: int
    per_block: float
    ended: Ending

    @property
    def ratio(self) -> float:
        return self.services_per_s / self.node_per_s


def ending(rpc: BlockingRpc) -> Ending:
    """Of a node as it is now. Where it computes no state root, all its accounts are compared."""
    block = rpc.now("eth_getBlockByNumber", "latest", False)
    if int(block["stateRoot"], 16):
        return Ending(block["hash"])
    dump = json.loads(gzip.decompress(bytes.fromhex(rpc.now("anvil_dumpState")[2:])))
    accounts = json.dumps(dump["accounts"], sort_keys=True).encode()
    return Ending(block["hash"], hashlib.sha256(accounts).hexdigest())


def timed_replay(rpc: BlockingRpc, blocks: list[RecordedBlock]) -> float:
    """Seconds that a node takes for the same blocks."""
    start = time.perf_counter()
    replay(rpc, blocks)
    return time.perf_counter() - start


def measured(
    blocks: list[RecordedBlock], ended: Ending, before: int, count: int, seconds: float
) -> Round:
    """A run's blocks on a fresh node of its kind; the first `before` are set-up and not timed.

    Raises when it ends in another block hash, or in another state.
    """
    node, _ = boot(state_root=not ended.state)
    with node:
        rpc = BlockingRpc(node.url)
        replay(rpc, blocks[:before])
        again = timed_replay(rpc, blocks[before:])
        same = ending(rpc)
    if same != ended:
        raise WorkbenchError(f"void: the replay ended in {same}, the run in {ended}.")
    busy = [block for block in blocks[before:] if block.raws]
    # Creates, funds, swaps and executions of one settlement lie in four blocks: `count` over the
    # busy blocks would be too low at the ends of a short run, so transactions are counted.
    per_block = sum(len(block.raws) for block in busy) / len(busy) / TX_PER_SETTLEMENT
    return Round(count / seconds, count / again, len(busy), per_block, ended)


TX_PER_SETTLEMENT = 4
"""create, fund, swap, execute."""


def mints(owners: Sequence[str], token: str, units: int, nonce: int, chain_id: int) -> list[str]:
    """Pre-signed transactions by the account that may mint: `units` base units for each owner."""
    signer = KeySigner(key_of("deployer").secret)
    fields: dict[str, Any] = {"chainId": chain_id, "type": 2, "gas": MINT_GAS, "value": 0}
    fields |= {"maxFeePerGas": MAX_FEE_WEI, "maxPriorityFeePerGas": TIP_WEI}
    fields["to"] = bytes.fromhex(token[2:])
    raws = []
    for n, owner in enumerate(owners):
        data = abi.encode_call("MockUSDC", "mint", owner, units)
        raws.append(signer.sign_transaction({**fields, "data": data, "nonce": nonce + n})[0])
    return raws


def deployers_nonce(rpc: BlockingRpc) -> int:
    return int(rpc.now("eth_getTransactionCount", key_of("deployer").address, "latest"), 16)


def floor() -> float:
    """Pre-signed ERC-20 mints per second on a fresh node: how much machine there is today."""
    node, where = boot()
    with node:
        rpc = BlockingRpc(node.url)
        owners = [key_of("spare1").address] * FLOOR_MINTS
        raws = mints(owners, where["MockUSDC"], 1, deployers_nonce(rpc), where.chain_id)
        start = time.perf_counter()
        rpc.all_now([*(("eth_sendRawTransaction", raw) for raw in raws), ("evm_mine",)])
        return FLOOR_MINTS / (time.perf_counter() - start)


def processor_ticks() -> tuple[int, int]:
    """What a machine's processors worked, and what their host gave to others meanwhile (Linux)."""
    try:
        all_of_them = Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0]
        user, nice, system, _, _, _, _, stolen, *_ = map(int, all_of_them.split()[1:])
    except (OSError, ValueError):
        return 0, 0
    return user + nice + system, stolen


def report(asked: argparse.Namespace, measure: Callable[[], Round], **more: Any) -> int:
    """Take the rounds, print the best with both sides and their ratio; 1 if it is void."""
    machine, before = floor(), processor_ticks()
    rounds = [measure() for _ in range(asked.rounds)]
    worked, stolen = (now - then for now, then in zip(processor_ticks(), before, strict=True))
    best = max(rounds, key=lambda each: each.services_per_s)
    told: dict[str, Any] = {
        "settlements": asked.settlements,
        **more,
        "services_per_s": round(best.services_per_s, 2),
        "node_per_s": round(best.node_per_s, 2),
        "ratio": round(best.ratio, 4),
        "ratio_median": round(statistics.median(each.ratio for each in rounds), 4),
        "settlements_per_block": round(best.per_block, 1),
        "blocks": best.blocks,
        "floor_mints_per_s": round(machine),
        "stolen": round(stolen / max(1, worked + stolen), 3),
        "void": machine < FLOOR_TX_PER_S,
        "block_hash": best.ended.block_hash,
        "state": best.ended.state or "in the block hash",
    }
    if asked.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:22} {value}")
        print(f"The replay ended in the same state, {asked.rounds} times of {asked.rounds}.")
    return int(told["void"])


def arguments(description: str | None, settlements: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--settlements", type=int, default=settlements)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser

"""A whole world at once: an anvil of our own with everything deployed, `boot() -> (node, where)`.

The first boot deploys through Ape (5 s) and keeps the node's state in `.cache/worlds/`; every boot,
the first included, starts a fresh node from that file (0.1 s). So all boots of one plan give the
same world, down to the hash of the latest block. The file is named after everything that decides
its content, and is made again whenever it is missing or damaged.

anvil hashes its whole state anew for each block, so that a block costs the more the more has
happened (7 µs for each settlement ever made). It does not where it forks another node. So a world
without state roots forks an empty chain, and is given the deployment's transactions again: by
loading the state instead, anvil would ask the node beneath for each slot that is still zero.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from workbench.core.errors import DeployFailed, RpcUnreachable
from workbench.core.ports import ReportProgress
from workbench.evm.build.artifacts import load
from workbench.evm.build.toolchain import cache_dir, npm_version, write_atomically
from workbench.evm.deploy.addresses import keccak
from workbench.evm.deploy.deployment import deploy
from workbench.evm.deploy.plan import CONTRACTS, Deployment, DeploymentPlan
from workbench.evm.node.anvil import DEFAULT_CHAIN_ID, GENESIS_TIME, Anvil
from workbench.evm.node.replay import RecordedBlock, recorded, replay
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE

# Each is about 1 MB; changing contracts or plans leaves old ones behind.
WORLDS_KEPT = 16
# Seconds between blocks while deploying, and in a world that mines when told: chain time then
# depends on the number of blocks alone, never on how fast the machine was.
BLOCK_INTERVAL_S = 1


@dataclass(frozen=True)
class CachedWorld:
    """What we know about a world: where everything is, and the blocks that put it there."""

    where: Deployment
    blocks: tuple[RecordedBlock, ...]

    def to_json(self) -> dict[str, Any]:
        blocks = [block.to_json() for block in self.blocks]
        return {"deployment": self.where.to_json(), "blocks": blocks}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        blocks = tuple(RecordedBlock.from_json(block) for block in data["blocks"])
        return cls(Deployment.from_json(data["deployment"]), blocks)


@dataclass(frozen=True)
class WorldFiles:
    """The files of one world: the node's state, and what we know about it."""

    state: Path
    facts: Path

    def read(self) -> CachedWorld | None:
        """What is known, or None if either file is missing or damaged."""
        try:
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
            if facts.pop("check") != _check(self.state.read_bytes(), facts):
                return None
            return CachedWorld.from_json(facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, state: str, kept: CachedWorld) -> None:
        """The facts last: they vouch for the state."""
        self.facts.unlink(missing_ok=True)
        write_atomically(self.state, state)
        data = kept.to_json()
        facts = {"check": _check(state.encode(), data), **data}
        write_atomically(self.facts, json.dumps(facts, indent=1))


def boot(
    chain_id: int = DEFAULT_CHAIN_ID,
    plan: DeploymentPlan | None = None,
    progress: ReportProgress = lambda text: None,
    *,
    port: int = 0,
    block_time: float | None = None,
    extra: tuple[str, ...] = (),
    state_root: bool = True,
) -> tuple[Anvil, Deployment]:
    """A running node with `plan` deployed; the caller stops it, or uses it as context manager.

    With `block_time` (seconds) it mines by itself under the wall clock, and the reference rate is
    renewed as of now. Without, it mines when told, each block a second after the one before
    unless told otherwise, from a fixed beginning. `extra` are more options for anvil.
    Without `state_root` the blocks have none (it is zero), and a block costs the same for ever.
    Raises PortTaken, ToolMissing, NotCompiled, DeployFailed or RpcUnreachable.
    """
    plan = plan or DeploymentPlan()
    key = world_key(chain_id, plan)
    world = WorldFiles(
        cache_dir("worlds") / f"{key}.json", cache_dir("worlds") / f"{key}.facts.json"
    )
    kept = world.read() or _build(world, chain_id, plan, progress)
    start = partial(Anvil, port=port, chain_id=chain_id, block_time=block_time, extra=extra)
    if not state_root:
        assert block_time is None, "it would mine before the deployment is there"
        node = _start_on_nothing(start, kept.blocks)
    else:
        try:
            node = start(load_state=world.state)
        except RpcUnreachable:
            # The file is whole, yet anvil refuses it (another anvil wrote it, say): once more.
            world.facts.unlink(missing_ok=True)
            kept = _build(world, chain_id, plan, progress)
            node = start(load_state=world.state)
    try:
        node.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
        set_clock(node, kept.where, plan, block_time)
        if not state_root:
            # The first snapshot of a fork changes its blocks; from then on they are always alike.
            node.call("evm_revert", node.call("evm_snapshot"))
    except BaseException:
        node.stop()
        raise
    return node, kept.where


def world_key(chain_id: int, plan: DeploymentPlan) -> str:
    """40 hex digits that differ whenever the world would."""
    digest = hashlib.sha256()
    for name in CONTRACTS:
        digest.update(f"{name}\0".encode() + load(name).bytecode)
    # How it is deployed decides the blocks, too.
    here = Path(__file__).parent
    modules = [*sorted(here.with_name("deploy").glob("*.py")), *sorted(here.glob("*.py"))]
    for module in modules:
        digest.update(module.read_bytes())
    anvil = [npm_version("@foundry-rs/anvil"), os.environ.get("WORKBENCH_ANVIL", "")]
    digest.update(json.dumps([chain_id, plan.to_json(), anvil, GENESIS_TIME]).encode())
    return digest.hexdigest()[:40]


def _start_on_nothing(start: Callable[..., Anvil], blocks: Sequence[RecordedBlock]) -> Anvil:
    """A node that forks an empty one of its own, with these blocks made again on it."""
    ground = Anvil()
    try:
        node = start(ground=ground)
    except BaseException:
        ground.stop()
        raise
    try:
        rpc = BlockingRpc(node.url)
        replay(rpc, blocks)
        if recorded(rpc, 1) != list(blocks):
            raise DeployFailed("the deployment's blocks, made again, are not the same.")
    except BaseException:
        node.stop()
        raise
    return node


@contextmanager
def _only_one(world: WorldFiles) -> Iterator[None]:
    """One process builds a world, the others wait for it; a dead builder's lock is gone."""
    with world.state.with_suffix(".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(
    world: WorldFiles, chain_id: int, plan: DeploymentPlan, progress: ReportProgress
) -> CachedWorld:
    with _only_one(world):
        kept = world.read()
        if kept is not None:
            return kept
        progress("world: deploying through Ape, once (about 5 s) …")
        with Anvil(chain_id=chain_id, automine=True) as node:
            node.call("anvil_setBlockTimestampInterval", BLOCK_INTERVAL_S)
            where = deploy(node.url, chain_id, plan, progress)
            kept = CachedWorld(where, tuple(recorded(BlockingRpc(node.url), 1)))
            dump = node.call("anvil_dumpState")
        try:
            state = gzip.decompress(bytes.fromhex(dump.removeprefix("0x"))).decode()
        except (ValueError, OSError) as error:
            raise DeployFailed(f"anvil's state cannot be kept: {error}.") from error
        # Whole, with transactions and receipts of the deployment: without them anvil answers
        # `null` for those blocks, and loading it all costs 10 ms.
        world.write(state, kept)
        _forget_old(world)
        return kept


def _forget_old(kept: WorldFiles) -> None:
    facts = sorted(kept.facts.parent.glob("*.facts.json"), key=_age, reverse=True)
    for path in facts[WORLDS_KEPT:]:
        stem = path.name.removesuffix(".facts.json")
        for name in (path.name, f"{stem}.json", f"{stem}.lock"):
            path.with_name(name).unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def set_clock(
    node: Anvil, where: Deployment, plan: DeploymentPlan, block_time: float | None
) -> None:
    """Time from here on: the world's own seconds, or the wall clock with a rate that is fresh."""
    if block_time is None:
        # A loaded state brings its blocks, not their clock: the next would be years later.
        latest = node.call("eth_getBlockByNumber", "latest", False)
        node.call("evm_setTime", int(latest["timestamp"], 16))
        node.call("anvil_setBlockTimestampInterval", BLOCK_INTERVAL_S)
        return
    words = (plan.rate_e8, plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips)
    data = keccak(b"setRate(uint64,uint16,uint32,uint24)")[:4]
    data += b"".join(word.to_bytes(32, "big") for word in words)
    call = {"from": plan.keeper, "to": where["FacilitatorHook"], "data": "0x" + data.hex()}
    # Unlocked on a node of ours; from the next half-life on, the keeper service does this.
    transaction = node.call("eth_sendTransaction", call)
    node.mine()
    receipt = node.call("eth_getTransactionReceipt", transaction)
    if not receipt or int(receipt["status"], 16) != 1:
        raise DeployFailed("The reference rate could not be renewed.")


def _check(state: bytes, known: dict[str, Any]) -> str:
    """SHA-256 (hex) over both files' content: one changed digit of an address is damage, too."""
    digest = hashlib.sha256(state)
    digest.update(json.dumps(known, sort_keys=True).encode())
    return digest.hexdigest()

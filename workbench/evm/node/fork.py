"""A world on top of another chain: an anvil forked from a URL, with everything deployed.

Nothing is sent to the upstream; its state is read through the fork when it is needed. The fork is
our own node: it has the marker, and test keys are safe on it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from workbench.core.errors import (
    BlockMissing,
    InvalidSetting,
    RpcFault,
    RpcLimited,
    RpcUnanswered,
    RpcUnreachable,
)
from workbench.core.ports import ReportProgress
from workbench.evm.deploy.addresses import CREATE2_DEPLOYER
from workbench.evm.deploy.deployment import deploy
from workbench.evm.deploy.plan import Deployment, DeploymentPlan
from workbench.evm.deploy.uniswap import POOL_MANAGERS
from workbench.evm.node import boot as booting
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.rpc.node_url import public_url
from workbench.evm.transactions.test_keys import TEST_KEYS

# The runtime code of Arachnid's proxy, for an upstream that lacks it.
CREATE2_CODE = (
    "0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)
TEST_BALANCE_WEI = 10_000 * 10**18


@dataclass(frozen=True)
class ForkedChain:
    """The chain below a fork. Its URL may contain a key, so it is shown without secrets."""

    url: str = field(repr=False)
    chain_id: int
    block: int

    def to_json(self) -> dict[str, Any]:
        """Return the fork for the world file."""
        return {"url": public_url(self.url), "block": self.block, "chain_id": self.chain_id}


def look_up(url: str, block: int | None = None) -> ForkedChain:
    """Return the chain at `url`, at `block` or at its head. Raises InvalidSetting for a wrong URL,
    RpcUnreachable without a node, BlockMissing for a block that cannot be forked from."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidSetting(
            "what to fork is not an http(s) URL.", hint="Such as http://127.0.0.1:8545."
        )
    rpc = BlockingRpc(url)
    shown = public_url(url)
    try:
        chain_id = int(rpc.now("eth_chainId"), 16)
        head = int(rpc.now("eth_blockNumber"), 16)
    except RpcUnreachable as why:
        raise RpcUnreachable(
            f"the chain to fork cannot be read: {why.message}",
            hint="Start that node, or correct the URL.",
        ) from why
    except RpcLimited:
        raise
    except RpcFault as why:
        raise RpcUnreachable(
            f"what answers at {shown} is not an EVM node ({why}).", hint="Correct the URL."
        ) from why
    if block is not None:
        _require_state(rpc, shown, block, head)
    return ForkedChain(url, chain_id, head if block is None else block)


def _require_state(rpc: BlockingRpc, shown: str, block: int, head: int) -> None:
    if block > head:
        raise BlockMissing(
            f"block {block} is in the future: {shown} is at block {head}.",
            hint=f"Take a block up to {head}, or none for the latest.",
        )
    try:
        # Anvil first reads the accounts of the test keys.
        rpc.now("eth_getBalance", TEST_KEYS[0].address, hex(block))
    except RpcUnanswered:
        raise
    except RpcFault as why:
        raise BlockMissing(
            f"{shown} has no state of block {block} any more ({why.message})",
            hint=f"Take a later block (its head is {head}), or the URL of an archive node.",
        ) from why


def boot_fork(
    url: str,
    block: int | None = None,
    chain_id: int | None = None,
    plan: DeploymentPlan | None = None,
    progress: ReportProgress = lambda text: None,
    *,
    port: int = 0,
    block_time: int | None = None,
) -> tuple[Anvil, Deployment, ForkedChain]:
    """Return a running fork with `plan` deployed on it; the caller stops it.

    The chain id is the upstream's, unless another is given. `block_time` as for `boot()`: without
    it the fork mines on request, from the time of the forked block; with it, by the wall clock.
    Raises the errors of `look_up` and `boot`.
    """
    upstream = look_up(url, block)
    chain_id = chain_id or upstream.chain_id
    progress(f"fork: block {upstream.block} of chain {upstream.chain_id} at {public_url(url)}")
    node = Anvil(
        port=port,
        chain_id=chain_id,
        fork_url=upstream.url,
        fork_block=upstream.block,
        automine=True,
    )
    try:
        _make_ours(node)
        plan = plan or DeploymentPlan()
        official = POOL_MANAGERS.get(upstream.chain_id, "")
        if not plan.pool_manager and official and _has_code(node, official):
            progress(f"PoolManager: Uniswap's own, at {official}")
            plan = replace(plan, pool_manager=official)
        node.call("anvil_setBlockTimestampInterval", booting.BLOCK_INTERVAL_S)
        where = deploy(node.url, chain_id, plan, progress)
        _start_clock(node, where, plan, block_time)
    except BaseException:
        node.stop()
        raise
    return node, where, upstream


def _make_ours(node: Anvil) -> None:
    """Set the marker, the CREATE2 deployer, and plain test accounts with gas."""
    node.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
    if not _has_code(node, CREATE2_DEPLOYER):
        node.call("anvil_setCode", CREATE2_DEPLOYER, CREATE2_CODE)
    for key in TEST_KEYS:
        node.call("anvil_setBalance", key.address, hex(TEST_BALANCE_WEI))
        # On public chains these accounts have foreign code (EIP-7702), which would decide
        # signatures.
        if _has_code(node, key.address):
            node.call("anvil_setCode", key.address, "0x")


def _start_clock(
    node: Anvil, where: Deployment, plan: DeploymentPlan, block_time: int | None
) -> None:
    """Mine from here on request, or every `block_time` seconds of wall-clock time."""
    node.call("evm_setAutomine", False)
    if block_time is None:
        booting.set_clock(node, where, plan, None)
        return
    node.call("anvil_removeBlockTimestampInterval")
    # The time of an old block is long ago, and quotes depend on the chain's time.
    head = int(node.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    node.call("evm_setTime", max(head, int(time.time())))
    booting.set_clock(node, where, plan, block_time)
    node.call("evm_setIntervalMining", block_time)


def _has_code(node: Anvil, address: str) -> bool:
    return node.call("eth_getCode", address, "latest") not in ("0x", None)

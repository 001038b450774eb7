"""The state of a world at one moment, read without influence on the run."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import RunOver, RunUnderWay, WorkbenchError
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.sim.time.loop import at_once
from workbench.worlds.balances import TOKEN_NAMES
from workbench.worlds.virtual import World


@dataclass(frozen=True, slots=True)
class WorldView:
    """A world at one moment.

    `now_ms`: Unix milliseconds of the virtual clock. `balances`: base units by account (seller,
    vault, pool) and token symbol. `pool`: `liquidity`, and `price_e8` (USDC for one EURC, times
    10**8). `mempool`: waiting transactions, `pending` and `queued` at the node, `delayed` before
    it. `heads`: number of the newest block, as node and services know it.
    """

    now_ms: int
    balances: dict[tuple[str, str], int]
    pool: dict[str, int]
    mempool: dict[str, int]
    heads: dict[str, int]


def view_of(world: World) -> WorldView:
    """Return the present state of a world. Called in the world's thread, while nothing acts.

    A separate connection is used, so that it changes no cached answer of the run. Raises the node's
    errors.
    """
    rpc = BlockingRpc(world.node.url)
    try:
        return at_once(_view(world, rpc))
    finally:
        at_once(rpc.close())


async def _view(world: World, rpc: BlockingRpc) -> WorldView:
    """Read balances, pool, mempool and heads over one connection."""
    chain = EvmChain(rpc, world.deployment.chain_id, world.chain.addresses)
    accounts = {name: world.accounts[name] for name in ("seller", "vault")}
    accounts["pool"] = world.deployment["PoolManager"].lower()
    balances = {
        (name, symbol): await chain.balance(getattr(chain.addresses, token), address)
        for name, address in accounts.items()
        for symbol, token in TOKEN_NAMES.items()
    }
    pool = {"liquidity": await chain.pool_liquidity(), "price_e8": await chain.pool_price()}
    waiting: dict[str, Any] = await rpc.call("txpool_status")
    mempool = {name: int(waiting[name], 16) for name in ("pending", "queued")}
    known = {name: max(store.blocks) for name, store in world.stores.items() if store.blocks}
    return WorldView(
        now_ms=world.clock.now_ms(),
        balances=balances,
        pool=pool,
        mempool=mempool | {"delayed": world.mempool.waiting},
        heads={"node": (await chain.head()).number} | known,
    )


class ViewRequest:
    """A reader in another thread that waits for a view; the run serves it between two moments."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._view: WorldView | None = None
        self._why: WorkbenchError | None = None

    def take(self, world: World) -> None:
        """Read the world now. Called by the run."""
        try:
            self._view = view_of(world)
        except WorkbenchError as why:
            self._why = why
        self._done.set()

    def refuse(self) -> None:
        """The run has ended before."""
        self._why = RunOver("the run has ended, and its node with it.")
        self._done.set()

    def result(self, timeout_s: float) -> WorldView:
        """Return the view. Raises RunOver, RunUnderWay, and the node's errors."""
        if not self._done.wait(timeout_s):
            raise RunUnderWay(f"the run has come to no moment to look at within {timeout_s:g} s.")
        if self._why is not None:
            raise self._why
        assert self._view is not None
        return self._view

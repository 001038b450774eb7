"""The miner of a simulated world: blocks at virtual times, reorgs, and fees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

from workbench.core.errors import InvalidSetting, RpcFault, WorkbenchError
from workbench.core.ports import Clock
from workbench.evm.rpc.client import Rpc
from workbench.scenario import ChainSettings
from workbench.sim.faults.rpc import SEND, Mempool
from workbench.sim.faults.sites import Faults


class Miner:
    """Mines on the virtual clock. `first`: the newest block at the start, which is never
    removed."""

    def __init__(
        self,
        rpc: Rpc,
        clock: Clock,
        chain: ChainSettings,
        faults: Faults,
        mempool: Mempool,
        chance: Random,
        first: int,
    ) -> None:
        self._rpc, self._clock, self._chain = rpc, clock, chain
        self._faults, self._mempool, self._chance, self._first = faults, mempool, chance, first
        self._branches = 0
        self.block = first
        """Number of the newest block, as of the last `keep` or the last callback after a block."""
        self.before_block: list[Callable[[], Awaitable[None]]] = []
        self.after_block: list[Callable[[int], Awaitable[None]]] = []

    def keep(self, number: int) -> None:
        """Protect this block, the newest one, and all before it from reorgs."""
        self._first = self.block = number

    async def run(self) -> None:
        """Mine at every multiple of the block time, until cancelled."""
        while True:
            await self._clock.sleep(self._chain.block_time_ms / 1000)
            await self.mine()

    async def mine(self) -> None:
        """Mine one block now, at the virtual time, with its callbacks."""
        for each in self.before_block:
            await each()
        await self._mempool.release()
        depth = self._faults.fires("chain.reorg", "chain")
        if depth is not None:
            await self.reorg(depth)
        times = self._faults.fires("fee.spike", "chain") or 1
        await self._mine(self._clock.now_ms() // 1000, self._chain.base_fee_wei * times)
        if self.after_block:
            number = int(await self._rpc.call("eth_blockNumber"), 16)
            self.block = number
            for told in self.after_block:
                await told(number)

    async def _mine(self, timestamp: int, base_fee: int) -> None:
        # Set the base fee: an empty block would lower it, and a revert would not restore it.
        held = ("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
        for answer in await self._rpc.many([held, ("evm_mine", {"timestamp": timestamp})]):
            if isinstance(answer, WorkbenchError):
                raise answer

    async def reorg(self, depth: int) -> None:
        """Replace the newest `depth` blocks by as many others.

        Most of their transactions are in the first new block and the rest wait again, as after two
        miners with different mempools. `anvil_reorg` would drop them. Raises InvalidSetting in a
        world without state roots.
        """
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        depth = min(depth, head - self._first)
        if depth < 1:
            return
        times, raws = [], []
        for number in range(head - depth + 1, head + 1):
            block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
            _require_state_root(block)
            times.append(int(block["timestamp"], 16))
            for tx in block["transactions"]:
                raws.append(await self._rpc.call("eth_getRawTransactionByHash", tx))
        await self._rpc.call("anvil_rollback", depth)
        waiting = [raw for raw in raws if self._chance.randrange(4) == 0]
        for raw in raws:
            if raw not in waiting:
                # One nonce has two transactions if an attempt was replaced.
                with suppress(RpcFault):
                    await self._rpc.call(SEND, raw)
        self._mempool.put_back(waiting)
        for timestamp in times:
            # With another base fee, because an equal empty block would have the same hash.
            self._branches += 1
            await self._mine(timestamp, self._chain.base_fee_wei + self._branches)


def _require_state_root(block: dict[str, Any]) -> None:
    """Raise InvalidSetting without state roots: a rollback on a fork keeps storage that the removed
    blocks wrote first."""
    if not int(block["stateRoot"], 16):
        raise InvalidSetting(
            "blocks without state roots cannot be taken back: anvil would leave state of theirs.",
            hint="Boot this world with state roots.",
        )

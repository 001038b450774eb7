"""Liquidity provider that withdraws on `pool.drained` and returns later."""

from __future__ import annotations

from random import Random

from workbench.evm.codec import abi
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.deploy.pool import TICK_LIMIT, PoolKey
from workbench.sim.faults.sites import Faults
from workbench.sim.people.wallet import SimWallet

AWAY_BLOCKS = (5, 30)
"""Range of the number of blocks until withdrawn liquidity returns."""


class SimLiquidityProvider:
    """Acts before each block. One withdrawal at a time."""

    def __init__(
        self,
        chain: EvmChain,
        wallet: SimWallet,
        seeder: str,
        key: PoolKey,
        faults: Faults,
        chance: Random,
    ) -> None:
        self._chain, self._wallet, self._seeder, self._key = chain, wallet, seeder, key
        self._faults, self._chance = faults, chance
        self._away = 0
        self._blocks_left = 0
        self._tx = ""

    async def before_block(self) -> None:
        """Withdraw a part of the liquidity, or return it."""
        if self._away:
            self._blocks_left -= 1
            if self._blocks_left <= 0 or self._faults.over("pool.drained"):
                await self._return()
            return
        percent = self._faults.fires("pool.drained", "pool")
        if percent is not None:
            self._away = await self._chain.pool_liquidity() * percent // 100
            self._blocks_left = self._chance.randint(*AWAY_BLOCKS)
            self._tx = await self._modify(-self._away)

    async def _return(self) -> None:
        """Return the liquidity, unless a reorg removed its withdrawal."""
        if await self._wallet.ok(self._tx):
            await self._modify(self._away)
        self._away = 0

    async def _modify(self, liquidity: int) -> str:
        arguments = (self._key, -TICK_LIMIT, TICK_LIMIT, liquidity)
        data = abi.encode_call("LiquiditySeeder", "modify", *arguments)
        return await self._wallet.send(self._seeder, data)

"""The arbitrageur of a simulated world: trades the pool towards the market while that pays.

Integers only, so that results are equal on every machine. Prices are USDC for one EURC, times
10**8.
"""

from __future__ import annotations

from workbench.core.money import mul_div_up
from workbench.core.ports import Clock, ReferenceRate
from workbench.evm.codec import abi
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.deploy.pool import RATE_SCALE, PoolKey, sqrt_price_x96
from workbench.scenario import ArbitrageurSettings
from workbench.services.otc.rates import RateSource
from workbench.sim.people.wallet import SimWallet

BPS, PIPS = 10_000, 10**6
DUST_E8 = 1
"""What rounding leaves between the pool and its target price."""


class SimArbitrageur:
    """Acts before blocks, every `rules.every_s` of virtual time, through its own PoolBalancer.

    A swap that the hook refuses, because the rate changed or is stale, costs gas only.
    """

    def __init__(
        self,
        chain: EvmChain,
        wallet: SimWallet,
        balancer: str,
        key: PoolKey,
        market: RateSource,
        clock: Clock,
        rules: ArbitrageurSettings,
    ) -> None:
        self._chain, self._wallet, self._balancer, self._key = chain, wallet, balancer, key
        self._market, self._clock, self._rules = market, clock, rules
        self._eurc_first = key[0].lower() == chain.addresses.eurc
        self._next_ms = clock.now_ms()

    async def before_block(self) -> None:
        """Check the pool if it is time, and swap if that pays."""
        now_ms = self._clock.now_ms()
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + 1000 * self._rules.every_s
        market_e8 = await self._market.usdc_per_eurc_e8()
        price_e8, rate = await self._chain.pool_price(), await self._chain.rate()
        goal_e8 = goal(price_e8, market_e8, rate, self._rules.edge_bps)
        if goal_e8 is not None:
            await self._swap(goal_e8 < price_e8, goal_e8, market_e8)

    async def _swap(self, eurc_in: bool, goal_e8: int, market_e8: int) -> None:
        """Swap at most `max_eurc`, or its value in USDC, within the balance."""
        at, most = self._chain.addresses, self._rules.max_eurc
        if not eurc_in:
            most = most * market_e8 // RATE_SCALE
        held = await self._chain.balance(at.eurc if eurc_in else at.usdc, self._wallet.address)
        amount = min(most, held)
        if amount == 0:
            return
        # v4 rounds its price down. Stop one unit earlier on the way down, to never pass the target.
        falls = eurc_in == self._eurc_first
        limit_x96 = sqrt_price_x96(goal_e8, eurc_first=self._eurc_first) + falls
        data = abi.encode_call("PoolBalancer", "balance", self._key, eurc_in, amount, limit_x96)
        await self._wallet.send(self._balancer, data)


def goal(price_e8: int, market_e8: int, rate: ReferenceRate, edge_bps: int) -> int | None:
    """Return the price to which a swap pays, or None.

    It pays until the fee equals the difference to the market, and the hook allows no price past the
    reference rate. Below the pool's price: sell EURC to the pool; above: buy it there.
    """
    if abs(price_e8 - market_e8) * BPS <= edge_bps * market_e8:
        return None
    after_fee = PIPS - rate.lp_fee_pips
    if price_e8 > market_e8:
        low = max(mul_div_up(market_e8, PIPS, after_fee), rate.usdc_per_eurc_e8)
        return low if price_e8 - low > DUST_E8 else None
    high = min(market_e8 * after_fee // PIPS, rate.usdc_per_eurc_e8)
    return high if high - price_e8 > DUST_E8 else None

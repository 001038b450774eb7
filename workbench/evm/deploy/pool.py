"""The EURC/USDC pool in Uniswap v4: its key and id, its price, and amounts of liquidity."""

from __future__ import annotations

from math import isqrt

from workbench.evm.deploy.addresses import keccak

DYNAMIC_FEE = 0x800000
"""The value of a v4 pool's `fee` that lets the hook set the fee."""
TICK_SPACING = 10
TICK_LIMIT = 887_270
"""The widest range of ticks that v4 has at this spacing."""
Q96 = 1 << 96
RATE_SCALE = 10**8
"""A rate is USDC per EURC times this."""

PoolKey = tuple[str, str, int, int, str]
"""v4's PoolKey: currency0, currency1, fee, tickSpacing, hooks."""


def pool_key(usdc: str, eurc: str, hook: str) -> PoolKey:
    """Return the settlement pool's key. v4 requires the currencies in the order of addresses."""
    first, second = sorted((usdc, eurc), key=lambda address: int(address, 16))
    return (first, second, DYNAMIC_FEE, TICK_SPACING, hook)


def pool_id(key: PoolKey) -> bytes:
    """Return v4's PoolId: the Keccak-256 digest of the key's five words."""
    words = [int(key[0], 16), int(key[1], 16), key[2], key[3], int(key[4], 16)]
    return keccak(b"".join(word.to_bytes(32, "big") for word in words))


def sqrt_price_x96(rate_e8: int, *, eurc_first: bool) -> int:
    """Return v4's price for a rate: sqrt(currency1 / currency0) * 2**96, rounded down.

    Both tokens have 6 decimals, so whole units and base units have the same ratio.
    """
    over, under = (rate_e8, RATE_SCALE) if eurc_first else (RATE_SCALE, rate_e8)
    return isqrt((over << 192) // under)


def full_range_liquidity(pool_usdc: int, price_x96: int, *, eurc_first: bool) -> int:
    """Return the v4 liquidity of `pool_usdc` base units over the full range, rounded down."""
    return pool_usdc * Q96 // price_x96 if eurc_first else pool_usdc * price_x96 // Q96


def full_range_amounts(liquidity: int, price_x96: int) -> tuple[int, int]:
    """Return upper bounds of the base units of currency0 and currency1 for `liquidity`."""
    return liquidity * Q96 // price_x96 + 1, liquidity * price_x96 // Q96 + 1

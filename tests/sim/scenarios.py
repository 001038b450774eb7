"""Small scenarios for tests: a few purchases in two minutes of virtual time."""

from __future__ import annotations

from typing import Any

from workbench.scenario import Scenario, override, parse

SMALL = """
about: A few purchases, some of which the pool is too shallow for.
seed: 3
duration: 2 min
settle_within: 5 min
chain: {block_time: 2 s, finality: 3 blocks}
seller: {quote_lifetime: 1 min, swap_window: 1 min}
market:
  pool: 20000 USDC
buyers:
  - {count: 5, arrivals: {model: even, every: 20 s}, size: {model: fixed, amount: "50 YPS"}}
"""


def small(**settings: Any) -> Scenario:
    """SMALL with other settings: `chain__finality="2 blocks"` for chain.finality."""
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    scenario = parse(SMALL, "small.yaml")
    return override(scenario, changed) if changed else scenario

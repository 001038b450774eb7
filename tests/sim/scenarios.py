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


PAYING = (
    SMALL.replace("count: 5", "count: 1")
    + """
payouts:
  users:
    - count: 4
      arrivals: {model: even, every: 5 s}
      earns: {times: 2, arrivals: {model: even, every: 15 s}, credits: 5 to 9 credits}
      asks: {times: 3, arrivals: {model: even, every: 15 s}, credits: 1 to 3 credits}
    - {count: 2, kind: doubles}
    - {count: 2, kind: overspends}
    - {count: 2, kind: changes}
    - {count: 4, kind: refuses}
"""
)
"""Beside a purchase, users of every kind who are paid in ETH."""


def paying(**settings: Any) -> Scenario:
    """PAYING with other settings, as `small`."""
    return _with(PAYING, settings)


def small(**settings: Any) -> Scenario:
    """SMALL with other settings: `chain__finality="2 blocks"` for chain.finality."""
    return _with(SMALL, settings)


def _with(text: str, settings: dict[str, Any]) -> Scenario:
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    scenario = parse(text, "small.yaml")
    return override(scenario, changed) if changed else scenario

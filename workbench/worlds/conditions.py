"""The conditions of a simulated world: pace, fees, latencies, faults, market; and its hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.core.errors import (
    IllegalTransition,
)
from workbench.core.ports import Service
from workbench.scenario import FAULT_SITES, ChainSettings, Fault
from workbench.services.otc.rates import PriceSource, RateSource
from workbench.worlds.rules import (
    PayoutConfig,
)

SELLER_URL, FACILITATOR_URL = "http://seller", "http://facilitator"
PAYOUTS_URL = "http://payouts"
SERVICES = ("seller", "facilitator", "tracker", "payouts")
RANKS = {"miner": 0, "facilitator": 1, "seller": 2, "payouts": 3, "tracker": 4}
"""Who comes first of those who wake at the same moment: the chain; then whoever has most to ask
of the node, so that the others work while it does."""
HTTP_SITES = [site for site in FAULT_SITES if site.startswith("http.")]
RPC_SITES = [site for site in FAULT_SITES if site.startswith(("rpc.", "tx."))]


@dataclass(frozen=True)
class WorldConditions:
    """How it is to live in a world: the chain's pace and fees, latencies, faults, the market.

    `slow_ms`: how long a host takes to answer. `market`: EUR/USD outside the pool; the keeper and
    the buyers look there. `on_launch` gets each service, by name, before it starts; `on_torn` one
    whose journal has facts that cannot follow each other, once it is ended (None: it is raised).
    `takes_orders`: any fault may be ordered while time passes (see `World.take_order`).
    """

    chain: ChainSettings = field(default_factory=ChainSettings)
    faults: tuple[Fault, ...] = ()
    slow_ms: dict[str, int] = field(default_factory=dict)
    market: RateSource | None = None
    prices: PriceSource | None = None
    on_launch: Callable[[str, Service], None] = lambda name, service: None
    on_torn: Callable[[str, IllegalTransition], None] | None = None
    services: tuple[str, ...] = SERVICES
    credits: PayoutConfig = field(default_factory=PayoutConfig)
    takes_orders: bool = False

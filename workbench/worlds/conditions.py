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
"""The order of tasks that wake at the same moment, lowest first: the miner, then the service with
most RPC calls, so that the others work while the node answers."""
HTTP_SITES = [site for site in FAULT_SITES if site.startswith("http.")]
RPC_SITES = [site for site in FAULT_SITES if site.startswith(("rpc.", "tx."))]


@dataclass(frozen=True)
class WorldConditions:
    """The conditions of a simulated world.

    `slow_ms`: extra response time by host. `market`: EUR/USD outside the pool, for keeper and
    buyers. `on_launch`: called with each service and its name before it starts. `on_torn`: called
    with a service whose journal is inconsistent, after it was ended (None: the error is raised).
    `takes_orders`: any fault may be ordered during the run (`World.take_order`).
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

"""The content of a scenario as frozen values.

All are integers, with the unit last in the name. Amounts are base units; `_ppm` is a probability in
parts per million, `_bps` 1/100 %, `_pips` 1/10,000 %, `_e8` USDC per EURC times 10**8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from workbench.core.pricing import Price
from workbench.core.settlement import RETRIES
from workbench.scenario.field import ScenarioField

PPM = 1_000_000

PAYOUT_PLANTS = ("send_before_store", "requeue_when_passed", "refund_on_first_failure")
PLANTS = (
    "pay_before_final", "lose_refund", "foreign_nonce", "forget_fact", "forget_step", "leak",
    *PAYOUT_PLANTS,
)  # fmt: skip
"""Planted rules that a scenario may order, to test the checkers."""

PATH_MODELS = ("constant", "drift", "gbm", "jumps", "csv")
ARRIVAL_MODELS = ("even", "poisson", "burst")
SIZE_MODELS = ("fixed", "uniform", "lognormal")
FUND_BY = ("authorization", "permit")
STATE_ROOTS = ("auto", "computed", "omitted")
ROOTS_WORTH = 50_000
"""Below this number of blocks times settlements the node computes state roots. A state root hashes
the whole state: 4 µs a block and settlement on average. Without them a run costs 0.1 s at the
start, and 0.2 ms for each settlement."""

KINDS = {
    "honest": "buys, pays, and waits for the end",
    "walks": "asks for the price, and never pays",
    "replays": "sends the same payment many times at once",
    "tampers": "changes the terms after signing",
    "drains": "moves its EURC away after signing",
    "revokes": "cancels its ERC-3009 authorization after signing",
    "stale": "pays after the quote's lifetime",
}
"""The behaviour of buyers, by kind."""

USER_KINDS = {
    "honest": "asks for what it has, and waits for the end",
    "doubles": "sends the same request many times at once, and again after the end",
    "overspends": "asks twice for the whole balance, at once",
    "changes": "asks for something else under the same key",
    "refuses": "is paid to a contract that refuses in every other block",
}
"""The behaviour of users of credits, by kind."""

ASSETS = {
    "eth": "the native currency",
    "erc20": "YPS, by transfer",
    "eip3009": "USDC, by authorizations that the token takes once",
}
"""The assets that pay credits."""


@dataclass(frozen=True, slots=True)
class FaultSite:
    """One fault site.

    `each`: what one pass of it is. `unit`: of the parameter, "" without one. `low` to `high`: range
    of the draw if a file gives none. `least` to `most`: what a file may give.
    """

    does: str
    each: str
    unit: str = ""
    low: int = 0
    high: int = 0
    least: int = 0
    most: int = 0


def _crash(service: str) -> FaultSite:
    does = f"the {service} ends just before or after a commit, and starts again later"
    return FaultSite(does, "commit", "s", 1, 30, 0, 3_600)


FAULT_SITES = {
    "http.lost": FaultSite("the request never arrives", "message"),
    "http.delayed": FaultSite(
        "the request arrives late", "message", "ms", 100, 5_000, 1, 3_600_000
    ),
    "http.duplicated": FaultSite("the request arrives twice", "message"),
    "http.cut": FaultSite("the server acts, and its answer is lost", "message"),
    "crash.seller": _crash("seller"),
    "crash.facilitator": _crash("facilitator"),
    "crash.tracker": _crash("tracker"),
    "crash.payouts": _crash("payout service"),
    "rpc.error": FaultSite("the node answers with an error", "message"),
    "rpc.delayed": FaultSite("the node answers late", "message", "ms", 100, 5_000, 1, 3_600_000),
    "rpc.stale": FaultSite(
        "the node answers from an older block", "message", "blocks", 1, 3, 1, 32
    ),
    "tx.dropped": FaultSite("a transaction is accepted and never mined", "message"),
    "tx.delayed": FaultSite("a transaction is mined late", "message", "blocks", 1, 5, 1, 64),
    "tx.reordered": FaultSite("a transaction is mined before earlier ones of others", "message"),
    "chain.reorg": FaultSite("the newest blocks are replaced", "block", "blocks", 1, 2, 1, 32),
    "clock.skew": FaultSite("a service's clock is off", "block", "s", -30, 30, -3_600, 3_600),
    "fee.spike": FaultSite("the base fee is multiplied", "block", "x", 2, 10, 2, 1_000),
    "pool.drained": FaultSite(
        "liquidity is pulled, and returns later", "block", "%", 30, 90, 1, 99
    ),
}
"""Every fault site by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSettings:
    """The chain: a block every `block_time_ms`; a small `block_gas_limit` causes congestion.

    `state_root`: whether blocks have one; auto: if they are not too many.
    """

    block_time_ms: int = 1_000
    finality_blocks: int = 2
    base_fee_wei: int = 10**9
    block_gas_limit: int = 30_000_000
    rpc_latency_ms: int = 0
    http_latency_ms: tuple[int, int] = (0, 0)
    state_root: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePath:
    """The path of EUR/USD. `points`: (seconds from the start, rate), read from the CSV `file`.

    Fields by model: constant none; drift, gbm, jumps `drift_bps_per_day`; gbm and jumps
    `volatility_bps_per_year`; jumps `jump_every_s` (mean) and `jump_bps` (size, up or down).
    `gaps`: "refuse", or "hold" the last rate over a gap of the CSV.
    """

    model: str = "constant"
    start_e8: int = 110_000_000
    drift_bps_per_day: int = 0
    volatility_bps_per_year: int = 0
    jump_every_s: int = 0
    jump_bps: int = 0
    file: str = ""
    gaps: str = "refuse"
    points: tuple[tuple[int, int], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbitrageurSettings:
    """Acts every `every_s` if the pool is more than `edge_bps` off the market."""

    every_s: int = 10
    edge_bps: int = 10
    max_eurc: int = 10**6 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """EUR/USD outside, and the pool. The path moves every `step_s`; the reference rate follows it
    every `keeper_every_s`."""

    path: RatePath = field(default_factory=RatePath)
    step_s: int = 10
    pool_usdc: int = 10**9 * 10**6
    lp_fee_pips: int = 500
    band_bps: int = 100
    rate_max_age_s: int = 86_400
    keeper_every_s: int = 60
    arbitrageur: ArbitrageurSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Arrivals: `every_ms` apart, on average for poisson; burst: all at once."""

    model: str = "even"
    every_ms: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseSize:
    """The amount of a purchase, in YPS base units. fixed: low = high.

    lognormal: the median is the geometric mean of `low_units` and `high_units`, `sigma_bps` is the
    deviation of the logarithm times 10,000, and values outside of the range are drawn again.
    """

    model: str = "fixed"
    low_units: int = 100 * 10**18
    high_units: int = 100 * 10**18
    sigma_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerGroup:
    """`count` buyers of a kind, each with its own key and `wallet_eurc`, one purchase each."""

    count: int
    arrivals: Arrivals = field(default_factory=Arrivals)
    size: PurchaseSize = field(default_factory=PurchaseSize)
    slippage_bps: int = 100
    patience_s: int = 900
    kind: str = "honest"
    fund_by: str = "authorization"
    wallet_eurc: int = 10**6 * 10**6
    start_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerSettings:
    """The seller. `price_follows_market`: the price is constant in EUR.

    `delay_ms`: its response time.
    """

    price: Price = field(default_factory=lambda: Price.parse("1.10"))
    price_follows_market: bool = False
    quote_lifetime_s: int = 600
    swap_window_s: int = 600
    inventory_units: int = 10**7 * 10**18
    delay_ms: int = 0
    poll_ms: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilitatorSettings:
    """The facilitator. `retries`: of a mined revert, before the refund."""

    poll_ms: int = 1_000
    finality_timeout_s: int = 600
    retries: int = RETRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningPattern:
    """`times` times, each of `low_credits` to `high_credits`."""

    times: int = 1
    arrivals: Arrivals = field(default_factory=Arrivals)
    low_credits: int = 10
    high_credits: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class UserGroup:
    """`count` users of a kind. Each earns, and requests payouts from its first credits on.

    `arrivals` of the group: when its users come.
    """

    count: int
    kind: str = "honest"
    arrivals: Arrivals = field(default_factory=Arrivals)
    start_s: int = 0
    earns: EarningPattern = field(default_factory=EarningPattern)
    asks: EarningPattern = field(default_factory=EarningPattern)
    patience_s: int = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSettings:
    """The payout service, and its users, who are paid in `asset`.

    `batch`: most payouts in one transaction.
    """

    users: tuple[UserGroup, ...]
    asset: str = "eth"
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A site that is enabled for a seed (`active_ppm`), and then fires (`chance_ppm` a pass).

    Between `start_s` and `stop_s` only. `low` to `high`: the site's parameter, in the site's unit.
    """

    site: str
    chance_ppm: int
    active_ppm: int = PPM
    low: int = 0
    high: int = 0
    start_s: int = 0
    stop_s: int


class ScenarioFormat(Protocol):
    """The file format of scenarios: it imports this module, so it cannot be imported here."""

    def fields(self, scenario: Scenario) -> list[ScenarioField]: ...

    def to_json(self, scenario: Scenario) -> dict[str, Any]: ...

    def from_json(self, data: Any) -> Scenario: ...


_installed: list[ScenarioFormat] = []


def install_format(scenario_format: ScenarioFormat) -> None:
    """Set the file format. The package `workbench.scenario` calls this when it is imported."""
    _installed[:] = [scenario_format]


def _format() -> ScenarioFormat:
    return _installed[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One world and what happens in it. Faults stop after `duration_s` at the latest; then
    everything must end within `settle_s`."""

    name: str
    about: str
    seed: int = 1
    duration_s: int
    settle_s: int = 1_800
    chain: ChainSettings = field(default_factory=ChainSettings)
    market: Market = field(default_factory=Market)
    buyers: tuple[BuyerGroup, ...] = ()
    seller: SellerSettings = field(default_factory=SellerSettings)
    facilitator: FacilitatorSettings = field(default_factory=FacilitatorSettings)
    payouts: PayoutSettings | None = None
    faults: tuple[Fault, ...] = ()
    plant: str = ""

    @property
    def has_reorgs(self) -> bool:
        """Return True if reorgs may happen, which anvil does correctly only with state roots."""
        return any(fault.site == "chain.reorg" for fault in self.faults)

    @property
    def has_state_roots(self) -> bool:
        """Return True if the node computes state roots. They are part of block hashes and of the
        trace."""
        if self.chain.state_root != "auto":
            return self.chain.state_root == "computed"
        if self.has_reorgs:
            return True
        blocks = 1_000 * self.duration_s // self.chain.block_time_ms
        return worth_a_state_root(blocks, sum(group.count for group in self.buyers))

    def fields(self) -> list[ScenarioField]:
        """Return every value that can be set in this scenario, as `override` takes it."""
        return _format().fields(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain data in the words of a file, with every default."""
        return _format().to_json(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the scenario of `to_json` data. Raises ScenarioError."""
        read = _format().from_json(data)
        return cls(**{name: getattr(read, name) for name in cls.__slots__})


def worth_a_state_root(blocks: int, settlements: int) -> bool:
    """Return True if this many blocks with this many settlements are few enough for state roots."""
    return blocks * settlements <= ROOTS_WORTH

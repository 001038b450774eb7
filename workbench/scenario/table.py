"""The file format as one table: name, kind, meaning and model attribute of each field.

Reading, showing, overriding and `scenarios/schema.json` follow this table. Defaults are those of
the model.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from workbench.core.money import EURC, USDC, YPS
from workbench.core.pricing import MAX_SLIPPAGE_BPS
from workbench.scenario import kinds as k
from workbench.scenario import measures as u
from workbench.scenario import model as m
from workbench.scenario.kinds import ValueKind

DAY_S = 86_400
YEAR_S = 365 * DAY_S
HOUR_MS = 3_600_000
UINT96_MAX = 2**96 - 1
"""The vault's own bound of an amount of EURC or USDC."""
MIN_RATE_E8, MAX_RATE_E8 = 10_000_000, 1_000_000_000
"""The hook's bounds: 0.1 to 10 USDC for one EURC."""
MAX_BAND_BPS = 5_000
MAX_LP_FEE_PIPS = 100_000
MAX_AGE_S = 30 * DAY_S
EVERY = ("every model",)


@dataclass(frozen=True, slots=True)
class TableField:
    """One field. `into`: the attributes it fills (two for a range).

    `only`: the models in which it has a meaning (empty: all); `needed`: those in which it is
    required (EVERY: always). `many`: a list of sections; `optional`: a section that may be `none`,
    a list that may be empty.
    """

    name: str
    into: tuple[str, ...]
    kind: ValueKind | TableSection
    meaning: str
    only: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False

    def used_by(self, model: str) -> bool:
        return not self.only or model in self.only

    def needed_by(self, model: str) -> bool:
        return self.needed == EVERY or model in self.needed


@dataclass(frozen=True, slots=True)
class TableSection:
    """A mapping of fields that becomes a `make`."""

    make: type
    items: tuple[TableField, ...]

    def item(self, name: str) -> TableField | None:
        return next((item for item in self.items if item.name == name), None)

    def default(self, attribute: str) -> Any:
        """Return the model's default, or MISSING."""
        found = next(each for each in fields(self.make) if each.name == attribute)
        if found.default_factory is not MISSING:
            return found.default_factory()
        return found.default


def _at(
    name: str, into: str, kind: ValueKind | TableSection, meaning: str, **more: Any
) -> TableField:
    return TableField(name, tuple(into.split()), kind, meaning, **more)


def _seconds(low: int, high: int, example: str) -> ValueKind:
    return k.quantity(u.SECONDS, low, high, example)


def _milliseconds(low: int, high: int, example: str) -> ValueKind:
    return k.quantity(u.MILLISECONDS, low, high, example)


_POLL = _milliseconds(10, 60_000, '"1 s"')
_EURC = k.amount(EURC, UINT96_MAX, '"5000000 EURC"')
_YPS = k.amount(YPS, 2**128 - 1, '"100 YPS"')

CHAIN = TableSection(m.ChainSettings, (
    _at("block_time", "block_time_ms", k.whole_seconds_ms(1, 3_600, '"2 s"'),
        "time from block to block, in whole seconds"),
    _at("finality", "finality_blocks", k.quantity(u.BLOCKS, 0, 10_000, '"2 blocks"'),
        "blocks on top of a swap before it is executed; the vault's gate is the same"),
    _at("base_fee", "base_fee_wei", k.quantity(u.WEI, 0, 10**11, '"1 gwei"'),
        "base fee of a unit of gas"),
    _at("block_gas_limit", "block_gas_limit",
        k.quantity(u.GAS, 1_000_000, 10**9, '"30 Mgas"'), "gas of a block: small is congested"),
    _at("rpc_latency", "rpc_latency_ms", _milliseconds(0, HOUR_MS, '"20 ms"'),
        "how long the node takes to answer"),
    _at("http_latency", "http_latency_ms", k.span(u.MILLISECONDS, 0, HOUR_MS, '"5 ms to 80 ms"'),
        "how long a message between services takes, each way"),
    _at("state_root", "state_root", k.choice(m.STATE_ROOTS, '"omitted"'),
        "whether blocks have one: omitted, they are quick however much has happened"),
))  # fmt: skip

PATH = TableSection(m.RatePath, (
    _at("model", "model", k.choice(m.PATH_MODELS, '"gbm"'), "how EUR/USD moves"),
    _at("start", "start_e8", k.rate(MIN_RATE_E8, MAX_RATE_E8, '"1.10"'),
        "USDC for one EURC at the start", only=("constant", "drift", "gbm", "jumps")),
    _at("drift", "drift_bps_per_day",
        k.quantity(u.BPS_PER_DAY, -5_000, 5_000, '"0.5 % per day"'),
        "steady movement", only=("drift", "gbm", "jumps"), needed=("drift",)),
    _at("volatility", "volatility_bps_per_year",
        k.quantity(u.BPS_PER_YEAR, 0, 1_000_000, '"8 % per year"'),
        "deviation of the logarithm in a year", only=("gbm", "jumps"), needed=("gbm",)),
    _at("jump_every", "jump_every_s", _seconds(1, YEAR_S, '"30 min"'),
        "time between jumps, in the mean", only=("jumps",), needed=("jumps",)),
    _at("jump", "jump_bps", k.quantity(u.BPS, 1, 5_000, '"1 %"'),
        "size of a jump, up or down", only=("jumps",), needed=("jumps",)),
    _at("file", "file", k.text(300, '"data/eurusd.csv"'),
        "CSV of seconds and rate, found from the folder of this file",
        only=("csv",), needed=("csv",)),
    _at("gaps", "gaps", k.choice(("refuse", "hold"), '"hold"'),
        "whether the last rate holds over a gap of more than 10 steps", only=("csv",)),
))  # fmt: skip

ARBITRAGEUR = TableSection(m.ArbitrageurSettings, (
    _at("every", "every_s", _seconds(1, YEAR_S, '"10 s"'), "how often it looks"),
    _at("edge", "edge_bps", k.quantity(u.BPS, 0, 5_000, '"0.1 %"'),
        "acts when the pool is further than this from the market"),
    _at("max", "max_eurc", _EURC, "the most that one trade moves"),
))  # fmt: skip

MARKET = TableSection(m.Market, (
    _at("path", "path", PATH, "EUR/USD outside"),
    _at("step", "step_s", _seconds(1, DAY_S, '"10 s"'), "how often EUR/USD moves"),
    _at("pool", "pool_usdc", k.amount(USDC, UINT96_MAX, '"1000000 USDC"'),
        "depth of the pool, on its USDC side"),
    _at("lp_fee", "lp_fee_pips", k.quantity(u.PIPS, 0, MAX_LP_FEE_PIPS, '"0.05 %"'),
        "what liquidity providers take of a swap"),
    _at("band", "band_bps", k.quantity(u.BPS, 0, MAX_BAND_BPS, '"1 %"'),
        "how much worse than the reference rate a swap may be"),
    _at("rate_max_age", "rate_max_age_s", _seconds(1, MAX_AGE_S, '"24 h"'),
        "how long a reference rate may be used"),
    _at("keeper_every", "keeper_every_s", _seconds(1, YEAR_S, '"1 min"'),
        "how often the reference rate follows the market"),
    _at("arbitrageur", "arbitrageur", ARBITRAGEUR, "who brings the pool back to the market",
        optional=True),
))  # fmt: skip

ARRIVALS = TableSection(m.Arrivals, (
    _at("model", "model", k.choice(m.ARRIVAL_MODELS, '"poisson"'), "burst: all at once"),
    _at("every", "every_ms", _milliseconds(1, 1_000 * YEAR_S, '"30 s"'),
        "time from one to the next; in the mean for poisson", only=("even", "poisson")),
))  # fmt: skip

SPREAD = ("uniform", "lognormal")
SIZE = TableSection(m.PurchaseSize, (
    _at("model", "model", k.choice(m.SIZE_MODELS, '"uniform"'), "how sizes are spread"),
    _at("amount", "low_units high_units", k.both(_YPS), "what each buys", only=("fixed",)),
    _at("low", "low_units", _YPS, "the least", only=SPREAD, needed=SPREAD),
    _at("high", "high_units", _YPS, "the most", only=SPREAD, needed=SPREAD),
    _at("sigma", "sigma_bps", k.quantity(u.BPS, 1, 100_000, '"50 %"'),
        "deviation of the logarithm", only=("lognormal",), needed=("lognormal",)),
))  # fmt: skip

BUYERS = TableSection(m.BuyerGroup, (
    _at("count", "count", k.integer(1, 1_000_000, "20"), "how many; each buys once", needed=EVERY),
    _at("kind", "kind", k.choice(tuple(m.KINDS), '"honest"'),
        "; ".join(f"{name}: {does}" for name, does in m.KINDS.items())),
    _at("arrivals", "arrivals", ARRIVALS, "when they come"),
    _at("start", "start_s", _seconds(0, YEAR_S, '"1 min"'), "when the first may come"),
    _at("size", "size", SIZE, "how much each buys"),
    _at("slippage", "slippage_bps", k.quantity(u.BPS, 0, MAX_SLIPPAGE_BPS, '"1 %"'),
        "what the budget adds to the price at the reference rate"),
    _at("patience", "patience_s", _seconds(1, YEAR_S, '"15 min"'),
        "how long a buyer asks after its settlement"),
    _at("fund_by", "fund_by", k.choice(m.FUND_BY, '"permit"'),
        "how the budget may be pulled: ERC-3009 authorization, or EIP-2612 permit"),
    _at("wallet", "wallet_eurc", _EURC, "what each owns"),
))  # fmt: skip

SELLER = TableSection(m.SellerSettings, (
    _at("price", "price", k.price(UINT96_MAX, '"1.10"'), "USDC for one whole YPS"),
    _at("price_follows_market", "price_follows_market", k.BOOLEAN,
        "whether the price in USDC moves with EUR/USD"),
    _at("quote_lifetime", "quote_lifetime_s", _seconds(10, DAY_S, '"10 min"'),
        "how long an offer may be funded"),
    _at("swap_window", "swap_window_s", _seconds(1, DAY_S, '"10 min"'),
        "how long after that it may be swapped"),
    _at("inventory", "inventory_units", _YPS, "what the seller owns"),
    _at("delay", "delay_ms", _milliseconds(0, HOUR_MS, '"200 ms"'), "how long it thinks"),
    _at("poll", "poll_ms", _POLL, "how often it looks"),
))  # fmt: skip

FACILITATOR = TableSection(m.FacilitatorSettings, (
    _at("poll", "poll_ms", _POLL, "how often it looks"),
    _at("finality_timeout", "finality_timeout_s", _seconds(1, DAY_S, '"10 min"'),
        "then waiting for confirmations is an alarm"),
    _at("retries", "retries", k.integer(0, 10_000, "2"),
        "how often an act that was mined and reverted is tried again, at the next look; "
        "then it is refunded"),
))  # fmt: skip

PATTERN = TableSection(m.EarningPattern, (
    _at("times", "times", k.integer(1, 10_000, "3"), "how often each user does it"),
    _at("arrivals", "arrivals", ARRIVALS, "when, counted from the user's beginning"),
    _at("credits", "low_credits high_credits",
        k.span(u.CREDITS, 1, 10**12, '"1 to 20 credits"'), "how many at a time"),
))  # fmt: skip

USERS = TableSection(m.UserGroup, (
    _at("count", "count", k.integer(1, 1_000_000, "10"), "how many", needed=EVERY),
    _at("kind", "kind", k.choice(tuple(m.USER_KINDS), '"honest"'),
        "; ".join(f"{name}: {does}" for name, does in m.USER_KINDS.items())),
    _at("arrivals", "arrivals", ARRIVALS, "when they come"),
    _at("start", "start_s", _seconds(0, YEAR_S, '"1 min"'), "when the first may come"),
    _at("earns", "earns", PATTERN, "the credits that each earns"),
    _at("asks", "asks", PATTERN,
        "the payouts that each asks for, from its first credits on; never more than it has"),
    _at("patience", "patience_s", _seconds(1, YEAR_S, '"1 h"'),
        "how long a user asks after a payout"),
))  # fmt: skip

PAYOUTS = TableSection(m.PayoutSettings, (
    _at("asset", "asset", k.choice(tuple(m.ASSETS), '"erc20"'),
        "what is paid; " + "; ".join(f"{name}: {is_}" for name, is_ in m.ASSETS.items())),
    _at("batch", "batch", k.integer(1, 100, "10"),
        "most payouts in one transaction, by the PayoutBatcher; 1: each has its own"),
    _at("users", "users", USERS, "groups of users", needed=EVERY, many=True),
))  # fmt: skip

MEASURES = {
    "ms": u.MILLISECONDS,
    "s": u.SECONDS,
    "blocks": u.BLOCKS,
    "x": u.TIMES,
    "%": u.PERCENT,
}
"""The notation of the unit of a site's parameter."""

_CHANCE = k.quantity(u.CHANCE, 0, m.PPM, '"0.5 %"')


def _fault(site: m.FaultSite) -> TableSection:
    kind = site.unit and k.span(
        MEASURES[site.unit],
        site.least,
        site.most,
        f'"{MEASURES[site.unit].show(site.low)} to {MEASURES[site.unit].show(site.high)}"',
    )
    parameter = (
        _at("range", "low high", kind, f"what is drawn for one ({site.unit})") if kind else None
    )
    items = (
        _at("chance", "chance_ppm", _CHANCE, f"probability, each {site.each}", needed=EVERY),
        _at("active", "active_ppm", _CHANCE, "probability that a seed has this fault at all"),
        parameter,
        _at("start", "start_s", _seconds(0, YEAR_S, '"1 min"'), "not before"),
        _at("stop", "stop_s", _seconds(1, YEAR_S, '"10 min"'), "not after; default: `duration`"),
    )
    return TableSection(m.Fault, tuple(filter(None, items)))


FAULTS = {name: _fault(site) for name, site in m.FAULT_SITES.items()}
"""The section of each site; `site` itself is its key."""

FILE = TableSection(m.Scenario, (
    _at("about", "about", k.text(2_000, '"what question this answers"'),
        "the question that this scenario answers", needed=EVERY),
    _at("seed", "seed", k.integer(0, 2**63 - 1, "7"), "everything random comes from it"),
    _at("duration", "duration_s", _seconds(1, YEAR_S, '"10 min"'),
        "buyers come and faults happen for so long", needed=EVERY),
    _at("settle_within", "settle_s", _seconds(1, YEAR_S, '"30 min"'),
        "then everything must have ended within so long"),
    _at("chain", "chain", CHAIN, "the chain"),
    _at("market", "market", MARKET, "EUR/USD and the pool"),
    _at("buyers", "buyers", BUYERS, "groups of buyers; none where there are payouts alone",
        many=True, optional=True),
    _at("seller", "seller", SELLER, "the seller"),
    _at("facilitator", "facilitator", FACILITATOR, "the facilitator"),
    _at("payouts", "payouts", PAYOUTS, "credits that are earned and paid out", optional=True),
    _at("plant", "plant", k.choice(m.PLANTS, f'"{m.PLANTS[0]}"', empty=True),
        "a rule to break on purpose, which the run must then report"),
))  # fmt: skip
"""The whole file except `faults`, whose names are sites; see `reading`."""
FAULTS_MEANING = "what goes wrong: a site, and its chance or its settings (or a list of them)"

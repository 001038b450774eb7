"""Settings that contradict each other, each reported with its arithmetic.

Only what no run could show is refused: a budget below the price is a valid question; a wait that
ends before its event is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from workbench.core.money import EURC, YPS, Amount
from workbench.core.payout import batch_gas
from workbench.core.pricing import eurc_budget
from workbench.core.settlement import RETRIES
from workbench.scenario.measures import BPS, MILLISECONDS, PIPS, SECONDS
from workbench.scenario.model import (
    PAYOUT_PLANTS,
    Arrivals,
    BuyerGroup,
    PayoutSettings,
    Scenario,
    UserGroup,
)

CheckProblem = tuple[str, str]
"""The reported field, and the problem."""


def contradictions(scenario: Scenario) -> list[CheckProblem]:
    """Return all contradictions, by field."""
    return [
        *_nobody(scenario),
        *_finality(scenario),
        *_deadlines(scenario),
        *_retries(scenario),
        *_market(scenario),
        *(found for n, group in enumerate(scenario.buyers) for found in _group(scenario, n, group)),
        *_inventory(scenario),
        *_payouts(scenario),
        *_faults(scenario),
    ]


def _nobody(scenario: Scenario) -> Iterator[CheckProblem]:
    if not scenario.buyers and scenario.payouts is None:
        yield "buyers", "nobody comes: write `buyers:`, `payouts:`, or both, and their fields."


def _confirmations(scenario: Scenario) -> tuple[int, str]:
    """Return the shortest time from a swap to its execution in milliseconds, and the sum as
    text."""
    chain, poll_ms = scenario.chain, scenario.facilitator.poll_ms
    total_ms = chain.finality_blocks * chain.block_time_ms + poll_ms
    blocks, each = chain.finality_blocks, SECONDS.show(chain.block_time_ms // 1_000)
    look = f"{MILLISECONDS.show(poll_ms)} until the facilitator looks"
    return total_ms, f"{blocks} blocks × {each} + {look} = {_s(total_ms)} of confirmations"


def _s(milliseconds: int) -> str:
    """Return seconds as text, so that sums can be checked by eye."""
    return f"{milliseconds / 1_000:g} s"


def _finality(scenario: Scenario) -> Iterator[CheckProblem]:
    """Check that confirmations fit into time-outs and into the patience of buyers."""
    total_ms, total = _confirmations(scenario)
    limits = {
        "seller.swap_window": scenario.seller.swap_window_s,
        "facilitator.finality_timeout": scenario.facilitator.finality_timeout_s,
    }
    for name, limit_s in limits.items():
        if total_ms > 1_000 * limit_s:
            yield "chain.finality", f"{total} do not fit in {name}, {limit_s} s."
    for n, group in enumerate(scenario.buyers):
        if group.kind != "walks" and total_ms > 1_000 * group.patience_s:
            yield f"buyers.{n}.patience", f"{group.patience_s} s end before {total}."


def _deadlines(scenario: Scenario) -> Iterator[CheckProblem]:
    """Check that an offer lives long enough, and that a settlement fits into `settle_within`."""
    seller, block_s = scenario.seller, scenario.chain.block_time_ms // 1_000
    if seller.quote_lifetime_s < 2 * block_s:
        yield (
            "seller.quote_lifetime",
            (
                f"{seller.quote_lifetime_s} s end before a settlement is created and funded: "
                f"2 blocks × {block_s} s = {2 * block_s} s."
            ),
        )
    confirm_ms, _ = _confirmations(scenario)
    lifetime, window = seller.quote_lifetime_s, seller.swap_window_s
    longest_ms = 1_000 * (lifetime + window) + confirm_ms
    if longest_ms > 1_000 * scenario.settle_s:
        yield (
            "settle_within",
            (
                f"{scenario.settle_s} s are less than one settlement may take: quote_lifetime "
                f"{lifetime} s + swap_window {window} s + confirmations {_s(confirm_ms)} "
                f"= {_s(longest_ms)}."
            ),
        )


def _retries(scenario: Scenario) -> Iterator[CheckProblem]:
    """Each try is mined in a block of its own. The default is not checked."""
    seller, retries = scenario.seller, scenario.facilitator.retries
    block_s = scenario.chain.block_time_ms // 1_000
    blocks = 2 + 1 + retries
    limit_s = seller.quote_lifetime_s + seller.swap_window_s
    if retries > RETRIES and blocks * block_s > limit_s:
        yield (
            "facilitator.retries",
            (
                f"the last of {retries} comes after the deadline: created, funded, and 1 + "
                f"{retries} swaps are {blocks} blocks × {block_s} s = {blocks * block_s} s, more "
                f"than quote_lifetime {seller.quote_lifetime_s} s + swap_window "
                f"{seller.swap_window_s} s = {limit_s} s."
            ),
        )


def _market(scenario: Scenario) -> Iterator[CheckProblem]:
    """Check that the reference rate stays fresh, and that the band leaves room for the fee."""
    market = scenario.market
    if market.keeper_every_s > market.rate_max_age_s:
        yield (
            "market.keeper_every",
            (
                f"{market.keeper_every_s} s: the reference rate is too old after rate_max_age, "
                f"{market.rate_max_age_s} s, and no swap goes through until it is set again."
            ),
        )
    # In a moving market the pool may give more than the reference rate; here it never does.
    if market.path.model == "constant" and market.lp_fee_pips >= 100 * market.band_bps:
        yield (
            "market.band",
            (
                f"a band of {BPS.show(market.band_bps)} leaves no room for lp_fee "
                f"{PIPS.show(market.lp_fee_pips)}: at a constant rate no swap can go through."
            ),
        )


def _group(scenario: Scenario, n: int, group: BuyerGroup) -> Iterator[CheckProblem]:
    """Check one group of buyers."""
    at, size = f"buyers.{n}", group.size
    if size.low_units > size.high_units:
        low, high = Amount(size.low_units, YPS), Amount(size.high_units, YPS)
        yield f"{at}.size.low", f"{low} are more than high, {high}."
    elif size.model == "lognormal" and 100 * size.high_units < 101 * size.low_units:
        # Values outside of the range are drawn again, which would take too long for a small range.
        high = Amount(size.high_units, YPS)
        yield f"{at}.size.high", f"{high} are less than 1 % above low; take model fixed or uniform."
    else:
        yield from _purse(scenario, at, group)
    if group.kind == "revokes" and group.fund_by != "authorization":
        yield f"{at}.fund_by", "kind revokes cancels an ERC-3009 authorization; permit has none."
    yield from _comers(scenario, at, group.start_s, group.count, group.arrivals)


def _comers(
    scenario: Scenario, at: str, start_s: int, count: int, arrivals: Arrivals
) -> Iterator[CheckProblem]:
    """Check that they come before the end."""
    if start_s >= scenario.duration_s:
        yield f"{at}.start", f"{start_s} s are not before duration, {scenario.duration_s} s."
    elif arrivals.model != "burst":
        every_ms = arrivals.every_ms
        last_ms = 1_000 * start_s + (count - 1) * every_ms
        if last_ms > 1_000 * scenario.duration_s:
            mean = " in the mean" if arrivals.model == "poisson" else ""
            yield (
                f"{at}.count",
                (
                    f"the last of {count} comes{mean} after {start_s} s + "
                    f"{count - 1} × {_s(every_ms)} = {_s(last_ms)}, past duration, "
                    f"{scenario.duration_s} s."
                ),
            )


def _purse(scenario: Scenario, at: str, group: BuyerGroup) -> Iterator[CheckProblem]:
    """Check that the group can pay the smallest purchase at the first rate."""
    least, rate_e8 = group.size.low_units, scenario.market.path.start_e8
    required = scenario.seller.price.required_usdc(least)
    budget = eurc_budget(required, rate_e8, group.slippage_bps)
    if group.wallet_eurc < budget:
        yield (
            f"{at}.wallet",
            (
                f"{Amount(group.wallet_eurc, EURC)} do not pay for one purchase: "
                f"{Amount(least, YPS)} take a budget of {Amount(budget, EURC)} at the rate of the "
                f"start, slippage {BPS.show(group.slippage_bps)} included."
            ),
        )


def _inventory(scenario: Scenario) -> Iterator[CheckProblem]:
    """Check that the seller has enough for one purchase."""
    least = min((group.size.low_units for group in scenario.buyers), default=0)
    held = scenario.seller.inventory_units
    if held < least:
        yield (
            "seller.inventory",
            (f"{Amount(held, YPS)} are less than the smallest purchase, {Amount(least, YPS)}."),
        )


def _payouts(scenario: Scenario) -> Iterator[CheckProblem]:
    """Check the settings of payouts."""
    if scenario.payouts is not None:
        yield from _batch(scenario.payouts.batch, scenario.chain.block_gas_limit)
        for n, group in enumerate(scenario.payouts.users):
            yield from _users(scenario, scenario.payouts, f"payouts.users.{n}", group)
        return
    if scenario.plant in PAYOUT_PLANTS:
        yield "plant", f"{scenario.plant} breaks a rule of payouts, and there are no payouts."


def _batch(most: int, room: int) -> Iterator[CheckProblem]:
    """Check that a batch fits into a block."""
    needed = batch_gas(most, is_token=True)
    if most > 1 and needed > room:
        yield (
            "payouts.batch",
            f"{most} payouts may take {needed:,} gas, and a block has {room:,} "
            "(chain.block_gas_limit).",
        )


def _users(
    scenario: Scenario, side: PayoutSettings, at: str, group: UserGroup
) -> Iterator[CheckProblem]:
    """Check one group of users."""
    yield from _comers(scenario, at, group.start_s, group.count, group.arrivals)
    if group.kind == "refuses" and side.asset != "eth":
        yield f"{at}.kind", f"refuses needs asset eth: {side.asset} does not ask its receiver."
    if group.asks.low_credits > group.earns.times * group.earns.high_credits:
        most = group.earns.times * group.earns.high_credits
        yield (
            f"{at}.asks.credits",
            f"{group.asks.low_credits} credits at least are more than each earns, {most}.",
        )


def _faults(scenario: Scenario) -> Iterator[CheckProblem]:
    """Check that reorgs have state roots, and that faults are within the duration."""
    if scenario.has_reorgs and not scenario.has_state_roots:
        yield (
            "chain.state_root",
            "omitted does not go with chain.reorg: no block can be taken back.",
        )
    of_site = Counter(fault.site for fault in scenario.faults)
    seen: Counter[str] = Counter()
    for fault in scenario.faults:
        at = f"faults.{fault.site}"
        if of_site[fault.site] > 1:
            at = f"{at}.{seen[fault.site]}"
        seen[fault.site] += 1
        if fault.stop_s > scenario.duration_s:
            yield (
                f"{at}.stop",
                (
                    f"{fault.stop_s} s: faults end with duration, {scenario.duration_s} s, "
                    "so that everything can settle."
                ),
            )
        elif fault.start_s >= fault.stop_s:
            yield f"{at}.start", f"{fault.start_s} s are not before stop, {fault.stop_s} s."

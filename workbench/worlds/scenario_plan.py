"""What a scenario requires of its world: the contracts, and the rules of the services."""

from __future__ import annotations

from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses
from workbench.evm.deploy.plan import DeploymentPlan
from workbench.scenario import Scenario
from workbench.sim.checks.planted_rules import PAY_BEFORE_FINAL
from workbench.sim.people.subscriber import SECRET as SUBSCRIBER_SECRET
from workbench.sim.people.subscriber import URL as SUBSCRIBER_URL
from workbench.worlds.rules import PayoutConfig, WorldRules

UNITS_PER_CREDIT = {"eth": 10**15, "erc20": 10**16, "eip3009": 10**4}
"""Base units for one credit: 0.001 ETH, 0.01 YPS or 0.01 USDC."""
RECONCILE_S = 10.0
"""Virtual seconds between two reconciliations of the paying wallet."""


def plan_of(scenario: Scenario) -> DeploymentPlan:
    """Return the contracts that a scenario needs. A planted early payment needs a vault without a
    gate."""
    market = scenario.market
    gate = 0 if scenario.plant == PAY_BEFORE_FINAL else scenario.chain.finality_blocks
    return DeploymentPlan(
        finality_blocks=gate,
        rate_e8=market.path.points[0][1] if market.path.points else market.path.start_e8,
        band_bps=market.band_bps,
        rate_max_age_s=market.rate_max_age_s,
        lp_fee_pips=market.lp_fee_pips,
        pool_usdc=market.pool_usdc,
        seller_yps=scenario.seller.inventory_units,
        payout_batcher=scenario.payouts is not None and scenario.payouts.batch > 1,
    )


def credits_of(
    scenario: Scenario, addresses: Addresses, batcher: str | None = None
) -> PayoutConfig:
    """Return the settings of the payout service. `batcher`: the contract's address, or None."""
    asset = scenario.payouts.asset if scenario.payouts else "eth"
    token = {"erc20": addresses.asset, "eip3009": addresses.usdc}.get(asset)
    return PayoutConfig(
        token,
        None,
        UNITS_PER_CREDIT[asset],
        reconcile_s=RECONCILE_S,
        webhook_urls=(SUBSCRIBER_URL,) if scenario.payouts else (),
        webhook_secrets=(SUBSCRIBER_SECRET,),
        batcher=batcher,
        batch=scenario.payouts.batch if scenario.payouts else 1,
    )


def rules_of(scenario: Scenario) -> WorldRules:
    """Return the rules of the services."""
    early = scenario.plant == PAY_BEFORE_FINAL
    return WorldRules(
        price=scenario.seller.price,
        finality=FinalityPolicy(0 if early else scenario.chain.finality_blocks),
        quote_lifetime_s=scenario.seller.quote_lifetime_s,
        swap_window_s=scenario.seller.swap_window_s,
        finality_timeout_s=scenario.facilitator.finality_timeout_s,
        poll_s=scenario.seller.poll_ms / 1000,
        facilitator_poll_s=scenario.facilitator.poll_ms / 1000,
        keeper_every_s=scenario.market.keeper_every_s,
        retries=scenario.facilitator.retries,
    )

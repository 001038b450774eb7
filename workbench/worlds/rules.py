"""What a person may set about all services of a world, and the rules of each service from it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from random import Random

from workbench.core.finality import FinalityPolicy
from workbench.core.pricing import DEFAULT_CEILING_EURC, Price
from workbench.core.settlement import RETRIES
from workbench.evm.transactions.signer import KeySigner
from workbench.services.otc.buyer import BuyerRules
from workbench.services.otc.intake import MAX_OPEN_PER_BUYER
from workbench.services.otc.offer_check import DAY_S
from workbench.services.payouts.rules import PayoutRules


@dataclass(frozen=True)
class RoleKeys:
    """Private keys by role, as 0x hex. The repr shows none of them."""

    buyer: str = field(repr=False)
    seller: str = field(repr=False)
    facilitator: str = field(repr=False)
    keeper: str | None = field(default=None, repr=False)
    payer: str | None = field(default=None, repr=False)


class SystemRandomness:
    """Unpredictable tokens, for served and live worlds."""

    def token(self) -> str:
        return "0x" + secrets.token_hex(32)


class SeededRandomness:
    """The same tokens for the same seed."""

    def __init__(self, generator: Random) -> None:
        self._random = generator

    def token(self) -> str:
        return "0x" + self._random.randbytes(32).hex()


@dataclass(frozen=True)
class WorldRules:
    """What a person may set about all services. See `settings.SETTINGS` for meanings and units."""

    price: Price
    finality: FinalityPolicy
    slippage_bps: int = 100
    fund_by: str = "authorization"
    ceiling_eurc: int | None = DEFAULT_CEILING_EURC
    expected_price: Price | None = None
    price_tolerance_bps: int = 100
    max_deadline_s: int = DAY_S
    max_open_per_buyer: int | None = MAX_OPEN_PER_BUYER
    own_rate_e8: int | None = None
    quote_lifetime_s: int = 600
    swap_window_s: int = 600
    finality_timeout_s: int = 600
    poll_s: float = 0.5
    facilitator_poll_s: float | None = None
    keeper_every_s: int = 60
    retries: int = RETRIES
    sign_permits: bool = True


WEI_PER_CREDIT = 10**15
"""The seed's default: 0.001 of the native currency, in wei. It is not meant for tokens."""


@dataclass(frozen=True)
class PayoutConfig:
    """What a person may set about payouts. `units_per_credit`: None for the default.

    `batch`: payouts in one transaction of the contract at `batcher`; 1: one transaction each.
    """

    token: str | None = None
    decimals: int | None = None
    units_per_credit: int | None = None
    api_key: str | None = field(default=None, repr=False)
    daily_user: int | None = None
    daily_address: int | None = None
    daily_wallet: int | None = None
    approve_above: int | None = None
    reconcile_s: float = 3_600.0
    oldest_s: int = 1_800
    in_flight: int = 16
    wait_s: float = 0.0
    batcher: str | None = None
    batch: int = 1
    webhook_urls: tuple[str, ...] = field(default=(), repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    bump_after_s: float = 60.0


def payout_rules(credits_: PayoutConfig, chain_id: int, poll_s: float) -> PayoutRules:
    """Return the rules of the payout service."""
    return PayoutRules(
        chain_id=chain_id,
        units_per_credit=credits_.units_per_credit or WEI_PER_CREDIT,
        are_units_meant=credits_.units_per_credit is not None,
        poll_s=poll_s,
        api_key=credits_.api_key,
        daily_user=credits_.daily_user,
        daily_address=credits_.daily_address,
        daily_wallet=credits_.daily_wallet,
        approve_above=credits_.approve_above,
        reconcile_s=credits_.reconcile_s,
        oldest_s=credits_.oldest_s,
        in_flight=credits_.in_flight,
        wait_s=credits_.wait_s,
    )


def buyer_rules(rules: WorldRules) -> BuyerRules:
    """Return the rules of the buyer."""
    return BuyerRules(
        slippage_bps=rules.slippage_bps,
        ceiling_eurc=rules.ceiling_eurc,
        price=rules.expected_price,
        price_tolerance_bps=rules.price_tolerance_bps,
        max_deadline_s=rules.max_deadline_s,
        fund_by=rules.fund_by,
        poll_s=rules.poll_s,
    )


def address_of_key(key: str) -> str:
    """Return the account of a private key, in lower case."""
    return KeySigner(key).address

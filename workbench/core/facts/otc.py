"""Facts of the x402 settlement: the seller off chain, the vault, and the hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequested(Event):
    """The seller answered HTTP 402. The subject is the quote: the salt of the offered terms."""

    seller: str
    asset: str
    asset_amount: int
    required_usdc: int
    fund_deadline: int
    swap_deadline: int
    resource_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAuthorized(Event):
    """The seller claimed the buyer's signed terms."""

    quote: str
    buyer: str
    seller: str
    asset: str
    asset_amount: int
    required_usdc: int
    max_eurc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRejected(Event):
    """The seller claimed the payment, but it could not be created on the chain."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDelivered(Event):
    """The seller counted all confirmations of the execution."""

    buyer: str
    asset_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementCreated(Event):
    """The vault registered the signed terms."""

    contract: ClassVar[str] = "SettlementVault"
    buyer: str
    seller: str
    asset: str
    asset_amount: int
    required_usdc: int
    max_eurc: int
    fund_deadline: int
    swap_deadline: int
    resource_hash: str
    salt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementFunded(Event):
    """The vault holds the EURC budget and the asset."""

    contract: ClassVar[str] = "SettlementVault"
    eurc_amount: int
    asset_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementSwapped(Event):
    """The vault swapped EURC to the required USDC on Uniswap v4."""

    contract: ClassVar[str] = "SettlementVault"
    eurc_spent: int
    usdc_received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementExecuted(Event):
    """The vault paid the seller, delivered the asset and returned the unspent EURC."""

    contract: ClassVar[str] = "SettlementVault"
    asset_to_buyer: int
    usdc_to_seller: int
    eurc_returned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRefunded(Event):
    """The vault returned both legs to their owners."""

    contract: ClassVar[str] = "SettlementVault"
    eurc_returned: int
    asset_returned: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentParked(Event):
    """A token refused a transfer. The amount stays in the vault until its owner calls `claim`."""

    contract: ClassVar[str] = "SettlementVault"
    token: str
    owner: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSwapChecked(Event):
    """The amounts of the swap, as the pool hook measured them."""

    contract: ClassVar[str] = "FacilitatorHook"
    pool_id: str
    eurc_in: int
    usdc_out: int
    reference_rate_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBalanced(Event):
    """A balancer moved the pool's price towards the reference rate. It has no settlement.

    Prices are USDC for one EURC, times 10**8, rounded down.
    """

    contract: ClassVar[str] = "FacilitatorHook"
    pool_id: str
    balancer: str
    eurc_in: int
    """Negative if the pool paid out EURC."""
    usdc_out: int
    """Negative if the pool received USDC."""
    price_before_e8: int
    price_after_e8: int
    reference_rate_e8: int

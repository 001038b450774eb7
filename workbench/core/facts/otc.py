"""Facts of the x402 settlement: the seller off chain, the vault, and the hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequested(Event):
    """HTTP 402 was answered. The subject is the quote: the salt of the offered terms."""

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
    """The payment was claimed, and then could not be brought on chain."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDelivered(Event):
    """The seller saw the execution with all its confirmations."""

    buyer: str
    asset_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementCreated(Event):
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
    contract: ClassVar[str] = "SettlementVault"
    eurc_amount: int
    asset_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementSwapped(Event):
    contract: ClassVar[str] = "SettlementVault"
    eurc_spent: int
    usdc_received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementExecuted(Event):
    contract: ClassVar[str] = "SettlementVault"
    asset_to_buyer: int
    usdc_to_seller: int
    eurc_returned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRefunded(Event):
    contract: ClassVar[str] = "SettlementVault"
    eurc_returned: int
    asset_returned: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentParked(Event):
    """A token refused a push; the amount waits in the vault for its owner to `claim`."""

    contract: ClassVar[str] = "SettlementVault"
    token: str
    owner: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSwapChecked(Event):
    """The pool's side of the swap, as the hook measured it."""

    contract: ClassVar[str] = "FacilitatorHook"
    pool_id: str
    eurc_in: int
    usdc_out: int
    reference_rate_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBalanced(Event):
    """A balancer brought the pool's price nearer to the reference rate. About no settlement.

    `eurc_in` is below zero where EURC came out, `usdc_out` where USDC went in. Prices are USDC for
    one EURC, times 10**8, rounded down.
    """

    contract: ClassVar[str] = "FacilitatorHook"
    pool_id: str
    balancer: str
    eurc_in: int
    usdc_out: int
    price_before_e8: int
    price_after_e8: int
    reference_rate_e8: int

"""The checks of a buyer before it signs an offer. Nothing in the offer is trusted.

The terms are signed, so each of them is compared with the request, with the buyer's knowledge, or
with a bound. Every other field of the offer must agree with the terms, or be absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from workbench.core.errors import (
    DeadlineRefused,
    InvalidPayment,
    PriceRefused,
    SellerMismatch,
    TermsMismatch,
    WrongChain,
)
from workbench.core.money import USDC, Amount
from workbench.core.ports import Addresses
from workbench.core.pricing import BPS, Price
from workbench.core.x402 import TYPES, VERSION, ZERO_ADDRESS, Domain, Terms, complete_terms

DAY_S = 86_400


class PaymentRequirement(msgspec.Struct):
    """`payment_requirement` of a 402 answer. Amounts are integers or their decimal text."""

    chain_id: int
    settlement_token: str
    settlement_vault: str
    required_amount: int | str
    terms: dict[str, Any]
    version: str = VERSION
    payment_deadline: int | str | None = None
    resource: str | None = None
    asset_token: str | None = None
    asset_amount: int | str | None = None
    seller: str | None = None
    domain: dict[str, Any] | None = None
    types: dict[str, Any] | None = None
    primary_type: str = "Settlement"
    funding: list[str] = []


class OfferBody(msgspec.Struct):
    """The body of a 402 answer."""

    payment_requirement: PaymentRequirement


@dataclass(frozen=True, slots=True)
class OfferBounds:
    """What a buyer accepts. `seller`: the account that is paid, in lower case.

    `price`: the expected price of one whole asset (None: any below the ceiling), and the tolerance
    above it in basis points. `max_deadline_s`: seconds after the time of the chain.
    """

    seller: str
    price: Price | None = None
    price_tolerance_bps: int = 100
    max_deadline_s: int = DAY_S


@dataclass(frozen=True, slots=True)
class RequestedResource:
    """The request: resource, its hash as 0x hex, and the amount in base units."""

    resource: str
    resource_hash: str
    asset_amount: int


def checked_terms(
    offer: PaymentRequirement,
    asked: RequestedResource,
    place: tuple[Domain, Addresses],
    bounds: OfferBounds,
    now: int,
) -> Terms:
    """Return the offered terms, without buyer and budget. `now`: chain time, Unix seconds.

    Raises WrongChain, SellerMismatch, PriceRefused, DeadlineRefused, TermsMismatch or
    InvalidPayment with the field that is wrong.
    """
    domain, addresses = place
    _check_place(offer, domain)
    try:
        terms = complete_terms(offer.terms, ZERO_ADDRESS, 0)
    except InvalidPayment as why:
        raise TermsMismatch(f"the offer is malformed: {why.message}", hint=NOT_TRUSTED) from why
    _check_seller(terms, bounds.seller)
    _check_asked(terms, asked, addresses)
    _check_price(terms, asked, bounds)
    _check_deadlines(terms, bounds.max_deadline_s, now)
    _check_rest(offer, terms, asked, domain, addresses)
    return terms


NOT_TRUSTED = "Do not trust this seller, or update workbench."


def _check_place(offer: PaymentRequirement, domain: Domain) -> None:
    """Raise WrongChain for an offer on another chain or vault."""
    place = offer.chain_id, offer.settlement_vault.lower()
    if place != (domain.chain_id, domain.vault):
        raise WrongChain(
            f"the offer is for chain {place[0]} and vault {place[1][:80]}; the settings say "
            f"{domain.chain_id} and {domain.vault}.",
            hint="Check SETTLEMENT_VAULT_ADDRESS, or do not trust this seller.",
        )


def _check_seller(terms: Terms, seller: str) -> None:
    """Raise SellerMismatch unless the known seller is paid."""
    if terms.seller != seller:
        raise SellerMismatch(
            f"the offer would pay the seller {terms.seller}, and you buy from {seller}.",
            hint="Name the seller by --seller or SELLER_ADDRESS only if you know that address.",
        )


def _check_asked(terms: Terms, asked: RequestedResource, addresses: Addresses) -> None:
    """Raise TermsMismatch unless the offer is for the requested resource and amount."""
    if terms.resource_hash != asked.resource_hash:
        raise TermsMismatch(
            f"the offer's resourceHash is not that of the resource asked for, {asked.resource}.",
            hint=NOT_TRUSTED,
        )
    wanted = {"assetAmount": asked.asset_amount, "asset": addresses.asset}
    offered = {"assetAmount": terms.asset_amount, "asset": terms.asset}
    for name, value in wanted.items():
        if offered[name] != value:
            raise TermsMismatch(
                f"the offer's {name} is {offered[name]}, not the resource's {value}.",
                hint=NOT_TRUSTED,
            )


def _check_price(terms: Terms, asked: RequestedResource, bounds: OfferBounds) -> None:
    """Raise PriceRefused for a price above the bounds."""
    if terms.required_usdc == 0:
        raise PriceRefused("the offer's price is 0.", hint=NOT_TRUSTED)
    if bounds.price is None:
        return
    expected = bounds.price.required_usdc(asked.asset_amount)
    most = -(-expected * (BPS + bounds.price_tolerance_bps) // BPS)
    if terms.required_usdc > most:
        raise PriceRefused(
            f"the offer's price is {Amount(terms.required_usdc, USDC)}, above the "
            f"{Amount(expected, USDC)} that PRICE_PER_UNIT_USDC makes, and its tolerance.",
            hint="Raise PRICE_PER_UNIT_USDC or PRICE_TOLERANCE_BPS if the price is right.",
            required_usdc=terms.required_usdc,
            expected_usdc=expected,
        )


def _check_deadlines(terms: Terms, most_s: int, now: int) -> None:
    """Check that deadlines are ordered, in the future, and near enough not to lock money for
    long."""
    if terms.fund_deadline <= now:
        raise DeadlineRefused(
            f"the offer's fund deadline {terms.fund_deadline} has passed: it is {now}.",
            hint="Ask again; if this repeats, the seller's clock is wrong.",
        )
    if terms.swap_deadline < terms.fund_deadline:
        raise DeadlineRefused(
            f"the offer's swap deadline {terms.swap_deadline} is before its fund deadline.",
            hint=NOT_TRUSTED,
        )
    last = max(terms.fund_deadline, terms.swap_deadline)
    if last > now + most_s:
        raise DeadlineRefused(
            f"the offer's last deadline {last} is {last - now} s away, above your {most_s} s.",
            hint="Raise MAX_DEADLINE_S only if your money may be locked for so long.",
        )


def _check_rest(
    offer: PaymentRequirement,
    terms: Terms,
    asked: RequestedResource,
    domain: Domain,
    addresses: Addresses,
) -> None:
    """Check that unsigned fields agree with the signed ones."""
    told: dict[str, tuple[Any, Any]] = {
        "settlement_token": (offer.settlement_token.lower(), addresses.usdc),
        "required_amount": (_number(offer.required_amount), terms.required_usdc),
        "version": (offer.version, VERSION),
        "payment_deadline": (_number(offer.payment_deadline), terms.fund_deadline),
        "resource": (offer.resource, asked.resource),
        "asset_token": (offer.asset_token and offer.asset_token.lower(), terms.asset),
        "asset_amount": (_number(offer.asset_amount), terms.asset_amount),
        "seller": (offer.seller and offer.seller.lower(), terms.seller),
        "domain": (_lowered(offer.domain), domain.to_wire()),
        "types": (offer.types, TYPES),
        "primary_type": (offer.primary_type, "Settlement"),
    }
    for name, (said, meant) in told.items():
        if said is not None and said != meant:
            raise TermsMismatch(
                f"the offer's {name} is not what its terms, or the settings, say.",
                hint=NOT_TRUSTED,
            )


def _number(value: int | str | None) -> int | str | None:
    """Return a decimal text as an integer, and any other value unchanged."""
    is_decimal = isinstance(value, str) and value.isascii() and value.isdigit()
    return int(value) if is_decimal and len(str(value)) <= 78 else value  # type: ignore[arg-type]


def _lowered(domain: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the EIP-712 domain with its contract in lower case."""
    if domain is None or not isinstance(domain.get("verifyingContract"), str):
        return domain
    return {**domain, "verifyingContract": domain["verifyingContract"].lower()}

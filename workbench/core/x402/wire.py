"""x402 messages on the wire: the body of HTTP 402, the payment header, and the settlement request.

The 402 answer carries the terms that the seller chose, the EIP-712 domain and the types. The buyer
adds its address and its budget. The EIP-712 digest of the whole is the settlement id, so the
signature is consent to exactly that settlement. The payment header `X-PAYMENT` is base64 of the
JSON object `{client, terms, terms_signature, permit: {value, deadline, v, r, s}}`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.core import strict_json
from workbench.core.errors import InvalidPayment, PaymentTooLarge
from workbench.core.records import quick
from workbench.core.x402.fields import address, read_object, read_signature, settlement_id
from workbench.core.x402.terms import (
    NO_PERMIT,
    TYPES,
    Domain,
    Permit,
    Terms,
    TransferAuthorization,
    offer_key,
)

MAX_HEADER_BYTES = 16_384


VERSION = "1.0"


PAYMENT_HEADER = "X-PAYMENT"


CHAIN_NAMES = {31337: "anvil", 80002: "polygon-amoy", 11155111: "sepolia", 137: "polygon"}


@quick
@dataclass(frozen=True, slots=True)
class Payment:
    """The content of X-PAYMENT: the buyer's signature, and the right to pull its budget.

    The right is a `permit` (EIP-2612, to PermitPuller) or an `authorization` (ERC-3009, to the
    vault): exactly one of them.
    """

    client: str
    terms: Terms
    terms_signature: str
    permit: Permit | None = None
    authorization: TransferAuthorization | None = None

    def to_wire(self) -> dict[str, Any]:
        funding = {"permit": self.permit, "authorization": self.authorization}
        return {
            "client": self.client,
            "terms": self.terms.to_wire(),
            "terms_signature": self.terms_signature,
            **{name: value.to_wire() for name, value in funding.items() if value is not None},
        }

    @classmethod
    def from_wire(cls, data: Any) -> Payment:
        """Return a payment from untrusted JSON. Raises InvalidPayment with the field."""
        members = read_object(data, "the payment")
        missing = {"client", "terms", "terms_signature"} - set(members)
        if missing:
            raise InvalidPayment(f"the payment lacks {', '.join(sorted(missing))}.")
        funding = [name for name in ("permit", "authorization") if name in members]
        if len(funding) != 1:
            raise InvalidPayment("the payment needs a permit or an authorization, and not both.")
        payment = cls(
            client=address(members["client"], "client"),
            terms=Terms.from_wire(members["terms"]),
            terms_signature=read_signature(members["terms_signature"], "terms_signature"),
            permit=Permit.from_wire(members["permit"]) if funding == ["permit"] else None,
            authorization=TransferAuthorization.from_wire(members["authorization"])
            if funding == ["authorization"]
            else None,
        )
        if payment.client != payment.terms.buyer:
            raise InvalidPayment("client and terms.buyer are different addresses.")
        return payment

    def to_header(self) -> str:
        """Return the value of the X-PAYMENT header."""
        return base64.b64encode(json.dumps(self.to_wire()).encode()).decode()

    @classmethod
    def from_header(cls, header: str) -> Payment:
        """Return the payment of an X-PAYMENT header. Raises PaymentTooLarge over 16 kB, else
        InvalidPayment."""
        if len(header) > MAX_HEADER_BYTES:
            raise PaymentTooLarge(
                f"{PAYMENT_HEADER} is {len(header)} bytes long; at most {MAX_HEADER_BYTES}."
            )
        try:
            data = strict_json.loads(base64.b64decode(header.strip(), validate=True))
        except strict_json.AmbiguousJson as why:
            raise InvalidPayment(f"{PAYMENT_HEADER}: {why}", hint="Give each field once.") from why
        except (binascii.Error, ValueError, RecursionError) as why:
            raise InvalidPayment(
                f"{PAYMENT_HEADER} is not base64 of JSON.",
                hint="Send base64(JSON({client, terms, terms_signature, permit})).",
            ) from why
        return cls.from_wire(data)


@quick
@dataclass(frozen=True, slots=True)
class SettlementRequest:
    """All that the facilitator needs for one settlement."""

    settlement_id: str
    payment: Payment
    seller_signature: str
    seller_permit: Permit

    @property
    def terms(self) -> Terms:
        return self.payment.terms

    @property
    def offer(self) -> str:
        """The key of the offer. It has one settlement, whatever buyer and budget."""
        return offer_key(self.terms)

    def to_wire(self) -> dict[str, Any]:
        return {
            "settlement_id": self.settlement_id,
            "payload": self.payment.to_wire(),
            "seller_signature": self.seller_signature,
            "seller_permit": self.seller_permit.to_wire(),
        }

    @classmethod
    def from_wire(cls, data: Any) -> SettlementRequest:
        """Return a request from untrusted JSON. Raises InvalidPayment with the field."""
        members = read_object(data, "the authorisation")
        missing = {"settlement_id", "payload", "seller_signature"} - set(members)
        if missing:
            raise InvalidPayment(f"the authorisation lacks {', '.join(sorted(missing))}.")
        permit = members.get("seller_permit")
        return cls(
            settlement_id=settlement_id(members["settlement_id"]),
            payment=Payment.from_wire(members["payload"]),
            seller_signature=read_signature(members["seller_signature"], "seller_signature"),
            seller_permit=Permit.from_wire(permit) if permit is not None else NO_PERMIT,
        )


def payment_required(
    terms: Terms,
    domain: Domain,
    settlement_token: str,
    resource: str,
    show: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return the body of HTTP 402: the fields of the seed, and what a buyer must sign.

    `terms`: the seller's; buyer and budget are left out on the wire. `show` formats addresses
    (EIP-55). Numbers are text as well, because JavaScript rounds those above 2^53. A buyer may send
    the terms in either form.
    """
    offered = terms.to_wire() | {"seller": show(terms.seller), "asset": show(terms.asset)}
    del offered["buyer"], offered["maxEurc"]
    return {
        "error": "Payment Required",
        "message": "Payment required to access this resource",
        "payment_requirement": {
            "version": VERSION,
            "chain": CHAIN_NAMES.get(domain.chain_id, f"eip155:{domain.chain_id}"),
            "chain_id": domain.chain_id,
            "settlement_token": show(settlement_token),
            "required_amount": terms.required_usdc,
            "settlement_vault": show(domain.vault),
            "payment_deadline": terms.fund_deadline,
            "resource": resource,
            "asset_token": show(terms.asset),
            "asset_amount": terms.asset_amount,
            "seller": show(terms.seller),
            "domain": domain.to_wire() | {"verifyingContract": show(domain.vault)},
            "types": TYPES,
            "primary_type": "Settlement",
            "funding": ["authorization", "permit"],
            "terms": offered,
            "required_amount_text": str(terms.required_usdc),
            "asset_amount_text": str(terms.asset_amount),
            "terms_text": {name: str(value) for name, value in offered.items()},
        },
    }

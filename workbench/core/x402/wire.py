"""Domain types of an x402 payment, and the seed's dialect of it (DESIGN, agreement 4).

The 402 answer carries the terms the seller chose, the EIP-712 domain and the types. The buyer adds
its address and its budget; the digest of the whole is the settlement id, so the signature is
consent to exactly that settlement. The header is base64 JSON
`{client, terms, terms_signature, permit: {value, deadline, v, r, s}}`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any

from workbench.core import strict_json
from workbench.core.errors import InvalidId, InvalidPayment, PaymentTooLarge
from workbench.core.money import UINT256_MAX
from workbench.core.records import quick

MAX_HEADER_BYTES = 16_384
VERSION = "1.0"
PAYMENT_HEADER = "X-PAYMENT"

DOMAIN_NAME, DOMAIN_VERSION = "SettlementVault", "1"
TERMS_TYPE = (
    ("address", "buyer"),
    ("address", "seller"),
    ("address", "asset"),
    ("uint256", "assetAmount"),
    ("uint256", "requiredUsdc"),
    ("uint256", "maxEurc"),
    ("uint64", "fundDeadline"),
    ("uint64", "swapDeadline"),
    ("bytes32", "resourceHash"),
    ("bytes32", "salt"),
)
"""EIP-712 members of `Settlement`, in order; the vault hashes the same."""

TYPES = {"Settlement": [{"name": name, "type": kind} for kind, name in TERMS_TYPE]}
CHAIN_NAMES = {31337: "anvil", 80002: "polygon-amoy", 11155111: "sepolia", 137: "polygon"}

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_BYTES32 = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{2,4096}", re.ASCII)
ZERO_ADDRESS = "0x" + "0" * 40


@quick
@dataclass(frozen=True, slots=True)
class Terms:
    """What buyer and seller agree to. Addresses in lower case; deadlines in Unix seconds."""

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

    def to_wire(self) -> dict[str, Any]:
        """JSON with the EIP-712 member names, integers as integers."""
        return dict(zip(_WIRE_NAMES, self.as_tuple(), strict=True))

    @classmethod
    def from_wire(cls, data: Any) -> Terms:
        """Read terms from outside. Raises InvalidPayment naming the field."""
        members = _object(data, "terms")
        if len(members) != len(TERMS_TYPE) or not all(map(members.__contains__, _WIRE_NAMES)):
            names = ", ".join(sorted(_WIRE_NAMES))
            raise InvalidPayment(f"terms need exactly the fields {names}.")
        return cls(*[_MEMBER[kind](members[name], name) for kind, name in TERMS_TYPE])

    def as_tuple(self) -> tuple[str | int, ...]:
        """The members in EIP-712 and ABI order."""
        members: tuple[str | int, ...] = _members(self)
        return members


_WIRE_NAMES = tuple(name for _, name in TERMS_TYPE)
_members = attrgetter(*(field.name for field in fields(Terms)))


@quick
@dataclass(frozen=True, slots=True)
class Permit:
    """An EIP-2612 signature: `value` base units, `deadline` in Unix seconds (0: no permit)."""

    value: int
    deadline: int
    v: int
    r: str
    s: str

    @classmethod
    def from_wire(cls, data: Any) -> Permit:
        """Raises InvalidPayment naming the field."""
        members = _object(data, "permit")
        if not {"value", "deadline", "v", "r", "s"} <= set(members):
            raise InvalidPayment("permit needs the fields value, deadline, v, r and s.")
        return cls(
            value=_uint(members["value"], "permit.value"),
            deadline=_uint(members["deadline"], "permit.deadline"),
            v=_uint(members["v"], "permit.v", 255),
            r=_bytes32(members["r"], "permit.r"),
            s=_bytes32(members["s"], "permit.s"),
        )

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("value", "deadline", "v", "r", "s")}


@quick
@dataclass(frozen=True, slots=True)
class TransferAuthorization:
    """An ERC-3009 signature over the whole budget, to the vault; its nonce is the settlement id.

    `valid_after` and `valid_before` in Unix seconds, both exclusive (ERC-3009). Unlike permits,
    whose nonces are a sequence, any number of these can be open at once.
    """

    valid_after: int
    valid_before: int
    signature: str

    @classmethod
    def from_wire(cls, data: Any) -> TransferAuthorization:
        """Raises InvalidPayment naming the field."""
        members = _object(data, "authorization")
        if not {"validAfter", "validBefore", "signature"} <= set(members):
            raise InvalidPayment(
                "authorization needs the fields validAfter, validBefore and signature."
            )
        return cls(
            valid_after=_uint(members["validAfter"], "authorization.validAfter"),
            valid_before=_uint(members["validBefore"], "authorization.validBefore"),
            signature=_signature(members["signature"], "authorization.signature"),
        )

    def to_wire(self) -> dict[str, Any]:
        return {
            "validAfter": self.valid_after,
            "validBefore": self.valid_before,
            "signature": self.signature,
        }


NO_PERMIT = Permit(0, 0, 0, "0x" + "0" * 64, "0x" + "0" * 64)
"""Rely on an allowance that is already there."""


@quick
@dataclass(frozen=True, slots=True)
class Payment:
    """What the buyer sends in X-PAYMENT: its consent, and the right to pull its budget.

    That right is a `permit` (EIP-2612, to PermitPuller) or an `authorization` (ERC-3009, to the
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
        """Raises InvalidPayment naming what is missing or malformed."""
        members = _object(data, "the payment")
        missing = {"client", "terms", "terms_signature"} - set(members)
        if missing:
            raise InvalidPayment(f"the payment lacks {', '.join(sorted(missing))}.")
        funding = [name for name in ("permit", "authorization") if name in members]
        if len(funding) != 1:
            raise InvalidPayment("the payment needs a permit or an authorization, and not both.")
        payment = cls(
            client=address(members["client"], "client"),
            terms=Terms.from_wire(members["terms"]),
            terms_signature=_signature(members["terms_signature"], "terms_signature"),
            permit=Permit.from_wire(members["permit"]) if funding == ["permit"] else None,
            authorization=TransferAuthorization.from_wire(members["authorization"])
            if funding == ["authorization"]
            else None,
        )
        if payment.client != payment.terms.buyer:
            raise InvalidPayment("client and terms.buyer are different addresses.")
        return payment

    def to_header(self) -> str:
        """The X-PAYMENT header's value."""
        return base64.b64encode(json.dumps(self.to_wire()).encode()).decode()

    @classmethod
    def from_header(cls, header: str) -> Payment:
        """Read X-PAYMENT. Raises PaymentTooLarge over 16 kB, else InvalidPayment."""
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
    """Everything the facilitator needs to bring one settlement to its end."""

    settlement_id: str
    payment: Payment
    seller_signature: str
    seller_permit: Permit

    @property
    def terms(self) -> Terms:
        return self.payment.terms

    @property
    def offer(self) -> str:
        """The offer that is sold: it has one settlement, whatever buyer and budget."""
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
        """Raises InvalidPayment naming what is missing or malformed."""
        members = _object(data, "the authorisation")
        missing = {"settlement_id", "payload", "seller_signature"} - set(members)
        if missing:
            raise InvalidPayment(f"the authorisation lacks {', '.join(sorted(missing))}.")
        permit = members.get("seller_permit")
        return cls(
            settlement_id=settlement_id(members["settlement_id"]),
            payment=Payment.from_wire(members["payload"]),
            seller_signature=_signature(members["seller_signature"], "seller_signature"),
            seller_permit=Permit.from_wire(permit) if permit is not None else NO_PERMIT,
        )


@quick
@dataclass(frozen=True, slots=True)
class Domain:
    """The vault's EIP-712 domain."""

    chain_id: int
    vault: str

    def to_wire(self) -> dict[str, Any]:
        return {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": self.chain_id,
            "verifyingContract": self.vault,
        }


def payment_required(
    terms: Terms,
    domain: Domain,
    settlement_token: str,
    resource: str,
    show: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The body of HTTP 402: the seed's fields first, what a buyer must sign beside them.

    `terms` are the seller's: buyer and budget are zero, and left out on the wire. `show` writes
    addresses (EIP-55). Numbers stand as text, too: JavaScript rounds those above 2^53. A buyer may
    send either form of the terms.
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


def offer_key(terms: Terms) -> str:
    """What names an offer for ever: its seller, and the salt that the seller gave it."""
    return f"{terms.seller} {terms.salt}"


def complete_terms(offered: Any, buyer: str, max_eurc: int) -> Terms:
    """The buyer's side: the offered terms with its address and budget. Raises InvalidPayment."""
    return Terms.from_wire({**_object(offered, "terms"), "buyer": buyer, "maxEurc": max_eurc})


def settlement_id(text: Any) -> str:
    """0x and 64 hex digits, in lower case. Raises InvalidId."""
    if not isinstance(text, str) or not _BYTES32.fullmatch(text):
        raise InvalidId(
            f"{str(text)[:80]!r} is not a settlement id.", hint="It is 0x and 64 hex digits."
        )
    return text.lower()


def address(value: Any, name: str) -> str:
    """0x and 40 hex digits, in lower case. Raises InvalidPayment naming the field."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise InvalidPayment(f"{name} is not an address (0x and 40 hex digits).")
    return value.lower()


@cache
def snake(name: str) -> str:
    """assetAmount is asset_amount."""
    return re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), name)


def _object(data: Any, name: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidPayment(f"{name} is not a JSON object.")
    return data


def _uint(value: Any, name: str, limit: int = UINT256_MAX) -> int:
    """JSON integers, or their decimal text (JavaScript cannot write large integers)."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,78}", value, re.ASCII):
        value = int(value)
    if type(value) is not int or not 0 <= value <= limit:
        raise InvalidPayment(f"{name} is not an integer from 0 to {limit}.")
    return value


def _uint64(value: Any, name: str) -> int:
    return _uint(value, name, 2**64 - 1)


def _bytes32(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _BYTES32.fullmatch(value):
        raise InvalidPayment(f"{name} is not 32 bytes (0x and 64 hex digits).")
    return value.lower()


def _signature(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) % 2 or not _SIGNATURE.fullmatch(value):
        raise InvalidPayment(f"{name} is not a signature in hex.")
    return value.lower()


_MEMBER: dict[str, Any] = {
    "address": address,
    "uint256": _uint,
    "uint64": _uint64,
    "bytes32": _bytes32,
}

"""What the parties sign: the terms of a settlement, and the right to pull the budget."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from workbench.core.errors import InvalidPayment
from workbench.core.records import quick
from workbench.core.x402.fields import (
    address,
    read_bytes32,
    read_object,
    read_signature,
    read_uint,
    read_uint64,
)

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
"""The EIP-712 members of `Settlement`, in order. The vault hashes the same."""


TYPES = {"Settlement": [{"name": name, "type": kind} for kind, name in TERMS_TYPE]}


@quick
@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a settlement. Addresses in lower case; deadlines in Unix seconds."""

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
        """Return JSON with the EIP-712 member names, and integers as integers."""
        return dict(zip(_WIRE_NAMES, self.as_tuple(), strict=True))

    @classmethod
    def from_wire(cls, data: Any) -> Terms:
        """Return terms from untrusted JSON. Raises InvalidPayment with the field."""
        members = read_object(data, "terms")
        if len(members) != len(TERMS_TYPE) or not all(map(members.__contains__, _WIRE_NAMES)):
            names = ", ".join(sorted(_WIRE_NAMES))
            raise InvalidPayment(f"terms need exactly the fields {names}.")
        return cls(*[_MEMBER[kind](members[name], name) for kind, name in TERMS_TYPE])

    def as_tuple(self) -> tuple[str | int, ...]:
        """Return the members in EIP-712 and ABI order."""
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
        """Return a permit from untrusted JSON. Raises InvalidPayment with the field."""
        members = read_object(data, "permit")
        if not {"value", "deadline", "v", "r", "s"} <= set(members):
            raise InvalidPayment("permit needs the fields value, deadline, v, r and s.")
        return cls(
            value=read_uint(members["value"], "permit.value"),
            deadline=read_uint(members["deadline"], "permit.deadline"),
            v=read_uint(members["v"], "permit.v", 255),
            r=read_bytes32(members["r"], "permit.r"),
            s=read_bytes32(members["s"], "permit.s"),
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
        """Return an authorization from untrusted JSON. Raises InvalidPayment with the field."""
        members = read_object(data, "authorization")
        if not {"validAfter", "validBefore", "signature"} <= set(members):
            raise InvalidPayment(
                "authorization needs the fields validAfter, validBefore and signature."
            )
        return cls(
            valid_after=read_uint(members["validAfter"], "authorization.validAfter"),
            valid_before=read_uint(members["validBefore"], "authorization.validBefore"),
            signature=read_signature(members["signature"], "authorization.signature"),
        )

    def to_wire(self) -> dict[str, Any]:
        return {
            "validAfter": self.valid_after,
            "validBefore": self.valid_before,
            "signature": self.signature,
        }


NO_PERMIT = Permit(0, 0, 0, "0x" + "0" * 64, "0x" + "0" * 64)
"""Use an existing allowance."""


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


def offer_key(terms: Terms) -> str:
    """Return the key of an offer: its seller, and the salt that the seller chose."""
    return f"{terms.seller} {terms.salt}"


def complete_terms(offered: Any, buyer: str, max_eurc: int) -> Terms:
    """Return the offered terms with buyer and budget. Raises InvalidPayment."""
    return Terms.from_wire({**read_object(offered, "terms"), "buyer": buyer, "maxEurc": max_eurc})


_MEMBER: dict[str, Any] = {
    "address": address,
    "uint256": read_uint,
    "uint64": read_uint64,
    "bytes32": read_bytes32,
}

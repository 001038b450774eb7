"""The seed's dialect of x402: what we send is read back, and anything else is a named error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given

from tests.strategies import authorizations, payments, terms, uint64, uint256
from workbench.core.x402 import (
    NO_PERMIT,
    TERMS_TYPE,
    ZERO_ADDRESS,
    Domain,
    Payment,
    Permit,
    SettlementRequest,
    Terms,
    TransferAuthorization,
    address,
    complete_terms,
    payment_required,
    settlement_id,
    snake,
)

A, B, C = ("0x" + digit * 40 for digit in "abc")


WORD = "0x" + "1f" * 32


TERMS = Terms(A, B, C, 10**20, 110_000_000, 101_000_000, 2_000, 2_600, WORD, WORD)


PERMIT = Permit(101_000_000, 2_000, 27, WORD, WORD)


PAYMENT = Payment(A, TERMS, "0x" + "5a" * 65, PERMIT)


BY_TRANSFER = Payment(
    A, TERMS, "0x" + "5a" * 65, authorization=TransferAuthorization(0, 2_600, "0x" + "7b" * 65)
)


AUTHORIZATION = SettlementRequest(WORD, PAYMENT, "0x" + "a5" * 65, PERMIT)


GONE: Any = Ellipsis


READERS: dict[str, Callable[[Any], object]] = {
    "terms": Terms.from_wire,
    "permit": Permit.from_wire,
    "transfer": TransferAuthorization.from_wire,
    "payment": Payment.from_wire,
    "authorization": SettlementRequest.from_wire,
    "id": settlement_id,
    "address": lambda value: address(value, "client"),
    "offer": lambda value: complete_terms(value, A, 1),
}


def encoded(data: Any) -> str:
    """The header of any JSON."""
    return base64.b64encode(json.dumps(data).encode()).decode()


@given(payments)
def test_a_payment_survives_its_header(payment: Payment) -> None:
    """Integers of any size among it; the header is plain base64 of JSON."""
    header = payment.to_header()
    assert payment == Payment.from_header(header)
    assert payment == Payment.from_header(f" {header}\n")
    funding = "permit" if payment.permit else "authorization"
    assert {"client", "terms", "terms_signature", funding} == set(
        json.loads(base64.b64decode(header))
    )


@given(authorizations)
def test_an_authorisation_survives_the_wire(authorization: SettlementRequest) -> None:
    """From seller to facilitator, through JSON."""
    wire = json.loads(json.dumps(authorization.to_wire()))
    assert authorization == SettlementRequest.from_wire(wire)
    assert authorization.terms == authorization.payment.terms


def test_an_authorisation_without_a_permit_relies_on_an_allowance() -> None:
    """Left out, or null."""
    wire = AUTHORIZATION.to_wire()
    for change in ({"seller_permit": None}, {}):
        del wire["seller_permit"]
        wire |= change
        assert NO_PERMIT == SettlementRequest.from_wire(wire).seller_permit


@given(terms)
def test_terms_in_wire_and_abi_order(agreed: Terms) -> None:
    """Wire names and ABI order both follow the EIP-712 type."""
    names = [name for _, name in TERMS_TYPE]
    assert names == list(agreed.to_wire())
    assert tuple(agreed.to_wire().values()) == agreed.as_tuple()
    assert [snake(name) for name in names] == list(Terms.__dataclass_fields__)


def upper(text: str) -> str:
    return "0x" + text[2:].upper()


@given(payments)
def test_case_of_hex_and_decimal_text_do_not_matter(payment: Payment) -> None:
    """JavaScript clients checksum their addresses, and write large integers as text."""
    wire = payment.to_wire()
    wire["client"] = upper(wire["client"])
    wire["terms_signature"] = upper(wire["terms_signature"])
    for part in {"terms", "permit", "authorization"} & set(wire):
        wire[part] = {
            name: str(value) if isinstance(value, int) else upper(value)
            for name, value in wire[part].items()
        }
    assert payment == Payment.from_wire(wire)


def test_fields_of_others_are_let_through_beside_the_terms() -> None:
    """`x402Version` and the like; the terms themselves are exactly what is signed."""
    wire = {**PAYMENT.to_wire(), "x402Version": 1, "scheme": "otc"}
    wire["permit"] |= {"owner": A}
    assert PAYMENT == Payment.from_wire(wire)


@given(terms, uint64, uint256)
def test_the_offer_completed_by_the_buyer_is_the_sellers_terms(
    agreed: Terms, chain_id: int, budget: int
) -> None:
    """What the 402 leaves out is exactly what the buyer adds."""
    body = payment_required(agreed, Domain(chain_id, B), C, "/buy-asset?amount=1", upper)
    requirement = json.loads(json.dumps(body))["payment_requirement"]
    assert {name for _, name in TERMS_TYPE} - {"buyer", "maxEurc"} == set(requirement["terms"])
    expected = {**agreed.to_wire(), "buyer": A, "maxEurc": budget}
    assert Terms.from_wire(expected) == complete_terms(requirement["terms"], upper(A), budget)


def test_the_402_answer_has_the_seeds_fields() -> None:
    """Names and types as the seed documents them: integers are integers."""
    body = payment_required(TERMS, Domain(80002, B), C, "/buy-asset?amount=1")
    requirement = body["payment_requirement"]
    assert "Payment Required" == body["error"]
    assert isinstance(body["message"], str)
    seed = {
        "version": "1.0",
        "chain": "polygon-amoy",
        "chain_id": 80002,
        "settlement_token": C,
        "required_amount": 110_000_000,
        "settlement_vault": B,
        "payment_deadline": 2_000,
        "resource": "/buy-asset?amount=1",
        "asset_token": C,
        "asset_amount": 10**20,
        "seller": B,
    }
    assert list(seed.items()) == list(requirement.items())[: len(seed)]
    assert ["int"] * 4 == [
        type(requirement[name]).__name__
        for name in ("chain_id", "required_amount", "payment_deadline", "asset_amount")
    ]
    other = payment_required(TERMS, Domain(5, B), C, "/")["payment_requirement"]
    assert "eip155:5" == other["chain"]
    assert ZERO_ADDRESS not in json.dumps(body), "buyer and budget are the buyer's to say"

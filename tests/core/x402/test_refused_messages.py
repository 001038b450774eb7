"""Wrong x402 messages are refused, and the error names the field."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.x402.test_wire import (
    AUTHORIZATION,
    BY_TRANSFER,
    GONE,
    PAYMENT,
    READERS,
    WORD,
    A,
    B,
    encoded,
    upper,
)
from tests.hypothesis_profile import examples
from tests.strategies import json_values
from workbench.core.errors import InputError, InvalidId, InvalidPayment, PaymentTooLarge
from workbench.core.money import UINT256_MAX
from workbench.core.x402 import (
    MAX_HEADER_BYTES,
    TERMS_TYPE,
    Payment,
    SettlementRequest,
    settlement_id,
)

HEADERS = {
    "empty": "",
    "blank": "   ",
    "not base64": "this is no base64!",
    "bad padding": "abc",
    "base64url": base64.urlsafe_b64encode(b'{"a":"\xfb\xff\xfe"}').decode(),
    "other alphabet": "ＡＡＡＡ",
    "emoji": "😀" * 4,
    "surrogate": "\ud800",
    "nul": "\0",
    "not JSON": base64.b64encode(b"{client: 1}").decode(),
    "cut JSON": base64.b64encode(b'{"client": ').decode(),
    "not UTF-8": base64.b64encode(b"\xff\xfe\xfd").decode(),
    "deep array": base64.b64encode(b"[" * 12_000).decode(),
    "deep object": base64.b64encode(b'{"a":' * 2_400).decode(),
    "integer of 5,000 digits": base64.b64encode(b"9" * 5_000).decode(),
}


DOCUMENTS: dict[str, Any] = {
    "array": [],
    "array of payments": [PAYMENT.to_wire()],
    "null": None,
    "true": True,
    "number": 7,
    "NaN": float("nan"),
    "text": "payment",
    "surrogate": "\ud800",
    "nothing in it": {},
    "header in a header": PAYMENT.to_header(),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_no_base64_json_is_refused(header: str) -> None:
    """With what should have been sent."""
    with pytest.raises(InvalidPayment, match="not base64 of JSON") as refused:
        Payment.from_header(header)
    assert "base64(JSON({client" in refused.value.hint


@pytest.mark.parametrize("data", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_header_that_holds_no_payment_is_refused(data: Any) -> None:
    """JSON, but not an object with the four fields."""
    with pytest.raises(InvalidPayment, match="not a JSON object|lacks client|no number"):
        Payment.from_header(encoded(data))


def test_sixteen_kilobytes_are_the_limit_to_the_byte() -> None:
    """16,384 characters are read, one more is refused before it is looked at."""
    text = json.dumps(PAYMENT.to_wire())
    largest = base64.b64encode(text.ljust(MAX_HEADER_BYTES // 4 * 3).encode()).decode()
    assert MAX_HEADER_BYTES == len(largest) == 16_384
    assert PAYMENT == Payment.from_header(largest)
    for longer in (largest + " ", largest + "AAAA", "!" * 10**6):
        with pytest.raises(PaymentTooLarge, match=f"{len(longer)} bytes") as refused:
            Payment.from_header(longer)
        assert 431 == refused.value.status


NOT_UINT: list[Any] = [
    None, True, False, -1, "-1", 1.0, 1e18, float("nan"), "", " 1", "1 ", "1e3", "0x1", "1_0",
    "１", "٣", "१२", UINT256_MAX + 1, str(UINT256_MAX + 1), "9" * 78, "0" * 79, [], [1], {},
]  # fmt: skip


NOT_ADDRESS: list[Any] = [
    None, 7, True, "", "0x", A[2:], A + "0", A[:-1], "0X" + A[2:], A + "\n", " " + A, [A], {},
    "0x" + "g" * 40, "0x" + "١" * 40, "0x" + "ａ" * 40, WORD,
]  # fmt: skip


NOT_WORD: list[Any] = [
    None, 7, True, "", "0x", WORD[2:], WORD + "00", WORD[:-1], WORD + "\n", [WORD], {}, A,
    "0x" + "z" * 64, "0x" + "１" * 64,
]  # fmt: skip


NOT_SIGNATURE: list[Any] = [
    None, 7, True, "", "0x", "0x1", "5a" * 65, "0xzz", "0x" + "１" * 130, [], {},
    "0x" + "00" * 2_049,
]  # fmt: skip


NOT_OBJECT: list[Any] = [None, [], "{}", 7, True]


BAD: dict[str, list[Any]] = {
    "address": NOT_ADDRESS,
    "uint256": NOT_UINT,
    "uint64": [*NOT_UINT, 2**64, str(2**64)],
    "bytes32": NOT_WORD,
}


SPOILT: list[tuple[tuple[str, ...], Any]] = [
    *((("terms", name), bad) for kind, name in TERMS_TYPE for bad in BAD[kind]),
    *((("permit", name), bad) for name in ("value", "deadline") for bad in NOT_UINT),
    *((("permit", "v"), bad) for bad in [*NOT_UINT, 256]),
    *((("permit", name), bad) for name in ("r", "s") for bad in NOT_WORD),
    *((("client",), bad) for bad in NOT_ADDRESS),
    *((("terms_signature",), bad) for bad in NOT_SIGNATURE),
    *(((part,), bad) for part in ("terms", "permit") for bad in NOT_OBJECT),
]


SPOILT_TRANSFER: list[tuple[tuple[str, ...], Any]] = [
    *((("authorization", name), bad) for name in ("validAfter", "validBefore") for bad in NOT_UINT),
    *((("authorization", "signature"), bad) for bad in NOT_SIGNATURE),
    *((("authorization",), bad) for bad in NOT_OBJECT),
]


def spoil(wire: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of `wire` with one field replaced, or taken away (GONE)."""
    copy: dict[str, Any] = json.loads(json.dumps(wire))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    if value is GONE:
        del inner[path[-1]]
    return copy


def test_every_wrong_field_is_named() -> None:
    """Each field of the payment with each kind of wrong value, bools and floats among them."""
    assert PAYMENT == Payment.from_wire(spoil(PAYMENT.to_wire(), ("permit", "v"), 27))
    for payment, cases in ((PAYMENT, SPOILT), (BY_TRANSFER, SPOILT_TRANSFER)):
        for path, bad in cases:
            with pytest.raises(InvalidPayment, match=path[-1]):
                Payment.from_wire(spoil(payment.to_wire(), path, bad))


def test_there_is_one_way_to_pull_the_budget() -> None:
    """A permit or an authorization: neither, or both, would leave open what was meant."""
    both = {**PAYMENT.to_wire(), **BY_TRANSFER.to_wire()}
    for wire in (both, both | {"permit": None}, spoil(PAYMENT.to_wire(), ("permit",), GONE)):
        with pytest.raises(InvalidPayment, match="a permit or an authorization, and not both"):
            Payment.from_wire(wire)
    assert BY_TRANSFER == Payment.from_wire(BY_TRANSFER.to_wire())


@pytest.mark.parametrize("part", ["terms", "permit", "authorization", ""])
def test_every_missing_field_is_named(part: str) -> None:
    """Of the payment, its terms, its permit and its authorization."""
    whole = (BY_TRANSFER if part == "authorization" else PAYMENT).to_wire()
    for name in whole[part] if part else whole:
        path = (part, name) if part else (name,)
        with pytest.raises(InvalidPayment, match=name):
            Payment.from_wire(spoil(whole, path, GONE))


def test_terms_have_no_other_fields() -> None:
    """What is not signed must not look as if it were."""
    for name in ("max_eurc", "chainId", ""):
        with pytest.raises(InvalidPayment, match="exactly the fields"):
            Payment.from_wire(spoil(PAYMENT.to_wire(), ("terms", name), 1))


def test_the_client_is_the_buyer_of_the_terms() -> None:
    """Nobody pays with another's terms."""
    with pytest.raises(InvalidPayment, match="client and terms.buyer"):
        Payment.from_wire({**PAYMENT.to_wire(), "client": B})


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        (("payload",), GONE),
        (("payload",), None),
        (("payload", "terms", "salt"), "0x"),
        (("seller_signature",), GONE),
        (("seller_signature",), "0x"),
        (("seller_permit",), []),
        (("seller_permit", "v"), 256),
        (("settlement_id",), GONE),
    ],
    ids=str,
)
def test_every_wrong_field_of_an_authorisation_is_named(path: tuple[str, ...], bad: Any) -> None:
    """What the facilitator is asked to do is checked like what the seller is offered."""
    named = {"payload": "payload|the payment", "seller_permit": "permit"}.get(path[-1], path[-1])
    with pytest.raises(InvalidPayment, match=named):
        SettlementRequest.from_wire(spoil(AUTHORIZATION.to_wire(), path, bad))


@pytest.mark.parametrize("bad", [*NOT_WORD, "0x" + "０" * 64], ids=repr)
def test_what_is_no_settlement_id_is_refused(bad: Any) -> None:
    """64 hex digits and nothing around them."""
    with pytest.raises(InvalidId, match="is not a settlement id"):
        settlement_id(bad)
    assert WORD == settlement_id(upper(WORD))


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@examples(30)
@given(json_values)
def test_no_json_at_all_raises_anything_but_our_errors(
    reader: Callable[[Any], object], value: Any
) -> None:
    """A value is read, or refused by name as the caller's mistake."""
    try:
        reader(value)
    except InputError as why:
        assert len(why.message) < 400


PATHS: list[tuple[str, ...]] = [
    *(("payload", "terms", name) for _, name in TERMS_TYPE),
    *(("payload", "permit", name) for name in ("value", "deadline", "v", "r", "s")),
    *(("payload", name) for name in ("client", "terms_signature", "terms", "permit")),
    *(("payload", "authorization", name) for name in ("validAfter", "validBefore", "signature")),
    ("payload", "authorization"),
    ("settlement_id",),
    ("seller_signature",),
    ("seller_permit",),
]


@given(st.sampled_from(PATHS), json_values)
def test_no_value_in_any_place_raises_anything_but_our_errors(
    path: tuple[str, ...], value: Any
) -> None:
    """One field at a time, the rest as it should be: so every reader of a field is reached."""
    payment = BY_TRANSFER if "authorization" in path else PAYMENT
    wire = spoil(replace(AUTHORIZATION, payment=payment).to_wire(), path, None)
    inner = wire
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    try:
        read = SettlementRequest.from_wire(wire)
    except InputError as why:
        assert len(why.message) < 400
    else:
        assert read == SettlementRequest.from_wire(json.loads(json.dumps(read.to_wire())))


@given(st.text(max_size=200) | st.binary(max_size=150).map(lambda raw: raw.decode("latin-1")))
@example("bnVsbA==")
def test_no_text_as_a_header_raises_anything_but_our_errors(header: str) -> None:
    """Nor does any payment come out of noise."""
    with pytest.raises(InputError):
        Payment.from_header(header)


@given(json_values)
def test_no_json_as_a_header_raises_anything_but_our_errors(value: Any) -> None:
    """Through base64 and JSON text as it really comes."""
    with pytest.raises(InputError):
        Payment.from_header(encoded(value))


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_nesting_of_any_depth_is_refused_by_name(reader: Callable[[Any], object]) -> None:
    """Up to the deepest JSON that can be read at all: what can be read can also be refused."""
    deepest = 0
    for depth in (1, 100, *range(800, 2_000)):
        try:
            value = json.loads("[" * depth + "]" * depth)
        except RecursionError:
            break  # What is deeper still is refused by the header's own test above.
        deepest = depth
        with pytest.raises(InputError):
            reader(value)
        with pytest.raises(InputError):
            reader({"settlement_id": value, "payload": {}, "seller_signature": ""})
    assert deepest > 800

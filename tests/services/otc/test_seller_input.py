"""The seller refuses wrong amounts, wrong payments and altered terms."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.payments import AMOUNT, SELLER, follow, header, offer, pay, payment
from workbench import World
from workbench.core.ports import Request
from workbench.core.x402 import snake
from workbench.evm.transactions.test_keys import key_of

STRANGER = key_of("spare1")
OTHER_ADDRESS = STRANGER.address
OTHER_WORD = "0x" + "ab" * 32


def refused(answer: Any, code: str, status: int = 400) -> dict[str, Any]:
    """The answer is an error with this code, a message for people, and nothing cached."""
    assert (status, code) == (answer.status, answer.data()["error"]), answer.data()
    body: dict[str, Any] = answer.data()
    assert len(body["message"]) > 10
    assert "Traceback" not in body["message"]
    return body


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?amount=",
        "?amount=0",
        "?amount=-1",
        "?amount=1.5",
        "?amount=1e18",
        "?amount=0x10",
        "?amount=ten",
        "?amount=%2010",
        "?amount=1_000",
        "?amount=\u0661\u0662",
        f"?amount={'9' * 80}",
        f"?amount={2**256}",
        "?amount=null",
    ],
)
def test_a_wrong_amount_is_named(world: World, query: str) -> None:
    """Missing, empty, 0, signs, fractions, exponents, words, other digits, too many digits."""
    refused(world.get(f"{SELLER}/buy-asset{query}"), "invalid_amount")


def test_an_amount_given_twice_is_refused(world: World) -> None:
    """Which of the two would count is not for us to guess."""
    refused(world.get(f"{SELLER}/buy-asset?amount=1&amount=2"), "invalid_request")


def test_more_than_the_inventory_is_refused_with_what_is_there(world: World) -> None:
    """The answer says how much can be had."""
    answer = world.get(f"{SELLER}/buy-asset?amount={10**25 + 1}")
    body = refused(answer, "insufficient_inventory", 409)
    assert body["available"] == 10**25


def test_the_seed_s_fields_and_types_are_exact(world: World) -> None:
    """Each field of the seed's 402 example, with its JSON type; the price is 1.10, rounded up."""
    answer = world.get(f"{SELLER}/buy-asset?amount={AMOUNT}")
    body = json.loads(answer.body)
    requirement = body["payment_requirement"]
    assert ("Payment Required", str) == (body["error"], type(body["message"]))
    expected = {
        "version": "1.0",
        "chain_id": 31337,
        "settlement_token": world.deployment["MockUSDC"],
        "required_amount": 110_000_000,
        "settlement_vault": world.deployment["SettlementVault"],
        "resource": f"/buy-asset?amount={AMOUNT}",
        "asset_token": world.deployment["YieldPoolShare"],
        "asset_amount": AMOUNT,
        "seller": key_of("seller").address,
    }
    assert expected == {name: requirement[name] for name in expected}
    assert int is type(requirement["payment_deadline"])
    assert world.now < requirement["payment_deadline"] <= world.now + 600


@pytest.mark.parametrize(
    ("amount", "required"), [(1, 1), (10**18, 1_100_000), (10**18 + 1, 1_100_001)]
)
def test_the_amount_due_is_rounded_up(world: World, amount: int, required: int) -> None:
    """To the next unit of USDC, never down."""
    assert required == offer(world, amount)["required_amount"]


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        ("%%%", "invalid_payment", 400),
        ("", "invalid_payment", 400),
        (base64.b64encode(b"not json").decode(), "invalid_payment", 400),
        (header([1, 2]), "invalid_payment", 400),
        (header("text"), "invalid_payment", 400),
        (header(None), "invalid_payment", 400),
        (header({}), "invalid_payment", 400),
        (
            header({"client": 1, "terms": 2, "terms_signature": 3, "permit": 4}),
            "invalid_payment",
            400,
        ),
        ("A" * 16_385, "payment_too_large", 431),
        (base64.b64encode(b"[" * 10_000).decode(), "invalid_payment", 400),
    ],
)
def test_a_malformed_payment_is_refused(world: World, sent: str, code: str, status: int) -> None:
    """Whatever the header holds, the answer is JSON with a stable code."""
    refused(pay(world, sent), code, status)


ALTERATIONS: list[tuple[str, Any]] = [
    ("seller", OTHER_ADDRESS),
    ("asset", OTHER_ADDRESS),
    ("assetAmount", AMOUNT + 1),
    ("requiredUsdc", 1),
    ("fundDeadline", 2**40),
    ("swapDeadline", 2**40),
    ("resourceHash", OTHER_WORD),
    ("salt", OTHER_WORD),
]


@pytest.mark.parametrize(("field", "value"), ALTERATIONS, ids=[name for name, _ in ALTERATIONS])
def test_altered_and_signed_terms_are_refused(world: World, field: str, value: Any) -> None:
    """The buyer signs something else than was offered: the field is named."""
    requirement = offer(world)
    altered = payment(world, requirement, terms=lambda t: t.__setitem__(field, value))
    body = refused(pay(world, altered), "terms_mismatch")
    # The salt names the offer: another salt is no altered offer, but none at all.
    assert ([snake(field)] if field != "salt" else None) == body.get("fields")


@pytest.mark.parametrize(("field", "value"), [*ALTERATIONS, ("maxEurc", 200_000_000)])
def test_terms_altered_after_signing_are_refused(world: World, field: str, value: Any) -> None:
    """The signature covers every field."""
    sent = payment(world, offer(world))
    sent["terms"][field] = value
    answer = pay(world, sent)
    assert answer.data()["error"] in ("terms_mismatch", "bad_signature")
    assert answer.status == 400


DOMAINS: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("chain", lambda d: d.__setitem__("chainId", 1)),
    ("vault", lambda d: d.__setitem__("verifyingContract", OTHER_ADDRESS)),
    ("name", lambda d: d.__setitem__("name", "AnotherVault")),
]


@pytest.mark.parametrize("change", [c for _, c in DOMAINS], ids=[n for n, _ in DOMAINS])
def test_a_signature_for_another_place_is_refused(
    world: World, change: Callable[[dict[str, Any]], None]
) -> None:
    """Consent for another chain or vault is no consent here."""
    body = refused(pay(world, payment(world, offer(world), domain=change)), "bad_signature")
    assert "31337" in body["message"]


def test_another_key_s_signature_is_refused(world: World) -> None:
    """The client's address with a stranger's signature."""
    requirement = offer(world)
    mine, theirs = payment(world, requirement), payment(world, requirement, key=STRANGER.secret)
    refused(pay(world, {**mine, "terms_signature": theirs["terms_signature"]}), "bad_signature")
    refused(pay(world, {**mine, "client": theirs["client"]}), "invalid_payment")


def test_a_budget_below_the_reference_rate_is_refused(world: World) -> None:
    """110 USDC at 1.10 take at least 100 EURC; one unit less cannot work, exactly that may."""
    requirement = offer(world)
    body = refused(pay(world, payment(world, requirement, max_eurc=99_999_999)), "budget_too_small")
    assert body["least_eurc"] == 100_000_000


@pytest.mark.parametrize("name", ["value", "deadline", "s", "v"])
def test_a_permit_that_does_not_fit_is_refused(world: World, name: str) -> None:
    """A permit over less, ending earlier, or not signed by the client."""
    changed = {"value": 1, "deadline": 1, "s": OTHER_WORD, "v": 30}[name]
    sent = payment(world, offer(world), permit=lambda p: p.__setitem__(name, changed))
    refused(pay(world, sent), "bad_signature")


def test_an_offer_that_has_ended_is_refused(world: World) -> None:
    """The chain's time decides."""
    sent = payment(world, offer(world))
    world.skip(601)
    refused(pay(world, sent), "deadline_passed")


def test_a_payment_for_another_amount_is_refused(world: World) -> None:
    """Signed for 100, sent to the resource of 50."""
    sent = payment(world, offer(world))
    refused(pay(world, sent, AMOUNT // 2), "terms_mismatch")


def test_after_every_refusal_the_same_offer_can_still_be_paid(world: World) -> None:
    """Bad input loses nothing: the offer stands, and the right payment settles."""
    requirement = offer(world)
    refused(pay(world, payment(world, requirement, max_eurc=1)), "budget_too_small")
    refused(pay(world, "%%%"), "invalid_payment")
    answer = pay(world, payment(world, requirement))
    assert answer.status == 200, answer.data()
    expected = {
        "status": "created",
        "message": "Settlement created successfully",
        "required_usdc": 110_000_000,
        "max_eurc": 101_000_000,
        "asset_amount": AMOUNT,
    }
    assert expected == {name: answer.data()[name] for name in expected}
    view = follow(world, answer.data()["settlement_id"])
    assert (view["status"], view["state"]) == ("executed", "executed")
    assert key_of("buyer").address == view["client"]


def test_unknown_and_malformed_ids(world: World) -> None:
    """404 for an id that is none of ours, 400 for what is no id."""
    for service in ("seller", "facilitator", "tracker"):
        refused(world.get(f"http://{service}/settlement/{OTHER_WORD}"), "unknown_settlement", 404)
        for text in ("abc", "0x12", OTHER_WORD + "00", "0x" + "zz" * 32, "%00", "latest"):
            refused(world.get(f"http://{service}/settlement/{text}"), "invalid_settlement_id")


@pytest.mark.parametrize("service", ["seller", "facilitator", "tracker"])
def test_unknown_paths_and_methods_answer_in_json(world: World, service: str) -> None:
    """Whatever the path, the error is JSON."""
    refused(world.get(f"http://{service}/nowhere"), "not_found", 404)
    answer = world.send(Request("DELETE", f"http://{service}/health"))
    assert refused(answer, "method_not_allowed", 405)["allowed"] == ["GET", "HEAD"]
    refused(world.get(f"http://{service}/events?after=-1"), "invalid_request")
    refused(world.get(f"http://{service}/events?after=1&after=2"), "invalid_request")

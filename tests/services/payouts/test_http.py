"""The seed's endpoints of the payout service: answers, and clear errors for bad input."""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.payouts.desk import BROWSER, CHECKSUMMED, FORM, JSON, TO, Desk, ask
from workbench.services.payouts.input import MAX_CREDITS


@pytest.mark.parametrize("kind", [JSON, FORM])
def test_earn_and_be_paid(desk: Desk, kind: str) -> None:
    """The seed's two requests, as JSON and as a form, to the end."""
    earned = desk.post("/earn", {"user_id": "u1", "credits": 100}, kind=kind)
    assert (200, "u1", 100) == (earned.status, earned.data()["user_id"], earned.data()["credits"])
    asked = desk.post("/payout", ask(), kind=kind)
    assert 200 == asked.status
    assert "k1" == asked.data()["idempotency_key"]
    assert {"credits": 60, "held": 40} == {k: desk.user()[k] for k in ("credits", "held")}
    desk.settle()
    user = desk.user()
    assert (60, 0) == (user["credits"], user["held"])
    (payout,) = user["payouts"]
    assert ("paid", CHECKSUMMED, 40, "k1") == tuple(
        payout[name] for name in ("state", "address", "credits", "idempotency_key")
    )
    assert payout["tx"].startswith("0x")
    assert {TO: 1} == desk.storm.chain.paid()


def test_a_key_is_made_where_none_is_given(desk: Desk) -> None:
    desk.earn()
    told = desk.post("/payout", {k: v for k, v in ask().items() if k != "idempotency_key"})
    assert 32 == len(told.data()["idempotency_key"])


def test_a_browser_is_led_to_the_users_page(desk: Desk) -> None:
    """And what is there is a page, with the user's history, escaped."""
    earned = desk.post("/earn", {"user_id": "u1", "credits": "100"}, BROWSER, kind=FORM)
    assert (303, "/user/u1") == (earned.status, dict(earned.headers)["Location"])
    assert 303 == desk.post("/payout", ask(), BROWSER, kind=FORM).status
    page = desk.get("/user/u1", BROWSER)
    assert (200, "text/html; charset=utf-8") == (page.status, page.content_type)
    assert CHECKSUMMED in page.body.decode()
    refused = desk.post("/payout", ask(credits=-1), BROWSER, kind=FORM)
    assert 400 == refused.status
    assert "is not a whole number" in refused.body.decode()
    home = desk.get("/", BROWSER).body.decode()
    assert 2 == home.count("<form") == home.count('name="idempotency_key"')
    assert "same-origin" == dict(page.headers)["Referrer-Policy"]


def test_health_names_payer_and_mode(desk: Desk) -> None:
    told = desk.get("/health").data()
    assert ("ok", False, None, "0.001 ETH") == tuple(
        told[name] for name in ("status", "token_mode", "token", "one_credit")
    )
    assert told["payer"].lower() == desk.storm.signer.address


BAD_CREDITS = [
    0, -1, 1.5, 1.0, "1e3", True, False, None, float("nan"), float("inf"), 2**63, MAX_CREDITS + 1,
    10**399, "9" * 400, "", " ", "١٢", "１２", "0x10", "+5", "1_000", "1,000", [], {}, [5],
]  # fmt: skip


@pytest.mark.parametrize("path", ["/earn", "/payout"])
@pytest.mark.parametrize("credits", BAD_CREDITS, ids=lambda value: str(value)[:12] or "empty")
def test_credits_that_are_none(desk: Desk, path: str, credits: Any) -> None:
    desk.earn()
    before = desk.user()
    told = desk.post(path, ask(credits=credits))
    assert 400 == told.status
    assert told.data()["error"] in ("invalid_credits", "invalid_request")
    assert told.data()["message"]
    assert before == desk.user()


BAD_USERS = [
    "",
    " ",
    "a" * 129,
    "a" * 5_000,
    "a\x00b",
    "a\nb",
    "<b>x</b>",
    "a/b",
    "a b",
    '"',
    "\u202e",
]


@pytest.mark.parametrize("user", [*BAD_USERS, 5, None, ["u1"]], ids=lambda value: repr(value)[:16])
def test_users_that_cannot_be(desk: Desk, user: Any) -> None:
    told = desk.post("/earn", {"user_id": user, "credits": 1})
    assert (400, "invalid_user") == (told.status, told.data()["error"])
    if isinstance(user, str):
        refused = desk.post("/earn", {"user_id": user, "credits": 1}, kind=FORM)
        assert 400 == refused.status


@pytest.mark.parametrize("user", ["Jürgen", "a.b@example.com", "user:7", "0", "ユーザー"])
def test_users_that_can(desk: Desk, user: str) -> None:
    desk.earn(user=user)
    assert 100 == desk.user(user)["credits"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", JSON), (b"  ", JSON), (b"{", JSON), (b"[]", JSON), (b'"x"', JSON), (b"null", JSON),
        (b"[" * 5_000, JSON), (b"\xff\xfe", JSON), (b'{"user_id":"a","user_id":"b"}', JSON),
        (b'{"user_id":"u1","credits":NaN}', JSON), (b"{}", JSON), (b"user_id=%ff&credits=1", FORM),
        (b"user_id=a&user_id=b&credits=1", FORM), (b"x", "text/plain"),
        (b"user_id=u1", "multipart/form-data; boundary=x"), (b"a", ""),
        (b'{"user_id": "u1"}', FORM),
    ],
    ids=lambda value: repr(value)[:24],
)  # fmt: skip
def test_bodies_that_say_nothing(desk: Desk, body: bytes, kind: str) -> None:
    for path in ("/earn", "/payout", "/v1/credits", "/v1/payouts", "/v1/payouts:batch"):
        told = desk.post(path, body, kind=kind)
        assert 400 == told.status, path
        assert {"error", "message"} <= set(told.data())


def test_a_body_of_100_kb(desk: Desk) -> None:
    told = desk.post("/earn", {"user_id": "u1", "credits": 1, "note": "x" * 100_000})
    assert (413, "body_too_large") == (told.status, told.data()["error"])


def wrong_checksum() -> str:
    return CHECKSUMMED.replace("0xAB", "0xaB")


@pytest.mark.parametrize(
    "address",
    ["", "0x", TO[:-1], TO + "0", TO[2:], f" {TO}", f"{TO} ", "vitalik.eth", "0x" + "zz" * 20,
     wrong_checksum(), "0x" + "00" * 20, "payer", 5, None, "0X" + "ab" * 20],
    ids=lambda value: str(value)[:16] or "empty",
)  # fmt: skip
def test_addresses_that_money_must_not_go_to(desk: Desk, address: Any) -> None:
    desk.earn()
    before = desk.user()
    address = desk.storm.signer.address if address == "payer" else address
    told = desk.post("/payout", ask(address=address))
    assert 400 == told.status
    assert before == desk.user()


@pytest.mark.parametrize("address", [TO, CHECKSUMMED, "0x" + "AB" * 20])
def test_addresses_in_three_spellings_are_one(desk: Desk, address: str) -> None:
    desk.earn()
    assert 200 == desk.post("/payout", ask(address=address)).status
    assert desk.post("/payout", ask()).data()["replayed"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é", "\n"])
def test_keys_that_cannot_be_kept(desk: Desk, key: str) -> None:
    desk.earn()
    told = desk.post("/payout", ask(idempotency_key=key or 5))
    assert (400, "invalid_idempotency_key") == (told.status, told.data()["error"])


@pytest.mark.parametrize("path", ["/nothing", "/user/", "/v1/payouts/x/y", "/v1"])
def test_nothing_is_there(desk: Desk, path: str) -> None:
    assert 404 == desk.get(path).status


def test_methods_and_unknown_payouts(desk: Desk) -> None:
    assert 405 == desk.get("/earn").status
    assert 404 == desk.get("/v1/payouts/0x00").status
    assert 404 == desk.post("/v1/payouts/0x00:cancel", {}).status
    assert 400 == desk.get("/v1/payouts", state="gone").status
    assert 400 == desk.get("/v1/transfers", after="-1").status
    assert 400 == desk.get("/v1/transfers", limit="0").status

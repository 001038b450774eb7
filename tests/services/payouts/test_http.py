"""The payout service as its callers meet it: bad input has a clear answer, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.services.payouts.storm import DEPTH, Storm
from workbench.core import ledger
from workbench.core.errors import LedgerBroken
from workbench.core.payout import PayoutState
from workbench.core.ports import Request, Response
from workbench.services.payouts.http import PayoutHttpService
from workbench.services.payouts.input import MAX_CREDITS
from workbench.store.ledger.database import LedgerStore

TO = "0x" + "ab" * 20
CHECKSUMMED = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BROWSER = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")


class Desk:
    """A payout service on a chain in memory, and a caller."""

    def __init__(self, url: str = "sqlite://") -> None:
        self.storm = Storm(1, count=4, url=url)
        self.service = PayoutHttpService(self.storm.payouts)
        self.storm.loop.run_until_complete(self.storm.payouts.check())

    def rules(self, **changes: Any) -> None:
        payouts = self.storm.payouts
        payouts.rules = replace(payouts.rules, **changes)
        self.service = PayoutHttpService(payouts)

    def send(self, request: Request) -> Response:
        return self.storm.loop.run_until_complete(self.service.handle(request))

    def post(self, path: str, body: Any, *headers: tuple[str, str], kind: str = JSON) -> Response:
        if not isinstance(body, bytes):
            body = (json.dumps(body) if kind == JSON else urlencode(body)).encode()
        return self.send(
            Request("POST", path, headers=(("Content-Type", kind), *headers), body=body)
        )

    def get(self, path: str, *headers: tuple[str, str], **query: str) -> Response:
        return self.send(Request("GET", path, query=tuple(query.items()), headers=headers))

    def earn(self, credits: int = 100, user: str = "u1") -> None:
        assert self.post("/earn", {"user_id": user, "credits": credits}).status == 200

    def user(self, user: str = "u1") -> Any:
        return self.get(f"/user/{user}", ("Accept", JSON)).data()

    def settle(self) -> None:
        for _ in range(DEPTH + 4):
            self.storm.loop.run_until_complete(self.storm.payouts.tick())
            self.storm.chain.mine()
            self.storm.loop.jump(2)
        self.storm.loop.run_until_complete(self.storm.payouts.tick())


@pytest.fixture
def desk() -> Iterator[Desk]:
    at = Desk()
    yield at
    at.storm.loop.close()
    at.storm.store.close()


def ask(**changes: Any) -> dict[str, Any]:
    return {"user_id": "u1", "address": TO, "credits": 40, "idempotency_key": "k1", **changes}


# --- As the seed says ---


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


# --- Bad input ---

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


# --- Keys ---


def test_the_same_request_gets_the_same_answer_for_ever(desk: Desk) -> None:
    """As JSON or form, by header or field, in another spelling, after a restart; and marked."""
    desk.earn()
    first = desk.post("/payout", ask())
    plain = {k: v for k, v in ask().items() if k != "idempotency_key"}
    desk.storm.start()
    desk.service = PayoutHttpService(desk.storm.payouts)
    for again in (
        desk.post("/payout", ask()),
        desk.post("/payout", ask(), kind=FORM),
        desk.post("/payout", ask(credits="40")),
        desk.post("/payout", plain, ("Idempotency-Key", "k1")),
        desk.post("/payout", plain, ("idempotency-key", '"k1"')),
        desk.post("/v1/payouts", ask(address=CHECKSUMMED)),
    ):
        assert again.status in (200, 202)
        now = desk.get(f"/v1/payouts/{first.data()['id']}").data()
        told = again.data()
        assert {n: now[n] for n in told["now"]} == told.pop("now"), "beside the first answer"
        assert {**first.data(), "replayed": True} == told
        assert "true" == dict(again.headers)["Idempotency-Replayed"]
    assert 60 == desk.user()["credits"]


@pytest.mark.parametrize(
    "change", [{"credits": 41}, {"user_id": "u2"}, {"address": "0x" + "cd" * 20}], ids=str
)
def test_another_request_under_a_used_key(desk: Desk, change: dict[str, Any]) -> None:
    desk.earn()
    desk.post("/payout", ask())
    told = desk.post("/payout", ask(**change))
    assert (422, "idempotency_key_reused") == (told.status, told.data()["error"])


def test_two_keys_that_differ(desk: Desk) -> None:
    told = desk.post("/payout", ask(), ("Idempotency-Key", "other"))
    assert 400 == told.status


def test_earning_has_keys_of_its_own(desk: Desk) -> None:
    for _ in range(3):
        desk.post("/earn", {"user_id": "u1", "credits": 100, "idempotency_key": "k1"})
    assert 100 == desk.user()["credits"]
    assert 200 == desk.post("/payout", ask()).status, "the key of an earning is none of a payout"


def test_a_refusal_is_for_ever(desk: Desk) -> None:
    """Credits that come later do not let an old request through: its sender has given it up."""
    assert 409 == desk.post("/payout", ask()).status
    desk.earn()
    again = desk.post("/payout", ask())
    assert (409, True) == (again.status, again.data()["replayed"])
    assert 200 == desk.post("/payout", ask(idempotency_key="k2")).status


# --- At once ---


def test_two_payouts_each_of_the_whole_balance_at_once(desk: Desk) -> None:
    desk.earn()

    async def both() -> list[Response]:
        body = [json.dumps(ask(credits=100, idempotency_key=k)).encode() for k in ("a", "b")]
        kind = (("Content-Type", JSON),)
        sent = (desk.service.handle(Request("POST", "/payout", headers=kind, body=b)) for b in body)
        return list(await asyncio.gather(*sent))

    answers = desk.storm.loop.run_until_complete(both())
    assert [200, 409] == sorted(answer.status for answer in answers)
    assert 0 == desk.user()["credits"]


def test_fifty_copies_at_once(desk: Desk) -> None:
    desk.earn()

    async def copies() -> list[Response]:
        headers, body = (("Content-Type", JSON),), json.dumps(ask()).encode()
        request = Request("POST", "/payout", headers=headers, body=body)
        return list(await asyncio.gather(*(desk.service.handle(request) for _ in range(50))))

    answers = desk.storm.loop.run_until_complete(copies())
    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.data()["id"] for answer in answers})
    assert 49 == sum("replayed" in answer.data() for answer in answers)
    desk.settle()
    assert {TO: 1} == desk.storm.chain.paid()


# --- Who may ask ---


@pytest.mark.parametrize(
    "headers",
    [
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Origin", "https://evil.example"), ("Host", "127.0.0.1:8080")],
        [("Origin", "null"), ("Host", "127.0.0.1:8080")],
        [("Host", "evil.example:8080"), ("Origin", "http://evil.example:8080")],
        [("Host", "evil.example:8080")],
    ],
    ids=str,
)
def test_posts_from_other_sites_are_refused(desk: Desk, headers: list[tuple[str, str]]) -> None:
    for path in ("/earn", "/payout", "/v1/credits"):
        told = desk.post(path, ask(), *headers)
        assert (403, "cross_site") == (told.status, told.data()["error"])
    assert 0 == desk.user()["credits"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Host", "127.0.0.1:8080")],
        [("Sec-Fetch-Site", "same-origin"), ("Origin", "null")],
        [("Sec-Fetch-Site", "none")],
        [("Origin", "http://localhost:8080"), ("Host", "localhost:8080")],
    ],
    ids=str,
)
def test_our_own_forms_and_programs_pass(desk: Desk, headers: list[tuple[str, str]]) -> None:
    assert 200 == desk.post("/earn", {"user_id": "u1", "credits": 1}, *headers).status


def test_an_api_key_where_one_is_needed(desk: Desk) -> None:
    """Bearer, X-API-Key, or a browser's password; health is open, and the key is never shown."""
    key = "a-long-and-random-key"
    desk.rules(api_key=key)
    basic = "Basic dTphLWxvbmctYW5kLXJhbmRvbS1rZXk="
    good = [("Authorization", f"Bearer {key}"), ("X-API-Key", key), ("Authorization", basic)]
    for header in good:
        assert 200 == desk.post("/earn", {"user_id": "u1", "credits": 1}, header).status
    bad = [
        ("X-API-Key", "x"),
        ("Authorization", "Bearer"),
        ("Authorization", "Basic !"),
        ("A", "b"),
    ]
    for header in bad:
        for path in ("/earn", "/v1/credits"):
            told = desk.post(path, {"user_id": "u1", "credits": 1}, header)
            assert (401, "api_key_needed") == (told.status, told.data()["error"])
            assert "Basic" in dict(told.headers)["WWW-Authenticate"]
    assert 401 == desk.get("/user/u1").status == desk.get("/").status == desk.get("/metrics").status
    assert [200] * 3 == [desk.get(path).status for path in ("/health", "/livez", "/readyz")]
    assert key not in desk.get("/health").body.decode()


# --- Limits, approval, taking back ---


@pytest.mark.parametrize("limit", ["daily_user", "daily_address", "daily_wallet"])
def test_limits_of_a_day(desk: Desk, limit: str) -> None:
    """What was taken back does not count; a day later it is free again."""
    desk.earn(1_000)
    desk.rules(**{limit: 100})
    assert 200 == desk.post("/payout", ask(credits=60, idempotency_key="a")).status
    told = desk.post("/payout", ask(credits=41, idempotency_key="b"))
    assert (409, "over_limit") == (told.status, told.data()["error"])
    assert 200 == desk.post("/payout", ask(idempotency_key="c")).status
    first = desk.user()["payouts"][0]["id"]
    assert 200 == desk.post(f"/v1/payouts/{first}:cancel", {}).status
    assert 200 == desk.post("/payout", ask(idempotency_key="d")).status
    desk.storm.loop.jump(86_401)
    assert 200 == desk.post("/payout", ask(credits=100, idempotency_key="e")).status


def test_a_large_payout_waits_for_a_person(desk: Desk) -> None:
    desk.earn(1_000)
    desk.rules(approve_above=100)
    payout = desk.post("/v1/payouts", ask(credits=101)).data()
    assert "held" == payout["state"]
    desk.settle()
    assert {} == desk.storm.chain.paid()
    assert 400 == desk.post(f"/v1/payouts/{payout['id']}:approve", {}).status
    approved = desk.post(f"/v1/payouts/{payout['id']}:approve", {"by": "bob"})
    assert "approved" == approved.data()["state"]
    assert 409 == desk.post(f"/v1/payouts/{payout['id']}:approve", {"by": "bob"}).status
    desk.settle()
    assert {TO: 1} == desk.storm.chain.paid()


def test_taken_back_before_it_is_signed(desk: Desk) -> None:
    desk.earn()
    payout = desk.post("/payout", ask()).data()
    told = desk.post(f"/v1/payouts/{payout['id']}:cancel", {})
    assert (200, "cancelled") == (told.status, told.data()["state"])
    assert 100 == desk.user()["credits"]
    desk.settle()
    assert {} == desk.storm.chain.paid()
    assert 409 == desk.post(f"/v1/payouts/{payout['id']}:cancel", {}).status


def test_taken_back_by_a_no_op_of_the_same_nonce(desk: Desk) -> None:
    """Signed, and still in the pool: whichever is mined decides, and here it is the no-op."""
    desk.earn()
    payout = desk.post("/payout", ask()).data()
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    told = desk.post(f"/v1/payouts/{payout['id']}:cancel", {})
    assert (202, "sent") == (told.status, told.data()["state"])
    desk.settle()
    assert "cancelled" == desk.user()["payouts"][0]["state"]
    assert (100, {}) == (desk.user()["credits"], desk.storm.chain.paid())
    one = desk.get(f"/v1/payouts/{payout['id']}").data()
    assert 2 == len(one["transaction"]["attempts"])


def test_too_late_to_take_back(desk: Desk) -> None:
    desk.earn()
    payout = desk.post("/payout", ask()).data()
    for _ in range(2):
        desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
        desk.storm.chain.mine()
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    assert 409 == desk.post(f"/v1/payouts/{payout['id']}:cancel", {}).status
    desk.settle()
    assert {TO: 1} == desk.storm.chain.paid()


# --- Troubles of the wallet, the key and the database ---


def test_a_wallet_without_funds(desk: Desk) -> None:
    """What it cannot pay stays where it is, and readiness says so; refilled, it goes on."""
    desk.earn()
    desk.storm.chain.funds = 10**15
    desk.post("/payout", ask())
    desk.settle()
    assert (503, "approved") == (
        desk.get("/readyz").status, desk.user()["payouts"][0]["state"],
    )  # fmt: skip
    assert "wallet_short" in desk.get("/readyz").data()["alarms"]
    desk.storm.chain.funds = 10**20
    desk.storm.loop.jump(60)
    desk.settle()
    assert (200, {TO: 1}) == (desk.get("/readyz").status, desk.storm.chain.paid())


def test_a_foreign_transaction_stops_the_signer(desk: Desk) -> None:
    """Ours lost its nonce for good: no refund, no other nonce, and no further payout is signed."""
    desk.earn()
    desk.post("/payout", ask())
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    desk.storm.chain.foreign(0)
    desk.settle()
    assert "sent" == desk.user()["payouts"][0]["state"]
    told = desk.get("/readyz")
    assert (503, True) == (told.status, "signer_quarantined" in told.data()["alarms"])
    assert 200 == desk.post("/payout", ask(credits=1, idempotency_key="k2")).status
    desk.settle()
    assert "approved" == desk.user()["payouts"][0]["state"], "accepted, and waiting"
    kinds = [e["type"] for e in desk.get("/events").data()["events"]]
    assert 1 == kinds.count("SignerQuarantined")
    lost, waiting = (desk.user()["payouts"][n]["id"] for n in (1, 0))
    assert 409 == desk.post(f"/v1/payouts/{waiting}:refund", {"by": "bob"}).status
    given = desk.post(f"/v1/payouts/{lost}:refund", {"by": "bob"}).data()
    assert ("refunded", True) == (given["state"], "by bob" in given["reason"])
    assert 99 == desk.user()["credits"]
    assert 409 == desk.post(f"/v1/payouts/{lost}:refund", {"by": "bob"}).status


def test_a_person_lets_the_signer_go_on(desk: Desk) -> None:
    desk.earn()
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    desk.storm.chain.foreign(0)
    desk.storm.chain.mine()
    desk.post("/payout", ask())
    desk.settle()
    assert "approved" == desk.user()["payouts"][0]["state"]
    assert 200 == desk.post("/v1/signer:release", {}).status
    desk.storm.loop.jump(60)
    desk.settle()
    assert 1 == desk.storm.chain.paid()[TO]


def test_yesterdays_database_is_restored(desk: Desk) -> None:
    """It does not know what was paid since: the signer stands still, and nothing is paid again."""
    desk.earn()
    desk.post("/payout", ask())
    image = desk.storm.store.dump()
    desk.settle()
    assert {TO: 1} == desk.storm.chain.paid()
    desk.storm.store.restore(image)
    desk.storm.start()
    desk.service = PayoutHttpService(desk.storm.payouts)
    desk.settle()
    assert "approved" == desk.user()["payouts"][0]["state"]
    assert "signer_quarantined" in desk.get("/readyz").data()["alarms"]
    assert {TO: 1} == desk.storm.chain.paid()


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[Desk]:
    """A service whose database is a file, which others can lock and fill."""
    at = Desk(f"sqlite:///{tmp_path / 'app.db'}")
    yield at
    at.storm.loop.close()
    at.storm.store.close()


def test_a_database_that_is_locked(filed: Desk, tmp_path: Path) -> None:
    """503, in words; afterwards everything is as before."""
    filed.earn()
    filed.storm.store.cursor.execute("PRAGMA busy_timeout=20")
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = filed.post("/payout", ask())
        assert (503, "store_busy") == (told.status, told.data()["error"])
        assert "locked" in told.data()["message"]
        other.execute("ROLLBACK")
    assert 100 == filed.user()["credits"]
    assert 200 == filed.post("/payout", ask()).status


def test_a_disk_that_is_full(filed: Desk) -> None:
    """The same; and the rounds go on once there is room."""
    filed.earn()
    filed.storm.store.cursor.execute("PRAGMA max_page_count=1")
    answers = [filed.post("/payout", ask(idempotency_key=f"k{n}", credits=1)) for n in range(60)]
    refused = [told for told in answers if told.status != 200]
    assert refused, "the file cannot grow"
    assert {(503, "store_busy")} == {(told.status, told.data()["error"]) for told in refused}
    assert "full" in refused[0].data()["message"]
    filed.storm.store.cursor.execute("PRAGMA max_page_count=1000000")
    accepted = len(answers) - len(refused)
    assert accepted == filed.user()["held"]
    filed.settle()
    filed.settle()
    assert {TO: accepted} == filed.storm.chain.paid()


def test_two_servers_on_one_file(filed: Desk, tmp_path: Path) -> None:
    """Both accept; one of them sends, and the other says that it stands by."""
    filed.earn()
    second = Desk(f"sqlite:///{tmp_path / 'app.db'}")
    second.storm.line.chain = second.storm.chain = filed.storm.chain
    for desk, key in ((filed, "a"), (second, "b")):
        desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
        assert 200 == desk.post("/payout", ask(credits=1, idempotency_key=key)).status
    assert ["sender", "standby"] == [desk.get("/readyz").data()["role"] for desk in (filed, second)]
    second.storm.loop.run_until_complete(second.storm.payouts.tick())
    assert {"approved"} == {p["state"] for p in second.user()["payouts"]}, "it sends nothing"
    filed.settle()
    assert {TO: 2} == filed.storm.chain.paid()
    filed.storm.store.close()
    second.storm.loop.run_until_complete(second.storm.payouts.tick())
    assert "sender" == second.get("/readyz").data()["role"], "the first is gone"
    second.storm.store.close()
    second.storm.loop.close()
    filed.storm.store = LedgerStore(f"sqlite:///{tmp_path / 'app.db'}")


def test_a_transfer_edited_by_hand(filed: Desk, tmp_path: Path) -> None:
    """The database refuses; and where its rules were taken away first, `verify` finds the line."""
    filed.earn()
    change = "UPDATE transfer SET amount = '000000000000000000000000000000000999'"
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as hand:
        with pytest.raises(sqlite3.IntegrityError, match="is not changed"):
            hand.execute(change)
        hand.execute("DROP TRIGGER transfer_no_update")
        hand.execute(change)

    async def verify() -> None:
        async with filed.storm.store.unit() as unit:
            ledger.check(await unit.accounts(), await unit.transfers())

    with pytest.raises(LedgerBroken, match="line 1 is not what was written"):
        asyncio.run(verify())


# --- For programs ---


def test_a_batch_is_so_many_single_payouts(desk: Desk) -> None:
    desk.earn()
    items = [ask(idempotency_key="a"), ask(credits=70, idempotency_key="b"), ask(credits=0),
             ask(idempotency_key="a")]  # fmt: skip
    told = desk.post("/v1/payouts:batch", {"payouts": items}).data()["payouts"]
    assert [202, 409, 400, 202] == [each["status"] for each in told]
    assert told[0]["id"] == told[3]["id"]
    wrong: list[Any] = [[], [{}], "x", [ask()] * 101, [5]]
    for bad in wrong:
        assert 400 == desk.post("/v1/payouts:batch", {"payouts": bad}).status


def test_the_api_describes_itself(desk: Desk) -> None:
    """Every path that is described is there, and every path that is there is described."""
    described = desk.get("/v1/openapi.json").data()
    routes = {
        (method.lower(), re.sub(r"\(\?P<\w+>\[[^]]+\]\+\)", "{}", pattern.pattern))
        for method, pattern, _ in desk.service._routes._routes
    }
    told = {
        (method, path.replace("{id}", "{}").replace("{user_id}", "{}"))
        for path, methods in described["paths"].items()
        for method in methods
    }
    assert routes - told == {("get", "/"), ("get", "/v1/openapi.json")}
    assert told <= routes


def test_balances_transfers_and_metrics(desk: Desk) -> None:
    desk.earn()
    desk.post("/payout", ask())
    desk.settle()
    balance = desk.get("/v1/balances/u1").data()
    assert {
        "user_id": "u1",
        "known": True,
        "credits": 60,
        "held": 0,
        "paid": 40,
        "earned": 100,
    } == balance
    lines = desk.get("/v1/transfers", account="user:u1").data()["transfers"]
    assert ["posted", "pending", "post"] == [line["kind"] for line in lines]
    assert ["paid"] == [p["state"] for p in desk.get("/v1/payouts", state="paid").data()["payouts"]]
    metrics = desk.get("/metrics").body.decode()
    assert 'payouts{state="paid"} 1' in metrics
    assert "payouts_credits_redeemed_total 40" in metrics
    assert PayoutState.PAID.value in metrics
    report = desk.get("/v1/reconciliation").data()
    assert (True, True) == (report["settled"], report["right"])

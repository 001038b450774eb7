"""Idempotency keys: the same request gets the same answer, also under concurrency."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.services.payouts.desk import CHECKSUMMED, FORM, JSON, TO, Desk, ask
from workbench.core.ports import Request, Response
from workbench.services.payouts.http import PayoutHttpService


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

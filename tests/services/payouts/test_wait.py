"""`Prefer: wait=N`: old clients see the transaction's hash, and nobody else waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.services.payouts.conftest import desk
from tests.services.payouts.desk import BROWSER, JSON, Desk, ask
from workbench.core.errors import StoreBusy
from workbench.core.ports import Request, Response

__all__ = ["desk"]


def request(path: str, body: Any = None, **headers: str) -> Request:
    import json

    method = "GET" if body is None else "POST"
    named = (("Content-Type", JSON), *((name, value) for name, value in headers.items()))
    return Request(method, path, (), named, b"" if body is None else json.dumps(body).encode())


async def rounds(desk: Desk, count: int) -> None:
    """The service's rounds beside what waits; a block after each."""
    for _ in range(count):
        await desk.storm.clock.sleep(1)
        await desk.storm.payouts.tick()
        desk.storm.chain.mine()


def together(desk: Desk, *asked: Request, count: int = 12) -> list[Response]:
    async def play() -> list[Any]:
        waiting = [asyncio.ensure_future(desk.service.handle(each)) for each in asked]
        await rounds(desk, count)
        return await asyncio.gather(*waiting)

    answers: list[Response] = desk.storm.loop.run_until_complete(play())
    return answers


@pytest.mark.parametrize("path", ["/payout", "/v1/payouts"])
def test_the_hash_comes_with_the_answer(desk: Desk, path: str) -> None:
    desk.earn()
    (answer,) = together(desk, request(path, ask(), Prefer="respond-async, wait=5"))
    told = answer.data()
    assert (told["state"], told["tx"][:2]) == ("sent", "0x")
    assert dict(answer.headers)["Preference-Applied"] == "wait=5"
    replay = desk.post(path, ask()).data()
    assert (replay["tx"], replay["replayed"]) == (None, True), "the first answer stays"
    assert replay["now"]["tx"] == told["tx"]


def test_the_seeds_path_waits_by_itself(desk: Desk) -> None:
    desk.rules(wait_s=5.0)
    desk.earn()
    payout, plain = together(
        desk,
        request("/payout", ask()),
        request("/v1/payouts", ask(idempotency_key="k2")),
    )
    assert payout.data()["tx"].startswith("0x")
    assert plain.data()["tx"] is None
    start = desk.storm.clock.now_ms()
    desk.post("/payout", ask(idempotency_key="k3", credits=1), ("Prefer", "wait=0"))
    assert desk.storm.clock.now_ms() == start


def test_one_payout_is_waited_for_to_its_end(desk: Desk) -> None:
    desk.earn()
    payout = desk.post("/payout", ask()).data()["id"]
    (answer,) = together(desk, request(f"/v1/payouts/{payout}", Prefer="wait=30"))
    assert answer.data()["state"] == "paid"


def test_a_wait_is_bounded_and_a_payout_that_ends_otherwise_is_an_answer(desk: Desk) -> None:
    desk.earn()
    start = desk.storm.clock.now_ms()
    answer = desk.post("/payout", ask(), ("Prefer", "wait=999999"))
    assert answer.data()["state"] == "approved"
    assert dict(answer.headers)["Preference-Applied"] == "wait=30"
    assert desk.storm.clock.now_ms() - start == 30_000
    for unclear in ("wait=soon", "wait=-1", "foo=waiting"):
        ignored = desk.post("/payout", ask(), ("Prefer", unclear))
        assert (ignored.status, "Preference-Applied" in dict(ignored.headers)) == (200, False)

    payout = answer.data()["id"]

    async def cancelled() -> list[Any]:
        waiting = asyncio.ensure_future(
            desk.service.handle(request("/payout", ask(), Prefer="wait=20"))
        )
        await desk.storm.clock.sleep(3)
        await desk.storm.payouts.cancel(payout)
        return [await waiting, desk.storm.clock.now_ms()]

    before = desk.storm.clock.now_ms()
    told, at_ms = desk.storm.loop.run_until_complete(cancelled())
    assert (told.status, told.data()["now"]["state"]) == (200, "cancelled")
    assert at_ms - before < 5_000


def test_two_hundred_who_wait_hold_up_nobody(desk: Desk) -> None:
    """None of them holds a transaction of the database while it waits."""
    desk.earn(1_000)
    asked = [
        request("/payout", ask(credits=1, idempotency_key=f"k{n}"), Prefer="wait=8")
        for n in range(200)
    ]
    answers = together(desk, *asked, count=9)
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.data()["tx"] is not None for answer in answers) >= 64


@pytest.mark.parametrize("fault", [StoreBusy("the database is away (test)."), KeyError("defect")])
def test_accepted_is_the_answer_whatever_happens_while_it_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    desk.earn()

    async def away(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr("workbench.services.payouts.form_endpoints.waited", away)
    answer = desk.post("/payout", ask(), ("Prefer", "wait=5"))
    assert (answer.status, answer.data()["state"]) == (200, "approved")


def test_a_batch_tells_what_it_has_accepted_when_another_one_fails(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.earn()
    payouts, asked = desk.storm.payouts, [ask(credits=1, idempotency_key=f"k{n}") for n in range(3)]
    accept = payouts.request

    async def once_away(one: Any) -> Any:
        if one.key == "k1":
            raise StoreBusy("the database is away (test).")
        return await accept(one)

    monkeypatch.setattr(payouts, "request", once_away)
    answer = desk.post("/v1/payouts:batch", {"payouts": asked})
    told = answer.data()["payouts"]
    assert (answer.status, [each["status"] for each in told]) == (200, [202, 503, 202])


@pytest.mark.parametrize("path", ["/earn", "/payout", "/v1/payouts", "/v1/payouts/x:resolve"])
def test_half_a_surrogate_pair_is_an_error_of_the_request_on_a_page_too(
    desk: Desk, path: str
) -> None:
    answer = desk.post(path, b'{"\\ud800": 1}', BROWSER)
    assert (answer.status, answer.content_type) == (400, "text/html; charset=utf-8")


def test_the_balance_of_an_unknown_user_says_so(desk: Desk) -> None:
    desk.earn()
    for user, is_known in (("u1", True), ("nobody", False)):
        assert desk.get(f"/v1/balances/{user}").data()["known"] is is_known


def test_at_the_end_those_who_wait_are_answered(desk: Desk) -> None:
    desk.earn()

    async def play() -> Any:
        waiting = asyncio.ensure_future(
            desk.service.handle(request("/payout", ask(), Prefer="wait=30"))
        )
        await desk.storm.clock.sleep(1)
        start = desk.storm.clock.now_ms()
        await desk.service.wind_down()
        assert desk.storm.clock.now_ms() - start < 1_000
        return await waiting

    answer = desk.storm.loop.run_until_complete(play())
    assert (answer.status, answer.data()["state"]) == (200, "approved")


def test_preferences_may_stand_in_several_headers(desk: Desk) -> None:
    desk.earn()
    answer = desk.post("/payout", ask(), ("Prefer", "respond-async"), ("Prefer", "wait=0"))
    assert dict(answer.headers)["Preference-Applied"] == "wait=0"

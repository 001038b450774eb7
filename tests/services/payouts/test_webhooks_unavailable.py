"""Subscribers that are away, slow or gone: asked ever more rarely, and they hold up nobody."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest

from tests.services.payouts import webhook_receivers
from tests.services.payouts.desk import TO, Desk, ask
from tests.services.payouts.webhook_receivers import (
    DAY_S,
    HOUR_S,
    OTHER,
    SECRET,
    URL,
    House,
    Receiver,
    lost,
)
from workbench.core.errors import StoreError
from workbench.core.ports import Request, Response
from workbench.services.payouts.http import PayoutHttpService
from workbench.services.payouts.webhooks import TIMEOUT_S, Endpoint, WebhookRules, Webhooks

house = webhook_receivers.house


def test_away_for_days_and_back(house: House) -> None:
    """It is asked ever more rarely, at least once an hour, marked after three days, and catches up.

    The first message waits for its answer; the others wait behind it.
    """
    house.happen(3)
    house.receiver.before = lost
    house.live(10)
    assert 3 <= len(house.receiver.asked) <= 5
    told = house.listed()
    assert ("retrying", 3) == (told["state"], told["waiting"])
    assert "unreachable (PeerUnreachable)" == told["reason"]
    house.poll_s = 60
    house.start()  # What it has waited for is no matter of a process.
    house.live(3.2 * DAY_S)
    assert "failing" == house.listed()["state"]
    times = house.receiver.asked
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert HOUR_S / 2 <= min(gaps[15:])
    assert max(gaps) <= HOUR_S + house.poll_s
    assert 20 < len(set(gaps)), "spread, so that not all come back at once"
    house.receiver.before = None
    house.live(2 * HOUR_S)
    house.assert_all_told()
    assert ("ok", 0, 0) == tuple(house.listed()[n] for n in ("state", "waiting", "failures"))
    assert 3 == len(house.receiver.got)


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, "answered 500"), (404, "answered 404"), (199, "answered 199"),
     (301, "answered 301: redirects are not followed"),
     (302, "answered 302: redirects are not followed")],
)  # fmt: skip
def test_only_2xx_is_an_answer(house: House, status: int, said: str) -> None:
    house.happen()
    house.receiver.status = status
    house.receiver.headers = (("Location", "http://169.254.169.254/"),)
    house.live(2)
    assert ("retrying", said) == (house.listed()["state"], house.listed()["reason"])
    assert 1 == house.listed()["waiting"]
    house.receiver.status = 202
    house.live(10)
    house.assert_all_told()


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [("120", 120), ("0", 1), ("99999999", HOUR_S), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("²", 1)],
)
def test_a_receiver_may_say_when(house: House, text: str, wait_s: int) -> None:
    house.happen()
    house.receiver.status, house.receiver.headers = 429, (("retry-after", text),)
    house.tick()
    house.receiver.status = 204
    now_ms = house.clock.now_ms()
    assert 0.5 * wait_s <= (house.listed()["next_ms"] - now_ms) / 1000 <= wait_s
    house.live(wait_s + 1)
    house.assert_all_told()


def test_gone_is_gone_until_somebody_resumes_it(house: House) -> None:
    """410: it is never asked again, by no later process either; a person may let it go on."""
    house.happen(2)
    house.receiver.status = 410
    house.tick()
    house.poll_s = 60
    house.start()
    house.receiver.status = 204
    house.live(10 * DAY_S)
    assert 1 == len(house.receiver.asked)
    assert ("gone", 2) == (house.listed()["state"], house.listed()["waiting"])
    house.do(house.hooks.resume(Endpoint(URL).id, None))
    house.live(1)
    house.assert_all_told()


def test_a_slow_receiver_holds_up_nobody(house: House) -> None:
    """It has 15 s; another one, and payouts, go on meanwhile."""
    house.receivers[OTHER] = Receiver(house.clock)
    house.start()
    house.tick(OTHER)
    house.happen(5)

    async def never() -> None:
        await house.clock.sleep(10 * DAY_S)

    house.receiver.before = never
    house.live(2)
    assert (0, 5) == tuple(len(each.got) for each in house.receivers.values())
    house.live(TIMEOUT_S + 1)
    assert "no answer within 15 s" == house.listed()["reason"]


def test_payouts_go_on_while_a_receiver_is_slow() -> None:
    """Accepted, sent and paid while the first message waits for its answer."""
    desk = Desk()
    storm = desk.storm
    receiver = Receiver(storm.clock)

    async def never() -> None:
        await storm.clock.sleep(10 * DAY_S)

    receiver.before = never

    class Network:
        async def send(self, request: Request) -> Response:
            return await receiver.handle(request)

    rules = WebhookRules((URL,), (SECRET,))
    hooks = Webhooks(
        store=storm.store,
        http=Network(),
        clock=storm.clock,
        loop=storm.payouts.loop,
        random=storm.tokens,
        rules=rules,
    )
    desk.service = PayoutHttpService(storm.payouts, hooks)

    async def play() -> None:
        running = asyncio.ensure_future(desk.service.run())
        await storm.clock.sleep(1)
        for path, body in (("/earn", {"user_id": "u1", "credits": 100}), ("/payout", ask())):
            headers = (("Content-Type", "application/json"),)
            request = Request("POST", path, headers=headers, body=json.dumps(body).encode())
            assert 200 == (await desk.service.handle(request)).status
        for _ in range(12):
            await storm.clock.sleep(1)
            storm.chain.mine()
        await storm.clock.sleep(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    storm.loop.run_until_complete(play())
    assert {TO: 1} == storm.chain.paid()
    assert "paid" == desk.user()["payouts"][0]["state"]
    assert receiver.asked
    assert not receiver.got
    ready = desk.get("/readyz")
    assert 200 == ready.status, "a subscriber's fault is not ours"
    metrics = desk.get("/metrics").body.decode()
    assert f'payouts_webhook_waiting{{id="{Endpoint(URL).id}"}} 6' in metrics
    storm.loop.close()
    storm.store.close()


def test_a_store_that_breaks_ends_all_loops(house: House) -> None:
    """As it ends the payouts' own rounds: what is broken must not look alive."""
    house.receivers[OTHER] = Receiver(house.clock)
    house.start()

    def broken() -> None:
        raise StoreError("broken (test).")

    house.happen()
    house.store.before_commit = broken
    with pytest.raises(StoreError):
        house.do(house.hooks.run())
    assert [] == [task for task in asyncio.all_tasks(house.loop) if not task.done()]

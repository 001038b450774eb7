"""Subscribers are told every fact of payouts, in order and at least once, whatever goes wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import postgres
from tests.services.test_payouts_http import TO, Desk, ask
from tests.services.test_payouts_storm import Killed
from workbench.core import events as ev
from workbench.core.errors import NotFound, PeerUnreachable, StoreError
from workbench.core.ports import Request, Response
from workbench.core.webhooks import TOLD, verify
from workbench.services.payout_http import PayoutsService
from workbench.services.webhooks import COUNTED, PAGE, TIMEOUT_S, Endpoint, HookRules, Webhooks
from workbench.sim.loop import VirtualClock, VirtualLoop
from workbench.store.ledger import LedgerStore
from workbench.wiring import SeededRandomness

T = TypeVar("T")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://site.example/hooks/t0ken?k=v"
OTHER = "https://other.example/hooks"
START_S = 1_767_225_600
HOUR_S, DAY_S = 3_600, 86_400


class Receiver:
    """A subscriber that keeps what it gets. `act` says what happens before it answers."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.status = 204
        self.headers: tuple[tuple[str, str], ...] = ()
        self.before: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.after: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.got: list[tuple[str, bytes]] = []
        self.asked: list[float] = []

    async def handle(self, request: Request) -> Response:
        self.asked.append(self.clock.now_ms() / 1000 - START_S)
        if self.before:
            await self.before()
        verify(SECRET, dict(request.headers), request.body, self.clock.now_s())
        if self.status < 300:
            self.got.append((request.header("webhook-id") or "", request.body))
        if self.after:
            await self.after()
        return Response(self.status, b"ignored", headers=self.headers)

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.got]

    def once(self) -> list[tuple[str, bytes]]:
        """What it got, repetitions left out: the same id always comes with the same bytes."""
        kept = dict(self.got)
        assert all(kept[each] == body for each, body in self.got)
        return list(kept.items())


async def lost() -> None:
    raise PeerUnreachable(f"nobody answers at {URL}.")


class House:
    """A store, a clock, and subscribers by URL."""

    def __init__(self, *urls: str, database: str = "sqlite://") -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, START_S)
        self.store = LedgerStore(database)
        self.receivers = {url: Receiver(self.clock) for url in urls or (URL,)}
        self.number, self.poll_s = 0, 0.5
        self.start()

    def start(self) -> None:
        """A new process on the same database."""
        self.hooks = Webhooks(
            store=self.store,
            http=self,
            clock=self.clock,
            random=SeededRandomness(random.Random(1)),
            rules=HookRules(tuple(self.receivers), (SECRET,), self.poll_s),
        )

    async def send(self, request: Request) -> Response:
        return await self.receivers[request.url].handle(request)

    @property
    def receiver(self) -> Receiver:
        return self.receivers[URL]

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def happen(self, times: int = 1) -> None:
        """Something to tell, and something that is not told."""

        async def record() -> None:
            async with self.store.unit() as unit:
                for _ in range(times):
                    self.number += 1
                    known: dict[str, Any] = {"at_ms": self.number, "source": "payouts"}
                    await unit.record(
                        ev.CreditsEarned(subject=f"{self.number}", user_id="u", credits=1, **known)
                    )
                    await unit.record(ev.TransactionSent(subject="0x", act="pay", tx="0x", **known))

        self.do(record())

    def tick(self, url: str = URL) -> None:
        self.do(self.hooks.tick(Endpoint(url)))

    def live(self, seconds: float) -> None:
        """All loops of the real thing, for so long."""

        async def both() -> None:
            running = asyncio.ensure_future(self.hooks.run())
            await self.clock.sleep(seconds)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        self.do(both())

    def journal(self) -> list[str]:
        """The ids of all facts that are to be told, in order."""

        async def read() -> list[str]:
            async with self.store.unit() as unit:
                facts = await unit.facts()
            return [ev.fact_id(fact) for _, fact in facts if fact.type in TOLD]

        return self.do(read())

    def listed(self, url: str = URL) -> dict[str, Any]:
        return {each["id"]: each for each in self.do(self.hooks.listing())}[Endpoint(url).id]

    def assert_all_told(self) -> None:
        """Every fact, none besides, first told in the journal's order."""
        for receiver in self.receivers.values():
            assert self.journal() == [told for told, _ in receiver.once()]

    def close(self) -> None:
        self.loop.close()
        self.store.close()


@pytest.fixture
def house() -> Iterator[House]:
    at = House()
    at.tick()  # It is known from the start.
    yield at
    at.close()


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)),
    ]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'app.db'}"
        return
    with postgres.cluster() as server:
        yield server.fresh()


# --- Told, in order ---


def test_a_payout_from_its_credits_to_its_end() -> None:
    """The real service's facts, with what was asked for beside them."""
    desk, house = Desk(), House()
    storm = desk.storm
    house.store, house.clock, house.receiver.clock = storm.store, storm.clock, storm.clock
    house.loop = storm.loop
    house.start()
    house.tick()
    desk.earn()
    told = desk.post("/v1/payouts", ask()).data()
    desk.settle()
    house.tick()
    names = ["Requested", "Held", "Approved", "Sent", "Paid"]
    assert ["CreditsEarned", *(f"Payout{name}" for name in names)] == house.receiver.types
    for _, body in house.receiver.got[1:]:
        data = json.loads(body)["data"]
        assert (told["id"], told["id"]) == (data["subject"], data["payout"]["id"])
        assert ("k1", "u1", TO, 40) == tuple(
            data["payout"][name] for name in ("idempotency_key", "user_id", "address", "credits")
        )
    paid = json.loads(house.receiver.got[-1][1])["data"]
    assert (str(40 * 10**15), "21000") == (paid["units"], str(int(paid["gas_wei"]) // 10**9)[:5])
    house.assert_all_told()
    storm.loop.close()
    storm.store.close()


def test_more_than_a_page_and_nothing_twice(house: House) -> None:
    house.happen(PAGE + 5)
    house.tick()
    assert PAGE == len(house.receiver.got)
    house.tick()
    house.tick()
    assert PAGE + 5 == len(house.receiver.got)
    house.assert_all_told()


def test_a_new_subscriber_is_told_what_comes_from_now_on(house: House) -> None:
    """And the others where they are: a subscriber is known by its URL."""
    house.happen(3)
    house.tick()
    house.receivers[OTHER] = Receiver(house.clock)
    house.start()
    house.tick(OTHER)
    house.happen(2)
    house.live(2)
    assert (5, 2) == tuple(len(each.got) for each in house.receivers.values())


def test_only_the_one_that_holds_the_lease_tells(tmp_path: Path) -> None:
    """Two processes on one database; when the first is gone, the second goes on."""
    database = f"sqlite:///{tmp_path / 'app.db'}"
    first, second = House(database=database), House(database=database)
    assert first.store.lease()
    second.tick()
    first.happen(3)
    second.tick()
    assert [] == second.receiver.got
    first.tick()
    assert 3 == len(first.receiver.got)
    first.happen(2)
    first.close()
    second.tick()
    assert 2 == len(second.receiver.got)
    second.close()


# --- Crashes ---


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_the_cursors_commit(database: str, moment: str) -> None:
    """Before: the message comes again, the same. After: it does not. None is lost."""
    house = House(database=database)
    house.tick()
    house.happen(3)

    def die() -> None:
        raise Killed

    setattr(house.store, f"{moment}_commit", die)
    with pytest.raises(Killed):
        house.tick()
    house.store.before_commit = house.store.after_commit = lambda: None
    house.start()
    house.tick()
    assert 3 + (moment == "before") == len(house.receiver.got)
    house.assert_all_told()
    house.close()


def test_a_crash_before_the_answer(house: House) -> None:
    """The process is gone while the receiver has the message: it comes again, under its id."""
    house.happen(2)

    async def die() -> None:
        raise Killed

    house.receiver.after = die
    with pytest.raises(Killed):
        house.tick()
    house.receiver.after = None
    house.start()
    house.tick()
    assert 3 == len(house.receiver.got)
    assert house.receiver.got[0] == house.receiver.got[1]
    house.assert_all_told()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), bad=st.sampled_from([0.05, 0.3, 0.7]))
def test_in_a_storm(seed: int, bad: float) -> None:
    """Lost requests and answers, errors, slowness, deaths at commits; then peace: all are told."""
    chance, house = random.Random(seed), House(URL, OTHER)
    house.live(1)
    store, is_bad = house.store, True

    def perhaps_die() -> None:
        if is_bad and chance.random() < bad / 3:
            raise Killed

    async def trouble() -> None:
        if is_bad and chance.random() < bad:
            await house.clock.sleep(chance.choice([0.0, 1.0, 2 * TIMEOUT_S]))
            raise PeerUnreachable("lost (test).")

    for receiver in house.receivers.values():
        receiver.before = receiver.after = trouble
    for _ in range(12):
        store.before_commit = store.after_commit = lambda: None
        house.happen(chance.randrange(6))
        store.before_commit = store.after_commit = perhaps_die
        for receiver in house.receivers.values():
            receiver.status = chance.choice([204, 200, 500, 302, 429]) if is_bad else 204
        try:
            house.live(chance.choice([0.6, 5.0, 60.0]))
        except Killed:
            house.start()
    is_bad, house.poll_s = False, 60
    house.start()
    for receiver in house.receivers.values():
        receiver.status = 200
    house.live(3 * HOUR_S)
    house.assert_all_told()
    house.close()


# --- Receivers that are away, slow, or gone ---


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

    rules = HookRules((URL,), (SECRET,))
    hooks = Webhooks(
        store=storm.store, http=Network(), clock=storm.clock, random=storm.tokens, rules=rules
    )
    desk.service = PayoutsService(storm.payouts, hooks)

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


# --- By hand ---


def test_told_again_from_where_one_says(house: House) -> None:
    """The same ids and bytes; a person's word counts, also while a message is on its way."""
    house.happen(4)
    house.tick()
    (first, *_), id_ = house.receiver.got, Endpoint(URL).id
    house.do(house.hooks.resume(id_, 0))
    house.tick()
    assert 8 == len(house.receiver.got)
    assert first == house.receiver.got[4]
    house.assert_all_told()
    house.happen(2)

    async def meanwhile() -> None:
        house.receiver.before = None
        await house.hooks.resume(id_, 0)

    house.receiver.before = meanwhile
    house.tick()
    assert 9 == len(house.receiver.got), "what it was about to note is no longer true"
    house.tick()
    assert 9 + 6 == len(house.receiver.got)
    with pytest.raises(NotFound):
        house.do(house.hooks.resume("x", 0))
    house.do(house.hooks.resume(id_, 10**15))
    house.happen()
    house.tick()
    assert 9 + 6 + 1 == len(house.receiver.got), "not beyond the journal's end"


def test_over_http(house: House) -> None:
    """Listing, resuming, metrics; nothing of them shows an URL's path, or a secret."""
    desk = Desk()
    assert [] == desk.get("/v1/webhooks").data()["webhooks"]
    assert 404 == desk.post("/v1/webhooks/x:resume", {}).status
    house.happen(3)
    house.receiver.status = 410
    house.tick()
    desk.service.webhooks = house.hooks
    (told,) = desk.get("/v1/webhooks").data()["webhooks"]
    assert ("https://site.example", "gone", 3, 1) == tuple(
        told[name] for name in ("place", "state", "waiting", "failures")
    )
    assert f'payouts_webhook_gone{{id="{told["id"]}"}} 1' in desk.get("/metrics").body.decode()
    for bad in (-1, 1.5, True, "7", 2**63):
        assert 400 == desk.post(f"/v1/webhooks/{told['id']}:resume", {"after": bad}).status
    assert 404 == desk.post("/v1/webhooks/x:resume", {"after": 0}).status
    answer = desk.post(f"/v1/webhooks/{told['id']}:resume", b"")
    (resumed,) = answer.data()["webhooks"]
    assert ("ok", 3) == (resumed["state"], resumed["waiting"])
    shown = answer.body + desk.get("/metrics").body + repr(house.hooks.endpoints).encode()
    for secret in ("t0ken", "k=v", SECRET, SECRET[6:]):
        assert secret.encode() not in shown
    desk.storm.loop.close()
    desk.storm.store.close()


def test_the_log_names_changes_once_and_no_secret(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        house.happen()
        house.receiver.before = lost
        house.live(HOUR_S)
        house.receiver.before = None
        house.live(HOUR_S)
    told = [record.message for record in caplog.records]
    where = f"webhook {Endpoint(URL).id} (https://site.example)"
    assert [f"{where}: unreachable (PeerUnreachable)", f"{where}: goes on"] == told


def test_nothing_is_counted_for_ever(house: House) -> None:
    house.happen(COUNTED + 10)
    assert COUNTED == house.listed()["waiting"]

"""Troubles of the wallet, the nonce and the database; and the endpoints for programs."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.services.payouts.desk import TO, Desk, ask
from workbench.core import ledger
from workbench.core.errors import LedgerBroken
from workbench.core.payout import PayoutState
from workbench.services.payouts.http import PayoutHttpService
from workbench.store.ledger.database import LedgerStore


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

"""Daily limits, approval by a second person, and cancelled payouts."""

from __future__ import annotations

import pytest

from tests.services.payouts.desk import TO, Desk, ask


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

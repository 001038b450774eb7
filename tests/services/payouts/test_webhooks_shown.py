"""Subscribers by hand and on show: told again, listed, measured, logged; no secret is shown."""

from __future__ import annotations

import logging

import pytest

from tests.services.payouts import webhook_receivers
from tests.services.payouts.desk import Desk
from tests.services.payouts.webhook_receivers import HOUR_S, SECRET, URL, House, lost
from workbench.core.errors import NotFound
from workbench.services.payouts.webhooks import COUNTED, Endpoint

house = webhook_receivers.house


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

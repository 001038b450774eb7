"""Subscribers receive every fact of payouts, once each, in order."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import validate

from tests.services.payouts import webhook_receivers
from tests.services.payouts.desk import TO, Desk, ask
from tests.services.payouts.webhook_receivers import OTHER, House, Receiver
from workbench.services.payouts.webhooks import PAGE

house = webhook_receivers.house


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
    described = desk.get("/v1/openapi.json").data()
    schema = {
        **described["components"]["schemas"]["Message"],
        "components": described["components"],
    }
    for _, body in house.receiver.got:
        validate(json.loads(body), schema)
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

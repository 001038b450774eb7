"""After any crash subscribers receive every fact at least once, first in order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services.payouts import test_many_processes as many
from tests.services.payouts import webhook_receivers
from tests.services.payouts.storm import Killed
from tests.services.payouts.webhook_receivers import HOUR_S, OTHER, URL, House
from workbench.core.errors import PeerUnreachable
from workbench.core.webhooks import WebhookMessage
from workbench.services.payouts.webhooks import TIMEOUT_S, Endpoint, Webhooks

database = many.database

house = webhook_receivers.house


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


def storm(seed: int, bad: float, kind: type[Webhooks] = Webhooks) -> None:
    """Lost requests and answers, errors, slowness, crashes; then no faults: all arrive."""
    chance, house = random.Random(seed), House(URL, OTHER)
    house.kind = kind
    house.start()
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


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), bad=st.sampled_from([0.05, 0.3, 0.7]))
def test_in_a_storm(seed: int, bad: float) -> None:
    storm(seed, bad)


class Hasty(Webhooks):
    """Goes on whatever the answer was."""

    async def _post(self, endpoint: Endpoint, told: WebhookMessage) -> None:
        await super()._post(endpoint, told)


class Renaming(Webhooks):
    """A new id for each attempt."""

    async def _post(self, endpoint: Endpoint, told: WebhookMessage) -> Any:
        return await super()._post(endpoint, WebhookMessage(self._random.token(), told.body))


@pytest.mark.parametrize("kind", [Hasty, Renaming])
def test_a_wrong_rule_is_caught(kind: type[Webhooks]) -> None:
    with pytest.raises(AssertionError):
        storm(1, 0.3, kind)

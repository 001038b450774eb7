"""A payout that nobody mines, though the base fee would let it: more is offered, up to a cap."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.services.fake_chain import GWEI, decoded
from tests.services.payouts.desk import Desk, ask
from workbench.core.ports import Slot, SlotState
from workbench.evm.transactions.broadcast import MAX_ATTEMPTS

AFTER_S = 20.0
"""As `test_payouts_storm.Rules` has it."""


@pytest.fixture
def desk() -> Iterator[Desk]:
    at = Desk()
    at.earn()
    yield at
    at.storm.loop.close()
    at.storm.store.close()


def slots(desk: Desk) -> Sequence[Slot]:
    async def read() -> Sequence[Slot]:
        async with desk.storm.store.unit() as unit:
            return await unit.slots(31337, desk.storm.payouts.payments.address, *SlotState)

    return asyncio.run(read())


def fees(slot: Slot) -> list[tuple[int, int]]:
    """Of each attempt: the tip, and the most that it pays."""
    found = [decoded(attempt.raw) for attempt in slot.attempts]
    return [(each["maxPriorityFeePerGas"], each["maxFeePerGas"]) for each in found]


def pass_by(desk: Desk, seconds: int, *, mines: bool = True) -> None:
    """A round and a block each second."""
    for _ in range(seconds):
        desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
        if mines:
            desk.storm.chain.mine()
        desk.storm.loop.jump(1)


def alarms(desk: Desk) -> Any:
    return desk.get("/readyz").data()["alarms"]


def test_what_waits_too_long_offers_more(desk: Desk) -> None:
    """12.5 % more of both, each time that it has waited so long again, until it is mined."""
    desk.storm.chain.least_tip = GWEI * 5 // 4
    assert 200 == desk.post("/payout", ask()).status
    pass_by(desk, int(AFTER_S) - 2)
    assert [1] == [len(slot.attempts) for slot in slots(desk)], "not yet"
    pass_by(desk, 30)
    (slot,) = slots(desk)
    offered = fees(slot)
    assert [GWEI, GWEI * 9 // 8, -(-GWEI * 81 // 64)] == [tip for tip, _ in offered]
    assert all(8 * new[1] >= 9 * old[1] for old, new in itertools.pairwise(offered))
    desk.settle()
    assert {desk.user()["payouts"][0]["address"].lower(): 1} == desk.storm.chain.paid()
    assert {} == alarms(desk)


def test_only_the_nonce_that_the_chain_waits_for_offers_more(desk: Desk) -> None:
    """Those behind it wait for it, not for a better price."""
    desk.storm.chain.least_tip = GWEI * 9 // 8
    for key in "abc":
        desk.post("/payout", ask(credits=1, idempotency_key=key))
    pass_by(desk, int(AFTER_S) + 8)
    first, *behind = slots(desk)
    assert 2 == len(first.attempts)
    assert first.block is not None
    assert all(slot.nonce > 0 for slot in behind)
    assert 1 == len(behind[-1].attempts)
    pass_by(desk, 3 * int(AFTER_S))
    desk.settle()
    assert [3] == list(desk.storm.chain.paid().values())


def test_a_chain_without_blocks_is_no_market(desk: Desk) -> None:
    """However long: when it goes on, what was offered may do."""
    desk.post("/payout", ask())
    pass_by(desk, 10 * int(AFTER_S), mines=False)
    assert [1] == [len(slot.attempts) for slot in slots(desk)]


def test_at_the_cap_somebody_is_told(desk: Desk) -> None:
    """The same bytes are sent on, and readiness is red until they are mined."""
    desk.storm.chain.least_tip = 10**6 * GWEI
    desk.post("/payout", ask())
    pass_by(desk, (MAX_ATTEMPTS + 2) * (int(AFTER_S) + 6))
    assert [MAX_ATTEMPTS] == [len(slot.attempts) for slot in slots(desk)]
    assert "as high as it may get after 8 attempts" in alarms(desk)["fees"]
    assert 503 == desk.get("/readyz").status
    desk.storm.chain.least_tip = 0
    desk.settle()
    assert {} == alarms(desk)
    assert [1] == list(desk.storm.chain.paid().values())


def test_it_can_be_told_to_wait_longer(desk: Desk) -> None:
    storm = desk.storm
    storm.rules = replace(storm.rules, bump_after_s=200.0)
    storm.start()
    storm.chain.least_tip = 2 * GWEI
    desk.post("/payout", ask())
    pass_by(desk, 150)
    assert [1] == [len(slot.attempts) for slot in slots(desk)]

"""A reorg deeper than finality: what had ended is found, told, and paid by its own nonce again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.services.payouts.desk import TO, Desk, ask
from workbench.core.facts import PayoutOrphaned
from workbench.core.ports import Slot, SlotState

OTHER = "0x" + "cd" * 20


@pytest.fixture
def desk() -> Iterator[Desk]:
    """One payout that is paid."""
    at = Desk()
    at.storm.chain.bad.clear()
    at.earn()
    at.post("/payout", ask(idempotency_key="a"))
    at.settle()
    assert {TO: 1} == at.storm.chain.paid()
    yield at
    at.storm.loop.close()
    at.storm.store.close()


def read(desk: Desk, what: str, *given: Any) -> Any:
    async def work() -> Any:
        async with desk.storm.store.unit() as unit:
            return await getattr(unit, what)(*given)

    return asyncio.run(work())


def slots(desk: Desk) -> Sequence[Slot]:
    found: Sequence[Slot] = read(desk, "slots_from", 31337, desk.storm.payouts.payments.address, 0)
    return found


def told(desk: Desk) -> list[PayoutOrphaned]:
    return [fact for _, fact in read(desk, "facts") if isinstance(fact, PayoutOrphaned)]


def states(desk: Desk) -> list[str]:
    return sorted(payout["state"] for payout in desk.user()["payouts"])


def a_pass(desk: Desk) -> None:
    """Rounds after the reconciler's time has come: a first reading, and the second one."""
    for seconds in (60, 3):
        desk.storm.loop.jump(seconds)
        desk.storm.loop.run_until_complete(desk.storm.payouts.tick())


def is_in_order(desk: Desk) -> bool:
    """Nothing is recorded, and ledger and chain agree, without suspense."""
    desk.settle()
    a_pass(desk)
    report = desk.storm.loop.run_until_complete(desk.storm.payouts.reconciler.conclude())
    suspense = read(desk, "account", "suspense:eip155:31337/native").balance
    assert {} == desk.get("/readyz").data()["alarms"]
    return report.is_right and not suspense


def test_a_payment_that_left_the_chain_is_sent_again(desk: Desk) -> None:
    """The same bytes; told as a fact and an alarm until they are final again."""
    (before,) = slots(desk)
    desk.storm.chain.forget(desk.storm.chain.head, pooled=False)
    assert {} == desk.storm.chain.paid()
    a_pass(desk)
    assert "deeper than finality" in desk.get("/readyz").data()["alarms"]["reorg"]
    assert 503 == desk.get("/readyz").status
    (fact,) = told(desk)
    assert before.block is not None
    assert (before.tx, before.block.hash) == (fact.tx, fact.hash)
    desk.storm.chain.mine()
    assert {TO: 1} == desk.storm.chain.paid()
    assert is_in_order(desk)
    (after,) = slots(desk)
    assert (before.attempts, ["paid"]) == (after.attempts, states(desk))
    assert before.block != after.block
    assert 1 == len(told(desk)), "told once"


def test_in_another_block_it_costs_another_price(desk: Desk) -> None:
    """Dearer bytes of the same nonce; the ledger adds the gas that it did not know."""
    desk.storm.chain.forget(desk.storm.chain.head, pooled=False)
    desk.storm.chain.spike = 10**6
    for _ in range(4):
        a_pass(desk)
        desk.storm.chain.mine()
    assert {TO: 1} == desk.storm.chain.paid()
    assert is_in_order(desk)
    lines = [line for _, _, line in read(desk, "transfers")]
    assert [39 * 21_000 * 10**9] == [x.amount for x in lines if x.reason == "gas after a reorg"]


def test_one_that_is_mined_elsewhere_is_looked_after(desk: Desk) -> None:
    """Nothing is sent; the alarm stands until the payment is final again."""
    desk.storm.chain.forget(desk.storm.chain.head, pooled=True)
    assert {TO: 1} == desk.storm.chain.paid()
    a_pass(desk)
    assert 1 == len(told(desk))
    assert is_in_order(desk)


def test_a_new_process_goes_on_with_it(desk: Desk) -> None:
    desk.storm.chain.forget(desk.storm.chain.head, pooled=False)
    a_pass(desk)
    desk.storm.start()
    desk.rules()
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    assert "reorg" in desk.get("/readyz").data()["alarms"]
    assert is_in_order(desk)
    assert {TO: 1} == desk.storm.chain.paid()


def test_others_wait_behind_it_and_take_their_own_nonces(desk: Desk) -> None:
    """A later payout never gets the nonce that the chain has free again."""
    desk.storm.chain.forget(desk.storm.chain.head, pooled=False)
    desk.post("/payout", ask(idempotency_key="b", address=OTHER))
    a_pass(desk)
    assert is_in_order(desk)
    assert {TO: 1, OTHER: 1} == desk.storm.chain.paid()
    assert [0, 1] == [slot.nonce for slot in slots(desk)]


def test_what_was_given_back_is_not_paid_afterwards() -> None:
    """Refunded, and the revert is gone: a transfer of nothing takes its nonce."""
    desk = Desk()
    desk.storm.chain.bad = {TO: True}
    desk.earn()
    desk.post("/payout", ask())
    desk.settle()
    assert ["refunded"] == states(desk)
    desk.storm.chain.bad.clear()
    desk.storm.chain.forget(desk.storm.chain.head, pooled=False)
    a_pass(desk)
    assert "was refunded" in desk.get("/readyz").data()["alarms"]["reorg"]
    assert is_in_order(desk)
    assert {} == desk.storm.chain.paid()
    assert (100, [SlotState.FINAL]) == (desk.user()["credits"], [s.state for s in slots(desk)])


def test_given_back_and_paid_after_all_is_told() -> None:
    """The pool brought the payment back before anybody looked: a person must."""
    desk = Desk()
    desk.storm.chain.bad = {TO: True}
    desk.earn()
    desk.post("/payout", ask())
    desk.settle()
    desk.storm.chain.bad.clear()
    desk.storm.chain.forget(desk.storm.chain.head, pooled=True)
    a_pass(desk)
    desk.settle()
    assert "is refunded, and after a reorg" in desk.get("/readyz").data()["alarms"]["reorg"]


def test_a_node_that_lags_takes_nothing_back(desk: Desk) -> None:
    """It has not that block yet: nothing is proved."""
    kept, desk.storm.chain.blocks = desk.storm.chain.blocks, desk.storm.chain.blocks[:2]
    a_pass(desk)
    desk.storm.chain.blocks = kept
    assert [] == told(desk)
    assert is_in_order(desk)

"""Requests and answers that are lost, and a node that is unreachable."""

from __future__ import annotations

import asyncio

import pytest

from tests.evm.faulty import (
    RECEIPT,
    SEND,
    Ground,
    subject,
)
from tests.evm.transactions.sender_helpers import RESEND_S, finish
from workbench.core.errors import (
    RpcUnreachable,
    TransactionTimeout,
)
from workbench.core.facts import (
    BlockRef,
    TransactionSent,
)
from workbench.core.ports import SlotState


def test_a_lost_request_is_sent_again(ground: Ground) -> None:
    """The node never saw it: the slot stays signed, and the next pump sends the same bytes."""
    ground.rpc.lose_requests[SEND] = 1
    tx = ground.submit(1)
    assert SlotState.SIGNED is ground.slot(1).state
    ground.pump()
    ground.mine()
    ground.pump()
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert {1: 1} == ground.paid()


def test_a_lost_answer_is_no_second_payment(ground: Ground) -> None:
    """The node has it, we do not know: sent again, "already imported", one payment."""
    ground.rpc.lose_answers[SEND] = 1
    ground.submit(1)
    ground.pump()
    assert 2 == ground.rpc.calls[SEND]
    assert SlotState.SENT is ground.slot(1).state
    assert 1 == len(ground.facts(TransactionSent))
    finish(ground, 3)
    assert {1: 1} == ground.paid()


def test_a_lost_answer_about_a_mined_transaction(ground: Ground) -> None:
    """It was mined before we ask again: "nonce too low" leads to its receipt, not to another."""
    ground.rpc.lose_answers[SEND] = 1
    ground.submit(1)
    ground.mine()
    ground.fresh_sender()
    ground.submit(1)
    ground.pump()
    assert SlotState.MINED is ground.slot(1).state
    assert {1: 1} == ground.paid()


def test_a_node_that_forgot_gets_the_same_bytes(ground: Ground) -> None:
    """A restarted node has an empty pool: after a while the same bytes are sent once more."""
    tx = ground.submit(1)
    ground.node.call("anvil_dropAllTransactions")
    ground.mine()
    ground.pump()
    assert 1 == ground.rpc.calls[SEND], "too early: it may just be waiting"
    ground.wait(RESEND_S)
    ground.pump()
    ground.mine()
    ground.pump()
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert 1 == len(ground.slot(1).attempts)


def test_an_unreachable_node_takes_no_slot(ground: Ground) -> None:
    """Nothing was simulated, so nothing was signed; the key is free for the next try."""
    ground.rpc.lose_requests["eth_call"] = 1
    with pytest.raises(RpcUnreachable):
        ground.submit(1)
    assert [] == ground.slots()
    ground.submit(1)
    assert [0] == [slot.nonce for slot in ground.slots()]


def test_waiting_for_an_act_survives_a_node_that_is_away(ground: Ground) -> None:
    """`mined` waits through faults, and says in time when its time is up."""
    ground.submit(1)
    ground.rpc.lose_requests["eth_getBlockByNumber"] = 3

    async def wait(timeout_s: float) -> BlockRef:
        return await ground.sender.mined(subject(1), "pay", 1, timeout_s)

    async def mine_later() -> None:
        await ground.clock.sleep(3)
        ground.mine()

    with pytest.raises(TransactionTimeout):
        ground.run(wait(1.0))

    async def both() -> BlockRef:
        return (await asyncio.gather(wait(10), mine_later()))[0]

    assert 1 == ground.run(both()).number


def test_many_waiters_ask_the_node_as_one(ground: Ground) -> None:
    """Thirty waiters for thirty acts look once a quarter of a second, all together."""
    for n in range(30):
        ground.submit(n)
    before = ground.rpc.calls[RECEIPT]

    async def wait_all() -> None:
        waiting = [ground.sender.mined(subject(n), "pay", 1, 5) for n in range(30)]

        async def mine_later() -> None:
            await ground.clock.sleep(1)
            ground.mine()

        await asyncio.gather(*waiting, mine_later())

    ground.run(wait_all())
    assert ground.rpc.calls[RECEIPT] - before <= 30 * 7

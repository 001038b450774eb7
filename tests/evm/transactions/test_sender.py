"""The sender: whatever dies, drops, lags or forks, each act is on the chain once."""

from __future__ import annotations

import asyncio

from tests.evm.faulty import (
    SEND,
    Ground,
    pay,
    subject,
)
from tests.evm.transactions.sender_helpers import finish
from workbench.core.facts import (
    TransactionFinalized,
    TransactionMined,
    TransactionSent,
    TransactionSigned,
)
from workbench.core.ports import SlotState
from workbench.sim.time.loop import SkewedClock


def test_an_act_goes_from_signed_to_final(ground: Ground) -> None:
    """Each state of the slot has its one fact; once it is final, nothing is asked of the node."""
    tx = ground.submit(1)
    assert SlotState.SENT is ground.slot(1).state
    ground.mine()
    ground.pump()
    slot = ground.slot(1)
    assert (SlotState.MINED, True, tx) == (slot.state, slot.ok, slot.tx)
    ground.mine(2)
    ground.pump()
    assert SlotState.FINAL is ground.slot(1).state
    kinds = [TransactionSigned, TransactionSent, TransactionMined, TransactionFinalized]
    assert kinds == [type(fact) for fact in ground.facts()]
    assert {tx} == {fact.tx for fact in ground.facts()}
    mined, final = ground.facts()[2:]
    assert slot.block == mined.block == final.block
    block = ground.node.call("eth_getBlockByNumber", "0x1", False)
    assert int(block["timestamp"], 16) * 1000 == mined.at_ms
    before = ground.rpc.calls.total()
    ground.pump()
    assert before == ground.rpc.calls.total()


def test_the_same_key_twice_is_one_transaction(ground: Ground) -> None:
    """Asked again at any stage, by the same process or a new one: the same hash, nothing sent."""
    tx = ground.submit(1)
    sent = ground.rpc.calls[SEND]
    for stage in range(5):
        ground.fresh_sender()
        assert tx == ground.submit(1), stage
        ground.mine()
        ground.pump()
    assert sent == ground.rpc.calls[SEND]
    assert {1: 1} == ground.paid()
    assert 1 == len(ground.facts(TransactionMined)) == len(ground.facts(TransactionFinalized))


def test_concurrent_submits_take_gapless_nonces(ground: Ground) -> None:
    """Forty keys, each asked for twice at once: forty nonces in a row, forty payments."""

    async def all_at_once() -> list[str]:
        numbers = [n for n in range(40) for _ in range(2)]
        asked = (ground.sender.submit(subject(n), pay(n)) for n in numbers)
        return list(await asyncio.gather(*asked))

    hashes = ground.run(all_at_once())
    assert 40 == len(set(hashes))
    assert hashes[::2] == hashes[1::2]
    assert list(range(40)) == [slot.nonce for slot in ground.slots()]
    ground.mine()
    ground.pump()
    assert dict.fromkeys(range(40), 1) == ground.paid()
    assert 40 == len(ground.facts(TransactionSigned)) == len(ground.facts(TransactionMined))


def test_who_comes_alone_does_not_wait_and_a_crowd_goes_together(ground: Ground) -> None:
    """Gathering 100 ms: the first goes at once, those of the next 100 ms in one go after them."""
    sender, start = ground.fresh_sender(gather_s=0.1), ground.clock.now_ms()

    async def one(number: int, at_ms: int) -> int:
        await ground.clock.sleep(at_ms / 1000)
        await sender.submit(subject(number), pay(number))
        return ground.clock.now_ms() - start

    async def all_of_them() -> list[int]:
        asked = [(1, 0), (2, 30), (3, 60), (4, 150), (5, 500)]
        return list(await asyncio.gather(*(one(*each) for each in asked)))

    assert [0, 100, 100, 200, 500] == ground.run(all_of_them())


def test_a_clock_that_is_put_back_holds_up_nobody(ground: Ground) -> None:
    """Nobody waits longer than acts are gathered for, whatever the clock said before."""
    ground.clock = clock = SkewedClock(ground.clock)  # type: ignore[assignment]
    sender = ground.fresh_sender(gather_s=0.1)
    clock.skew_s = 3600
    ground.run(sender.submit(subject(1), pay(1)))
    clock.skew_s = 0
    start = ground.loop.time()
    ground.run(sender.submit(subject(2), pay(2)))
    assert ground.loop.time() - start <= 0.1


def test_two_processes_on_one_store_share_the_nonces(ground: Ground) -> None:
    """A second worker on the same database takes no nonce, and no key, that the first one has."""
    senders = [ground.sender, ground.fresh_sender()]

    async def both() -> None:
        asked = (s.submit(subject(n), pay(n)) for n in range(10) for s in senders)
        await asyncio.gather(*asked, return_exceptions=True)

    ground.run(both())
    finish(ground, 4)
    assert dict.fromkeys(range(10), 1) == ground.paid()

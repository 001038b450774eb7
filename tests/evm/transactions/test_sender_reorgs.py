"""Reorgs: transactions that leave the chain, move, or become final."""

from __future__ import annotations

import pytest

from tests.evm.faulty import (
    RECEIPT,
    SEND,
    Ground,
)
from tests.evm.transactions.sender_helpers import finish, knock, set_gate
from workbench.core.facts import (
    BlockRef,
    TransactionFailed,
    TransactionFinalized,
    TransactionMined,
)
from workbench.core.ports import SlotState


@pytest.mark.parametrize("depth", [1, 2])
def test_a_reorg_takes_a_mined_act_back(ground: Ground, depth: int) -> None:
    """anvil drops the transactions of a reorg: the same bytes are sent again at once."""
    ground.mine(2)
    tx = ground.submit(1)
    ground.mine(depth)
    ground.pump()
    first = ground.slot(1).block
    ground.reorg(depth)
    ground.pump()
    assert (SlotState.SENT, None) == (ground.slot(1).state, ground.slot(1).block)
    finish(ground, 4)
    second = ground.slot(1).block
    assert first
    assert second
    assert first.hash != second.hash
    assert first.tx == second.tx == tx
    assert {1: 1} == ground.paid()
    assert [first, second] == [fact.block for fact in ground.facts(TransactionMined)]
    assert [second] == [fact.block for fact in ground.facts(TransactionFinalized)]


def test_anvils_own_reorg(ground: Ground) -> None:
    """`anvil_reorg` leaves its transactions out of the pool: they are back in the next block."""
    ground.mine(2)
    for n in range(5):
        ground.submit(n)
    ground.mine()
    ground.pump()
    ground.node.call("anvil_reorg", 1, [])
    finish(ground, 4)
    assert dict.fromkeys(range(5), 1) == ground.paid()
    assert 5 == len(ground.facts(TransactionFinalized))


def test_moved_to_another_block_by_a_reorg(ground: Ground) -> None:
    """The new branch has the transaction, too: the slot follows it, and counts from there."""
    ground.mine(2)
    tx = ground.submit(1)
    raw = ground.slot(1).attempts[0].raw
    ground.mine()
    ground.pump()
    ground.node.call("anvil_rollback", 1)
    ground.mine()
    ground.node.call(SEND, raw)
    ground.mine()
    ground.pump()
    slot = ground.slot(1)
    assert slot.block
    assert (SlotState.MINED, tx, 4) == (slot.state, slot.block.tx, slot.block.number)
    assert 0 == ground.rpc.calls[SEND] - 1
    ground.mine()
    ground.pump()
    assert SlotState.MINED is ground.slot(1).state
    ground.mine()
    ground.pump()
    assert SlotState.FINAL is ground.slot(1).state


def test_final_only_with_the_block_that_the_chain_has(ground: Ground) -> None:
    """A stale receipt names a block that is no more: neither mined nor final by it."""
    ground.mine(2)
    tx = ground.submit(1)
    ground.mine()
    ground.pump()
    stale = ground.node.call(RECEIPT, tx)
    ground.reorg(1)
    ground.mine(4)
    ground.rpc.answers[RECEIPT, tx] = stale
    ground.pump()
    assert SlotState.MINED is ground.slot(1).state
    assert [] == ground.facts(TransactionFinalized)
    ground.rpc.answers.clear()
    finish(ground, 4)
    assert {1: 1} == ground.paid()


def test_final_after_so_many_confirmations_and_not_before(ground: Ground) -> None:
    """N confirmations mean head ≥ block + N, for every N."""
    for confirmations in (0, 1, 3):
        ground.confirmations = confirmations
        ground.fresh_sender()
        ground.submit(confirmations)
        for n in range(confirmations + 1):
            ground.pump()
            assert SlotState.FINAL is not ground.slot(confirmations).state, (confirmations, n)
            ground.mine()
        ground.pump()
        assert SlotState.FINAL is ground.slot(confirmations).state


def test_a_reorg_deeper_than_finality_is_healed(ground: Ground) -> None:
    """What was final is gone: asked for again, or in the way of later acts, it is sent again."""
    ground.mine(2)
    for n in (1, 2):
        ground.submit(n)
    ground.mine(4)
    ground.pump()
    assert 2 == len(ground.slots(SlotState.FINAL))
    ground.reorg(4)
    assert 0 == ground.paid().total()
    ground.submit(1)
    finish(ground, 2)
    assert 1 == ground.paid()[1]
    ground.submit(3)
    finish(ground, 6)
    assert {1: 1, 2: 1, 3: 1} == ground.paid()


def test_a_revert_whose_block_left_and_came_back(ground: Ground) -> None:
    """The fact of the revert went with its block; asked again, the sender tells it anew."""
    set_gate(ground, shut=False)
    ground.run(ground.sender.submit("a", knock()))
    set_gate(ground, shut=True)
    ground.mine()
    ground.pump()
    (failed,) = ground.facts(TransactionFailed)
    ground.run(ground.sender.submit("a", knock()))
    assert [failed] == ground.facts(TransactionFailed), "it stands: it is not told twice"
    orphan(ground, failed.block)
    ground.run(ground.sender.submit("a", knock()))
    assert [failed, failed] == ground.facts(TransactionFailed)


def orphan(ground: Ground, block: BlockRef) -> None:
    """As a watcher on the same store would."""
    from workbench.core.facts import BlockOrphaned

    async def tell() -> None:
        fact = BlockOrphaned(subject=block.hash, at_ms=1, source="watcher", number=block.number)
        async with ground.store.unit() as unit:
            await unit.record(fact)

    ground.run(tell())

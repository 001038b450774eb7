"""Foreign transactions that use the signer's nonces."""

from __future__ import annotations

import pytest

from tests.evm.faulty import (
    RECEIPT,
    SEND,
    Ground,
    subject,
)
from tests.evm.transactions.sender_helpers import RESEND_S, finish
from workbench.core.errors import (
    NonceTaken,
)
from workbench.core.facts import (
    TransactionFailed,
)
from workbench.core.ports import SlotState
from workbench.evm.transactions.inclusion import SEARCH_MS


def test_a_nonce_taken_while_ours_is_open(ground: Ground) -> None:
    """A foreign transaction of our key is mined in our place: once it is final, LOST, transient."""
    ground.rpc.lose_requests[SEND] = 1
    ground.submit(1)
    ground.steal_nonce(0)
    ground.pump()
    assert SlotState.LOST is not ground.slot(1).state, "a mined theft may still be taken back"
    ground.mine(2)
    ground.pump()
    assert SlotState.LOST is not ground.slot(1).state, "one reading proves no loss"
    ground.wait(3)
    ground.pump()
    assert SlotState.LOST is ground.slot(1).state
    (failed,) = ground.facts(TransactionFailed)
    assert ("nonce_taken", True, "pay") == (failed.code, failed.transient, failed.act)
    with pytest.raises(NonceTaken):
        ground.run(ground.sender.mined(subject(1), "pay", 1, 1))
    ground.submit(1, attempt=2)
    ground.submit(2)
    finish(ground, 3)
    assert 1 == ground.paid()[1] == ground.paid()[2]


def test_a_theft_that_is_taken_back(ground: Ground) -> None:
    """The foreign transaction goes with a reorg: our slot was not lost, and is mined after all."""
    ground.rpc.lose_requests[SEND] = 1
    tx = ground.submit(1)
    ground.steal_nonce(0)
    ground.pump()
    ground.reorg(1)
    finish(ground, 4)
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert {1: 1} == ground.paid()


def test_a_foreign_transaction_while_none_of_ours_is_open(ground: Ground) -> None:
    """We count on from the chain's own nonce, and go on behind it."""
    ground.submit(1)
    finish(ground, 3)
    ground.steal_nonce(1)
    ground.submit(2)
    finish(ground, 3)
    assert [0, 2] == [slot.nonce for slot in ground.slots(SlotState.FINAL)]
    assert 1 == ground.paid()[1] == ground.paid()[2]


def test_a_gap_left_by_a_foreign_transaction_is_filled(ground: Ground) -> None:
    """We counted on from a foreign transaction, and a reorg dropped it: ours is not stuck."""
    ground.mine(3)
    ground.steal_nonce(0)
    ground.submit(1)
    ground.reorg(1)
    ground.node.call("anvil_dropAllTransactions")
    for _ in range(3):
        ground.wait(RESEND_S)
        ground.pump()
        ground.mine()
    finish(ground, 3)
    assert 1 == ground.paid()[1]
    assert SlotState.FINAL is ground.slot(1).state


def test_a_lagging_node_proves_no_theft(ground: Ground) -> None:
    """Our own receipt is missing on one node while another counts our nonce: that is not LOST."""
    tx = ground.submit(1)
    ground.mine(6)
    ground.rpc.answers[RECEIPT, tx] = None
    ground.wait(RESEND_S)
    ground.pump()
    assert SlotState.SENT is ground.slot(1).state
    ground.rpc.answers.clear()
    ground.pump()
    assert SlotState.FINAL is ground.slot(1).state
    assert [] == ground.facts(TransactionFailed)


def test_a_theft_too_old_to_be_proved_is_believed_in_time(ground: Ground) -> None:
    """The node has forgotten the states to search: only after ten minutes the slot is LOST."""
    ground.rpc.lose_requests[SEND] = 1
    ground.submit(1)
    ground.steal_nonce(0)
    ground.mine(150)
    ground.pump()
    assert SlotState.LOST is not ground.slot(1).state
    ground.wait(SEARCH_MS / 1000)
    ground.pump()
    assert SlotState.LOST is ground.slot(1).state

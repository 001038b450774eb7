"""Transactions that revert in simulation or after mining."""

from __future__ import annotations

import pytest

from tests.evm.faulty import (
    OTHER,
    SEND,
    Ground,
    pay,
)
from tests.evm.transactions.sender_helpers import GATE, RESEND_S, finish, knock, set_gate
from workbench.core.errors import (
    SignerShort,
    StateMoved,
)
from workbench.core.facts import (
    TransactionFailed,
    TransactionMined,
)
from workbench.core.ports import ContractCall, SlotState


def test_a_revert_in_simulation_takes_no_slot(ground: Ground) -> None:
    """The node's simulation refuses: the error has a name, and no nonce is used."""
    set_gate(ground, shut=True)
    with pytest.raises(StateMoved):
        ground.run(ground.sender.submit("a", knock()))
    assert ([], []) == (ground.slots(), ground.facts())


def test_the_simulation_looks_at_the_newest_block(ground: Ground) -> None:
    """Others' pending transactions are plans: they neither allow nor forbid an act."""
    drain = {"from": ground.key.address, "to": OTHER}
    balance = int(ground.node.call("eth_getBalance", ground.address, "latest"), 16)
    ground.node.call("eth_sendTransaction", {**drain, "value": hex(balance - 10**17)})
    big = ContractCall("pay", GATE, b"", 10**18)
    set_gate(ground, shut=False)
    assert ground.run(ground.sender.submit("a", big))


def test_a_mined_revert_is_recorded_with_its_reason(ground: Ground) -> None:
    """Fine when simulated, refused when mined: a fact says why, and a next attempt succeeds."""
    set_gate(ground, shut=False)
    ground.rpc.lose_requests[SEND] = 1
    ground.run(ground.sender.submit("a", knock()))
    set_gate(ground, shut=True)
    for _ in range(2):
        ground.mine()
        ground.pump()
    (mined,), (failed,) = ground.facts(TransactionMined), ground.facts(TransactionFailed)
    assert (False, "knock", mined.tx) == (mined.ok, failed.act, failed.tx)
    assert ("state_moved", True, mined.block) == (failed.code, failed.transient, failed.block)
    with pytest.raises(StateMoved):
        ground.run(ground.sender.mined("a", "knock", 1, 1))
    set_gate(ground, shut=False)
    ground.run(ground.sender.submit("a", knock(), 2))
    ground.mine()
    assert ground.run(ground.sender.mined("a", "knock", 2, 1))
    finish(ground, 3)
    assert [SlotState.FINAL] * 2 == [slot.state for slot in ground.slots()]
    assert 1 == len(ground.facts(TransactionFailed))


def test_gas_suffices_for_storage_that_others_cleared(ground: Ground) -> None:
    """Estimated while four words of storage were set, mined after they were cleared: no revert."""
    code = "".join(f"60016{n:03x}55" for n in range(1, 5)) + "00"
    ground.node.call("anvil_setCode", GATE, "0x" + code)

    def fill(value: int) -> None:
        for n in range(1, 5):
            place, word = (f"0x{number:064x}" for number in (n, value))
            ground.node.call("anvil_setStorageAt", GATE, place, word)

    fill(1)
    ground.run(ground.sender.submit("a", ContractCall("store", GATE, b"any")))
    fill(0)
    ground.mine()
    ground.pump()
    assert [True] == [fact.ok for fact in ground.facts(TransactionMined)]


TIMED_CODE = {
    what: f"600054{opcode}1115601957636768091360e01b60005260046000fd5b00"
    for what, opcode in (("time", "42"), ("number", "43"))
}
"""Takes any call while the block's time, or number, is not above the first word of storage; else
reverts with the selector of DeadlinePassed."""


@pytest.mark.parametrize("knows_overrides", [True, False], ids=["a node", "a poor node"])
@pytest.mark.parametrize("what", TIMED_CODE)
def test_a_revert_that_comes_with_its_block_is_explained(
    ground: Ground, what: str, knows_overrides: bool
) -> None:
    """At its parent's time and number the call is good: it is asked as of the block itself, where
    the node can do that."""
    block = ground.node.call("eth_getBlockByNumber", "latest", False)
    now = int(block["timestamp"], 16)
    limit = now + 5 if what == "time" else int(block["number"], 16)
    ground.node.call("anvil_setCode", GATE, "0x" + TIMED_CODE[what])
    ground.node.call("anvil_setStorageAt", GATE, "0x" + "00" * 32, f"0x{limit:064x}")
    ground.run(ground.sender.submit("a", knock()))
    ground.node.call("evm_setNextBlockTimestamp", now + 10)
    ground.mine()
    if not knows_overrides:
        ground.rpc.knows_overrides = False
    ground.pump()
    assert [False] == [fact.ok for fact in ground.facts(TransactionMined)]
    expected = "deadline_passed" if knows_overrides else "reverted"
    assert [expected] == [fact.code for fact in ground.facts(TransactionFailed)]


def test_a_reorg_while_a_revert_is_explained(ground: Ground) -> None:
    """The transaction is gone when we ask what it was: no crash, and in the end it is done."""
    set_gate(ground, shut=False)
    ground.run(ground.sender.submit("a", knock()))
    set_gate(ground, shut=True)
    ground.mine()
    ground.rpc.answers["eth_getTransactionByHash", ground.slots()[0].tx] = None
    ground.pump()
    assert ["reverted"] == [fact.code for fact in ground.facts(TransactionFailed)]


def test_a_signer_without_gas_is_told_so(ground: Ground) -> None:
    """No native currency: SignerShort says which account, and what to do; no slot is taken."""
    ground.node.call("anvil_setBalance", ground.address, "0x0")
    for call in (pay(1), knock()):
        set_gate(ground, shut=False)
        with pytest.raises(SignerShort) as caught:
            ground.run(ground.sender.submit("a", call))
        assert ground.address in caught.value.message
        assert "native currency" in caught.value.hint
    assert [] == ground.slots()


def test_a_signer_that_runs_dry_goes_on_when_refilled(ground: Ground) -> None:
    """Signed, and then the account is empty: nothing is lost, and it is mined once it can pay."""
    ground.rpc.lose_requests[SEND] = 1
    tx = ground.submit(1)
    ground.node.call("anvil_setBalance", ground.address, "0x1")
    ground.pump()
    assert SlotState.SIGNED is ground.slot(1).state
    ground.node.call("anvil_setBalance", ground.address, hex(10**18))
    ground.wait(RESEND_S)
    finish(ground, 3)
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]

"""Fees are raised when a transaction is not mined, up to the cap."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.evm.faulty import (
    GWEI,
    SEND,
    Ground,
    pay,
    subject,
)
from tests.evm.transactions.sender_helpers import RESEND_S, finish
from workbench.core.facts import (
    TransactionFinalized,
    TransactionMined,
    TransactionReplaced,
)
from workbench.core.ports import SlotState
from workbench.evm.transactions.broadcast import MAX_ATTEMPTS, signed_fields
from workbench.evm.transactions.simulation import MAX_FEE_WEI


def test_a_fee_that_fell_behind_is_raised(ground: Ground) -> None:
    """The base fee rises above ours: a new attempt of the same slot, 12.5 % more or the market."""
    old = ground.submit(1)
    ground.mine(base_fee=100 * GWEI)
    ground.wait(RESEND_S)
    ground.pump()
    slot = ground.slot(1)
    assert 2 == len(slot.attempts)
    first, second = (signed_fields(attempt.raw) for attempt in slot.attempts)
    for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert 8 * second[name] >= 9 * first[name]
    assert second["maxFeePerGas"] >= 200 * GWEI
    same = ("nonce", "to", "value", "data", "gas", "chainId")
    assert [first[name] for name in same] == [second[name] for name in same]
    (replaced,) = ground.facts(TransactionReplaced)
    assert (old, slot.tx) == (replaced.old_tx, replaced.tx)
    ground.mine(base_fee=100 * GWEI)
    ground.pump()
    assert slot.tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert {1: 1} == ground.paid()


def test_a_fee_refused_at_once_is_raised_at_once(ground: Ground) -> None:
    """The base fee jumps between signing and sending: the node refuses, the bumped bytes go."""
    ground.rpc.before = lambda method: (
        ground.mine(base_fee=100 * GWEI)
        if method == SEND and not ground.facts(TransactionReplaced)
        else None
    )
    ground.submit(1)
    ground.rpc.before = lambda method: None
    assert (2, SlotState.SENT) == (len(ground.slot(1).attempts), ground.slot(1).state)
    ground.mine(base_fee=100 * GWEI)
    ground.pump()
    assert {1: 1} == ground.paid()


def test_the_older_attempt_may_win(ground: Ground) -> None:
    """Bumped, and then a block takes the first bytes: the slot is done by them, once."""
    old = ground.submit(1)
    raw = ground.slot(1).attempts[0].raw
    ground.mine(base_fee=100 * GWEI)
    ground.wait(RESEND_S)
    ground.pump()
    ground.node.call("anvil_dropAllTransactions")
    ground.mine(base_fee=GWEI)
    ground.node.call(SEND, raw)
    ground.mine(base_fee=GWEI)
    ground.pump()
    slot = ground.slot(1)
    assert slot.block
    assert (old, old, SlotState.MINED) == (slot.tx, slot.block.tx, slot.state)
    finish(ground, 3)
    assert {1: 1} == ground.paid()
    assert [old] == [fact.tx for fact in ground.facts(TransactionFinalized)]


def test_bumps_are_capped(ground: Ground) -> None:
    """A market gone mad: never above the cap, never more than a few attempts, and not lost."""
    ground.submit(1)
    ground.mine(base_fee=MAX_FEE_WEI)
    for _ in range(3):
        ground.wait(RESEND_S)
        ground.pump()
    assert 1 == len(ground.slot(1).attempts)
    for n in range(2 * MAX_ATTEMPTS):
        ground.mine(base_fee=(n + 2) ** 4 * GWEI // 8)
        ground.node.call("anvil_dropAllTransactions")
        ground.wait(RESEND_S)
        ground.pump()
    slot = ground.slot(1)
    assert len(slot.attempts) <= MAX_ATTEMPTS
    fees = [signed_fields(attempt.raw)["maxFeePerGas"] for attempt in slot.attempts]
    assert fees == sorted(fees)
    assert fees[-1] <= MAX_FEE_WEI
    ground.mine(base_fee=GWEI)
    finish(ground, 3)
    assert {1: 1} == ground.paid()


def test_the_tip_is_what_the_node_suggests(ground: Ground) -> None:
    """Polygon takes nothing below 25 gwei: the suggestion counts, our least tip without one."""
    ground.rpc.answers["eth_maxPriorityFeePerGas", ""] = hex(30 * GWEI)
    ground.submit(1)
    ground.submit(2)
    tips = [signed_fields(s.attempts[0].raw) for s in ground.slots()]
    assert [30 * GWEI] * 2 == [each["maxPriorityFeePerGas"] for each in tips]
    assert 1 == ground.rpc.calls["eth_maxPriorityFeePerGas"]


def test_a_stale_send_does_not_undo_what_a_pump_saw(ground: Ground) -> None:
    """While `submit` still waits for its answer, a pump sees the receipt: MINED stays MINED."""

    sent = asyncio.Event()

    async def slow_answer() -> None:
        async def pump_meanwhile() -> None:
            await sent.wait()
            ground.mine()
            await ground.sender.pump()

        await asyncio.gather(ground.sender.submit(subject(1), pay(1)), pump_meanwhile())

    real = ground.rpc.call

    async def slow(method: str, *params: Any) -> Any:
        answer = await real(method, *params)
        if method == SEND:
            sent.set()
            await ground.clock.sleep(1)
        return answer

    ground.rpc.call = slow  # type: ignore[method-assign]
    ground.run(slow_answer())
    assert SlotState.MINED is ground.slot(1).state
    finish(ground, 3)
    assert 1 == len(ground.facts(TransactionMined)) == len(ground.facts(TransactionFinalized))

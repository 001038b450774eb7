"""The sender under all faults at once, for several seeds."""

from __future__ import annotations

import random

import pytest

from tests.evm.faulty import (
    Ground,
    Killed,
)
from tests.evm.transactions.sender_helpers import RESEND_S, finish
from workbench.core.errors import (
    WorkbenchError,
)
from workbench.core.facts import (
    TransactionFailed,
)
from workbench.core.ports import SlotState


@pytest.mark.parametrize("seed", range(2))
def test_a_storm_of_faults(seed: int) -> None:
    """Lost requests and answers, lag, crashes, reorgs, dropped pools: forty acts, each once."""
    chance = random.Random(seed)
    ground = Ground(seed=seed)
    try:
        ground.mine(4)
        ground.rpc.rate_request = ground.rpc.rate_answer = 0.1
        ground.rpc.lag = 4
        todo = list(range(40))
        while todo or chance.random() < 0.9:
            _strike(ground, chance, todo)
        ground.rpc.rate_request = ground.rpc.rate_answer = 0.0
        ground.rpc.lag = 0
        for n in range(40):
            ground.submit(n)
        finish(ground, 12)
        assert dict.fromkeys(range(40), 1) == ground.paid()
        assert list(range(40)) == [slot.nonce for slot in ground.slots(SlotState.FINAL)]
        assert [] == ground.facts(TransactionFailed)
        ground.fresh_sender()
        ground.pump()
    finally:
        ground.close()


def _strike(ground: Ground, chance: random.Random, todo: list[int]) -> None:
    """One thing that happens in a storm."""
    event = chance.choices(
        ["submit", "pump", "mine", "wait", "reorg", "crash", "drop"], [8, 8, 6, 3, 2, 2, 1]
    )[0]
    try:
        if event == "submit" and todo:
            ground.submit(todo[0])
            todo.pop(0)
        elif event == "pump":
            ground.pump()
        elif event == "mine":
            ground.mine()
        elif event == "wait":
            ground.wait(chance.choice([1, RESEND_S]))
        elif event == "reorg":
            ground.reorg(chance.choice([1, 2]))
        elif event == "drop":
            ground.node.call("anvil_dropAllTransactions")
        elif event == "crash":
            _crash(ground, chance)
    except WorkbenchError as why:
        assert why.transient, why


def _crash(ground: Ground, chance: random.Random) -> None:
    """The process dies somewhere in a pump; a new one takes over."""
    left = [chance.randint(1, 12)]

    def hook(*_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    where = chance.choice(["before", "after", "store"])
    if where == "store":
        ground.store.after_commit = hook
    else:
        setattr(ground.rpc, where, hook)
    try:
        ground.pump()
    except Killed:
        pass
    finally:
        ground.store.after_commit = lambda: None
        ground.rpc.before = ground.rpc.after = lambda method: None
        ground.fresh_sender()

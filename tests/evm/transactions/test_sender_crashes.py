"""The sender is killed around every commit and every call, and sends nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.evm.faulty import (
    GWEI,
    SEND,
    Ground,
    Killed,
    pay,
    subject,
)
from tests.evm.transactions.sender_helpers import RESEND_S, finish
from workbench.core.facts import (
    TransactionFinalized,
    TransactionMined,
    TransactionSigned,
)


def live_through(ground: Ground, number: int) -> None:
    """One act from its submission to its finality, as a service would drive it."""

    async def service() -> None:
        await ground.sender.submit(subject(number), pay(number))
        for _ in range(4):
            ground.mine()
            await ground.sender.pump()

    ground.run(service())


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_killed_around_every_commit(ground: Ground, moment: str) -> None:
    """The process dies around its n-th commit, for every n: a new one ends with one transaction."""
    for n in range(1, 30):
        left = [n]

        def hook(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        setattr(ground.store, moment, hook)
        try:
            live_through(ground, n)
        except Killed:
            setattr(ground.store, moment, lambda: None)
            ground.fresh_sender()
            ground.submit(n)
            finish(ground, 4)
        else:
            assert n > 4, "there are at least four commits in a life"
            break
    setattr(ground.store, moment, lambda: None)
    assert dict.fromkeys(range(1, n + 1), 1) == ground.paid()
    assert n == len(ground.facts(TransactionSigned)) == len(ground.facts(TransactionFinalized))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_every_call(ground: Ground, moment: str) -> None:
    """The process dies around its n-th call of the node, for every n: one transaction for each."""
    for n in range(1, 60):
        left = [n]

        def hook(method: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        setattr(ground.rpc, moment, hook)
        try:
            live_through(ground, n)
        except Killed:
            setattr(ground.rpc, moment, lambda method: None)
            ground.fresh_sender()
            ground.submit(n)
            finish(ground, 4)
        else:
            assert n > 8, "there are at least eight calls in a life"
            break
    assert dict.fromkeys(range(1, n + 1), 1) == ground.paid()
    assert n == len(ground.facts(TransactionMined))


def test_nothing_is_sent_before_it_is_stored(ground: Ground) -> None:
    """At each broadcast the store already holds the very bytes, on the first send and on a bump."""
    seen: list[str] = []
    send = ground.rpc.node.now

    def spy(method: str, *params: Any) -> Any:
        if method == SEND:
            stored = [a.raw for slot in ground.slots() for a in slot.attempts]
            assert params[0] in stored
            seen.append(params[0])
        return send(method, *params)

    ground.rpc.node.now = spy  # type: ignore[method-assign]
    ground.submit(1)
    ground.node.call("anvil_dropAllTransactions")
    ground.mine(base_fee=100 * GWEI)
    ground.wait(RESEND_S)
    ground.pump()
    assert 2 == len(seen) == len(set(seen))

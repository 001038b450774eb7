"""Many transactions at a time are signed and sent in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.evm.faulty import (
    SEND,
    Ground,
    pay,
    subject,
)
from tests.evm.transactions.sender_helpers import finish
from workbench.core.errors import (
    RpcUnreachable,
    StateMoved,
    WorkbenchError,
)
from workbench.core.facts import (
    TransactionSent,
    TransactionSigned,
)
from workbench.core.ports import Slot, SlotState, TransactionIntent
from workbench.evm.transactions import submit


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three acts in a part, so that few acts are many parts."""
    monkeypatch.setattr(submit, "PART", 3)
    monkeypatch.setattr(submit, "FIRST_PART", 3)


class Marks:
    """Takes some acts back before they are signed; `fails`: what becomes of the marking."""

    def __init__(self, back: set[int], fails: bool = False) -> None:
        self.back, self.fails = {subject(n) for n in back}, fails
        self.asked: list[int] = []
        self.marked: list[str] = []

    async def refused(
        self, unit: Any, acts: Sequence[TransactionIntent]
    ) -> dict[Any, WorkbenchError]:
        self.asked.append(len(acts))
        return {a.key: StateMoved("taken back.") for a in acts if a.subject in self.back}

    async def mark(self, unit: Any, slots: Sequence[Slot]) -> None:
        if self.fails and len(self.asked) == 2:
            raise StateMoved("moved.")
        self.marked += [slot.subject for slot in slots]


def acts(count: int, within: Marks | None = None) -> list[TransactionIntent]:
    return [TransactionIntent(subject(n), pay(n), within=within) for n in range(count)]


def test_parts_are_sent_in_the_order_of_their_nonces(ground: Ground, parts: None) -> None:
    """Ten acts in four parts: each part is sent once the one before is, and stored before."""
    sent: list[int] = []
    send = ground.rpc.node.now

    def spy(method: str, *params: Any) -> Any:
        if method == SEND:
            raws = {each.attempts[0].raw: each.nonce for each in ground.slots()}
            sent.append(raws[params[0]])
        return send(method, *params)

    ground.rpc.node.now = spy  # type: ignore[method-assign]
    told = ground.run(ground.sender.submit_many(acts(10)))
    assert [slot.tx for slot in ground.slots()] == told
    assert list(range(10)) == sent
    assert {SlotState.SENT} == {slot.state for slot in ground.slots()}
    finish(ground, 3)
    assert dict.fromkeys(range(10), 1) == ground.paid()


def test_the_next_part_is_stored_while_one_is_sent(ground: Ground, parts: None) -> None:
    """At the first answer to a send of a part the next part is there already."""
    stored: list[int] = []
    ground.rpc.after = lambda method: stored.append(len(ground.slots())) if method == SEND else None
    ground.run(ground.sender.submit_many(acts(9)))
    assert [6, 9] == sorted({*stored} - {3})


def test_sends_of_a_part_that_are_lost_are_sent_again(ground: Ground, parts: None) -> None:
    """Requests of the first part, an answer of the second: the same bytes, one payment each."""
    ground.rpc.lose_requests[SEND] = 2
    ground.run(ground.sender.submit_many(acts(3)))
    ground.rpc.lose_answers[SEND] = 1
    told = ground.run(ground.sender.submit_many(acts(8)))
    finish(ground, 4)
    assert [slot.tx for slot in ground.slots()] == told
    assert [1] * 8 == [len(slot.attempts) for slot in ground.slots()]
    assert dict.fromkeys(range(8), 1) == ground.paid()


def test_a_node_that_goes_away_between_two_parts(ground: Ground, parts: None) -> None:
    """What was stored is sent, what was not is not; asked again, all are paid once."""
    ground.rpc.before = lambda method: away() if method == "eth_call" and ground.slots() else None

    def away() -> None:
        raise RpcUnreachable("the node is away (test).")

    with pytest.raises(RpcUnreachable):
        ground.run(ground.sender.submit_many(acts(8)))
    first = len(ground.slots())
    assert 0 < first < 8
    assert {SlotState.SENT} == {slot.state for slot in ground.slots()}
    ground.rpc.before = lambda method: None
    ground.run(ground.sender.submit_many(acts(8)))
    assert list(range(8)) == [slot.nonce for slot in ground.slots()]
    finish(ground, 3)
    assert dict.fromkeys(range(8), 1) == ground.paid()


def test_one_that_is_taken_back_holds_up_nobody(ground: Ground, parts: None) -> None:
    """It takes no nonce and is not marked; the others of its part and the next go on."""
    marks = Marks({1, 5})
    told = ground.run(ground.sender.submit_many(acts(8, marks)))
    assert [n in (1, 5) for n in range(8)] == [isinstance(each, StateMoved) for each in told]
    assert [3, 3, 2] == marks.asked
    others = [subject(n) for n in range(8) if n not in (1, 5)]
    assert others == marks.marked == [slot.subject for slot in ground.slots()]
    assert list(range(6)) == [slot.nonce for slot in ground.slots()]
    finish(ground, 3)
    assert dict.fromkeys((0, 2, 3, 4, 6, 7), 1) == ground.paid()


def test_a_part_that_cannot_be_marked_is_not_signed(ground: Ground, parts: None) -> None:
    """All or nothing of it, without a fact; the part before it is sent."""
    with pytest.raises(StateMoved):
        ground.run(ground.sender.submit_many(acts(8, Marks(set(), fails=True))))
    assert [(n, SlotState.SENT) for n in range(3)] == [(s.nonce, s.state) for s in ground.slots()]
    assert 3 == len(ground.facts(TransactionSigned)) == len(ground.facts(TransactionSent))
    ground.run(ground.sender.submit_many(acts(8)))
    finish(ground, 3)
    assert dict.fromkeys(range(8), 1) == ground.paid()


def test_final_slots_cost_nothing(ground: Ground) -> None:
    """Sixty final slots, one open: a pump asks for the open one only."""
    for n in range(60):
        ground.submit(n)
    ground.mine(3)
    ground.pump()
    assert 60 == len(ground.slots(SlotState.FINAL))
    ground.submit(60)
    before = ground.rpc.calls.total()
    ground.pump()
    assert ground.rpc.calls.total() - before <= 3

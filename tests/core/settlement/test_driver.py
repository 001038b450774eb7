"""A driver that follows `next_step` comes to an end under any faults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.core.settlement.test_next_step import ACT, failed
from tests.core.settlement.test_settlement import FACTS
from tests.hypothesis_profile import examples
from workbench.core import facts as ev
from workbench.core.finality import FinalityPolicy
from workbench.core.settlement import (
    SettlementState,
    SettlementStep,
    fold,
    next_step,
)

FATES = ("mined", "refused", "reverted", "lasting", "idle", "slow", "reorg 1", "reorg 3", "reorg 9")


BLOCK_S, FUND_S, SWAP_S, GATE = 10, 120, 240, 2


@dataclass
class Node:
    """A chain with one vault on it, which judges by its own rules and not by ours.

    `blocks`: hash, time and the vault's word after each; a reorg cuts the newest off.
    """

    journal: list[ev.Event] = field(default_factory=list)
    blocks: list[tuple[str, int, str]] = field(default_factory=lambda: [("0xb0", 0, "none")])
    mined: int = 0
    bad_orders: list[str] = field(default_factory=list)

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    @property
    def now(self) -> int:
        return self.blocks[-1][1]

    @property
    def word(self) -> str:
        return self.blocks[-1][2]

    def mine(self, seconds: int = BLOCK_S, fact: type[ev.Event] | None = None) -> None:
        """A block, with the vault's fact in it or none."""
        self.mined += 1
        word = fact.__name__.removeprefix("Settlement").lower() if fact else self.word
        self.blocks.append((f"0xb{self.mined}", self.now + seconds, word))
        if fact:
            known: dict[str, Any] = {"block": self.at(self.head), "at_ms": self.now * 1000}
            if fact is ev.SettlementCreated:
                known |= {"fund_deadline": FUND_S, "swap_deadline": SWAP_S}
            self.journal.append(replace(FACTS[fact], **known))

    def at(self, number: int) -> ev.BlockRef:
        return ev.BlockRef(number, self.blocks[number][0], f"0xt{self.mined}", 0)

    def reorg(self, depth: int) -> None:
        """Take the newest blocks back, but not the settlement's birth; the new branch is longer."""
        depth = min(depth, self.head - 1)
        for number in range(self.head, self.head - depth, -1):
            gone, _, _ = self.blocks.pop()
            self.journal.append(
                ev.BlockOrphaned(subject=gone, at_ms=0, source="watcher", number=number)
            )
        for _ in range(depth and depth + 1):
            self.mine()

    def do(self, step: SettlementStep) -> None:
        """An act as the vault takes it: in its state and time, else it reverts."""
        since = next(n for n, block in enumerate(self.blocks) if block[2] == self.word)
        allowed = {
            SettlementStep.FUND: self.word == "created",
            SettlementStep.SWAP: self.word == "funded",
            SettlementStep.EXECUTE: self.word == "swapped" and self.head >= since + GATE,
            SettlementStep.REFUND: self.word in ("created", "funded"),
        }
        if not allowed[step]:
            self.bad_orders.append(f"{step.value} in {self.word}")
        late = {SettlementStep.FUND: FUND_S, SettlementStep.SWAP: SWAP_S}.get(
            step, 10**9
        ) < self.now + BLOCK_S
        if late:
            self.fail(step, "0xlate", transient=True)
        else:
            self.mine(fact=ACT[step])

    def fail(self, step: SettlementStep, tx: str, transient: bool) -> None:
        """The act is refused (no `tx`) or reverts in a block of its own."""
        self.mine()
        fact = failed(step.value, tx=tx, transient=transient)
        self.journal.append(replace(fact, block=self.at(self.head) if tx else None))


def round_of(node: Node, fate: str, authorized: bool) -> SettlementStep:
    """One round of the loop: fold, ask, act, and let fate have its way."""
    (settlement,) = fold(node.journal).values()
    step = next_step(
        settlement,
        head=node.head,
        now=node.now,
        finality=FinalityPolicy(3, GATE),
        authorized=authorized,
    )
    if fate.startswith("reorg"):
        node.reorg(int(fate.split()[1]))
    elif fate in ("idle", "slow") or step in (SettlementStep.WAIT, SettlementStep.NOTHING):
        node.mine(60 if fate == "slow" else BLOCK_S)
    elif step is SettlementStep.CONFIRM:
        swapped = settlement.block_of(SettlementState.SWAPPED)
        node.journal.append(replace(FACTS[ev.FinalityReached], block=swapped))
    elif fate == "refused":
        node.fail(step, "", transient=True)
    elif fate == "reverted":
        node.fail(step, "0xbad", transient=True)
    elif fate == "lasting":
        node.fail(step, "", transient=False)
    else:
        node.do(step)
    return step


@examples(120)
@given(st.lists(st.sampled_from(FATES), max_size=30), st.booleans())
def test_a_driver_that_asks_next_step_always_comes_to_an_end(
    fates: list[str], authorized: bool
) -> None:
    """Whatever is refused, reverted or taken back: executed or refunded, and no act out of place.

    Once fate is done with it, the settlement ends within the blocks that its deadlines span.
    """
    node = Node()
    node.mine(fact=ev.SettlementCreated)
    for fate in fates:
        round_of(node, fate, authorized)
    steps = [round_of(node, "mined", authorized) for _ in range(60)]
    (settlement,) = fold(node.journal).values()
    assert settlement.state in (SettlementState.EXECUTED, SettlementState.REFUNDED)
    assert [] == node.bad_orders
    assert settlement.contract_word(node.now) == node.word
    assert SettlementStep.NOTHING is steps[-1]
    if not fates and authorized:
        assert SettlementState.EXECUTED is settlement.state
    if not authorized:
        assert SettlementState.REFUNDED is settlement.state

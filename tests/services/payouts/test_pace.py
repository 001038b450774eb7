"""Only unmined transactions count against PAYOUTS_IN_FLIGHT; finality does not slow payouts."""

from __future__ import annotations

import pytest

from tests.services import fake_chain
from tests.services.payouts.storm import DEPTH, Storm
from workbench.core.payout import PayoutState
from workbench.services.payouts.input import PayoutInput

MANY = 96
LIMIT = 16
BLOCK_S = 12


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that have room for all that may be unmined."""
    monkeypatch.setattr(fake_chain, "CAPACITY", 4 * LIMIT)


def test_every_block_pays_as_many_as_may_be_unmined() -> None:
    storm = Storm(1, count=MANY)
    storm.chain.bad.clear()
    try:
        storm.loop.run_until_complete(storm.payouts.check())
        storm.loop.run_until_complete(storm.payouts.earn(PayoutInput("user", 10**6, "credits")))
        for number in range(MANY):
            storm.ask(number)
        blocks = []
        for _ in range(MANY // LIMIT):
            storm.loop.run_until_complete(storm.payouts.tick())
            before = sum(storm.chain.paid().values())
            storm.chain.mine()
            blocks.append(sum(storm.chain.paid().values()) - before)
            storm.loop.jump(BLOCK_S)
        assert blocks == [LIMIT] * (MANY // LIMIT), f"none of them was final: depth {DEPTH}"
    finally:
        storm.loop.close()
        storm.store.close()


def test_what_a_reorg_puts_back_counts_again() -> None:
    """Nothing is signed while more than the limit is unmined; then all end as they should."""
    storm = Storm(2, count=4 * LIMIT)
    storm.chain.bad.clear()
    try:
        storm.loop.run_until_complete(storm.payouts.check())
        storm.loop.run_until_complete(storm.payouts.earn(PayoutInput("user", 10**6, "credits")))
        for number in range(4 * LIMIT):
            storm.ask(number)
        for _ in range(2):
            storm.loop.run_until_complete(storm.payouts.tick())
            storm.chain.mine()
            storm.loop.jump(BLOCK_S)
        storm.loop.run_until_complete(storm.payouts.tick())  # Two blocks are known as mined.
        assert storm.payouts.signed == 3 * LIMIT
        storm.chain.reorg(2)
        for _ in range(3):
            storm.loop.run_until_complete(storm.payouts.tick())
            storm.loop.jump(6)
        assert storm.payouts.signed == 3 * LIMIT, "what is unmined is above the limit"
        for _ in range(20):
            storm.calm()
        assert {payout.state for payout in storm.all()} == {PayoutState.PAID}
        assert storm.problems() == []
    finally:
        storm.loop.close()
        storm.store.close()

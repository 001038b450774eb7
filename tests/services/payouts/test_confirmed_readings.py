"""A loss is never concluded from one reading: answers that are wrong for a while.

The chain in memory, real services, sender and store. After the node is sane again everything is
paid once, no quarantine remains, and ledger and chain agree.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services.odd_line import Change, OddLine
from tests.services.payouts.storm import FUNDS, Rules, Storm
from workbench.core.facts import SignerQuarantined
from workbench.core.payout import ENDED, PayoutState
from workbench.services.payouts.input import PayoutInput


def storm_of(seed: int, count: int = 6) -> Storm:
    storm = Storm(seed, Rules(line=OddLine, reconcile_s=5.0), count=count)
    storm.chain.bad.clear()
    storm.loop.run_until_complete(storm.payouts.check())
    storm.loop.run_until_complete(storm.payouts.earn(PayoutInput("user", 10**6, "credits")))
    return storm


def rounds(storm: Storm, number: int) -> None:
    for _ in range(number):
        storm.do(storm.payouts.tick())
        storm.chain.mine()
        storm.loop.jump(2)


def settle(storm: Storm) -> None:
    """A sane node, until everything has ended."""
    for number in range(len(storm.receivers)):
        storm.ask(number)
    for _ in range(120):
        storm.calm()
        if all(payout.state in ENDED for payout in storm.all()):
            break
    for _ in range(12):
        storm.calm()


def odd_of(storm: Storm) -> Any:
    return storm.chain.odd  # type: ignore[attr-defined]


def flipped(receipt: Any) -> Any:
    return receipt and {**receipt, "status": "0x0"}


def of_another_block(block: Any) -> Any:
    return block and {**block, "hash": "0x" + "ab" * 32}


ONCE: dict[str, tuple[str, Change]] = {
    "a balance of nearly nothing": ("eth_getBalance", lambda _: hex(1_000_000)),
    "a balance of everything": ("eth_getBalance", lambda _: hex(10**40)),
    "a nonce that is huge": ("eth_getTransactionCount", lambda _: hex(10**9)),
    "a nonce of nothing": ("eth_getTransactionCount", lambda _: "0x0"),
    "no receipt": ("eth_getTransactionReceipt", lambda _: None),
    "a receipt that failed": ("eth_getTransactionReceipt", flipped),
    "another block's hash": ("eth_getBlockByNumber", of_another_block),
    "a head far ahead": ("eth_blockNumber", lambda said: hex(int(said, 16) + 1_000)),
    "a head a little ahead": ("eth_blockNumber", lambda said: hex(int(said, 16) + 3)),
}


@pytest.mark.parametrize("what", ONCE)
@pytest.mark.parametrize(
    "after", [2, pytest.param(0, marks=pytest.mark.check), pytest.param(9, marks=pytest.mark.check)]
)
def test_one_wrong_reading_concludes_nothing(what: str, after: int) -> None:
    """Before anything is signed, while payouts are on their way, and after their end."""
    method, change = ONCE[what]
    storm = storm_of(3)
    if after:
        for number in range(3):
            storm.ask(number)
    rounds(storm, after)
    for _ in range(3):  # The next readers get it: the sender, the judge, the reconciler.
        odd_of(storm).script[method] = [change]
        rounds(storm, 9)
    assert after != 2 or odd_of(storm).changed[method]
    odd_of(storm).script.clear()
    settle(storm)
    assert [] == storm.problems()
    assert {PayoutState.PAID} == {payout.state for payout in storm.all()}
    assert not [fact for fact in storm.facts() if isinstance(fact, SignerQuarantined)]
    assert FUNDS == funding(storm), "a balance that was not there is no funding"
    assert {} == storm.payouts.health.alarms()


def funding(storm: Storm) -> int:
    async def read() -> int:
        async with storm.store.unit() as unit:
            account = await unit.account("funding:eip155:31337/native")
        return -account.balance if account else 0

    return abs(asyncio.run(read()))


def test_a_first_reading_is_an_alarm_that_ends_by_itself() -> None:
    storm = storm_of(4)
    rounds(storm, 12)
    odd_of(storm).script["eth_getBalance"] = [lambda _: hex(7)] * 20
    storm.loop.jump(5)
    storm.do(storm.payouts.tick())
    told = storm.payouts.health.alarms()["wallet_differs"]
    assert "first reading at block" in told
    assert "is missing; a second reading follows" in told
    odd_of(storm).script.clear()
    rounds(storm, 6)
    assert {} == storm.payouts.health.alarms()


def test_a_loss_that_two_readings_show_stops_the_signer() -> None:
    storm = storm_of(5)
    rounds(storm, 12)
    storm.chain.funds -= 10**18
    rounds(storm, 12)
    (fact,) = [fact for fact in storm.facts() if isinstance(fact, SignerQuarantined)]
    assert f"{10**18} of eip155:31337/native is missing" in fact.reason


@given(st.integers(0, 2**32))
def test_whatever_a_node_answers_for_a_while(seed: int) -> None:
    """Every method that is used: nothing ends, nothing is paid twice or lost."""
    changed_for_a_while(seed)


def changed_for_a_while(seed: int) -> None:
    storm = storm_of(seed)
    odd_of(storm).chance.seed(seed)
    odd_of(storm).rate = 0.15
    for number in range(len(storm.receivers)):
        storm.ask(number)
        rounds(storm, 3)
    rounds(storm, 10)
    odd_of(storm).rate = 0.0
    settle(storm)
    assert [] == storm.problems()
    assert "signer_quarantined" not in storm.payouts.health.alarms()


def test_every_true_answer_passes_the_codec() -> None:
    """Or changed answers would be refused for what the chain in memory leaves out."""
    storm = storm_of(1, count=3)
    same: Change = lambda answer: answer  # noqa: E731
    for method in (name for name in dir(OddLine) if name.startswith("eth_")):
        odd_of(storm).script[method] = [same] * 10_000
    for number in range(3):
        storm.ask(number)
    rounds(storm, 20)
    assert {PayoutState.PAID} == {payout.state for payout in storm.all()}
    assert {"eth_getBalance", "eth_getTransactionReceipt"} <= set(odd_of(storm).changed)

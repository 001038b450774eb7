"""A node whose answers are changed for a while: no odd end, nothing twice, nothing lost.

Once the node is sane, everything is right. What is changed is the form of answers, or which
question they belong to (see `mutated`): that a single look can find.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.evm.faulty import OTHER, FaultyRpc, Ground, pay, subject
from tests.evm.watcher_scene import Scene
from workbench import World
from workbench.core.errors import ContractNotFound, WorkbenchError, WrongChain
from workbench.core.finality import FinalityPolicy
from workbench.core.payout import Payout, PayoutOutcome, PayoutState
from workbench.core.ports import SlotState
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.payments.guard import PaymentSigner
from workbench.evm.payments.wallet import EvmPayments

SEEDS = [1, 2, pytest.param(range(3, 60), marks=pytest.mark.check)]
RATE = 0.25


def seeds(given: Any) -> list[int]:
    return list(given) if isinstance(given, range) else [given]


def tried(work: Callable[[], Any]) -> Any:
    """What came of it, or the error, which must be ours and say that it may pass."""
    try:
        return work()
    except WorkbenchError as why:
        assert why.transient, why
        return why


# --- Sending --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", SEEDS)
def test_every_payment_is_made_once(given: Any) -> None:
    """Submitted, bumped, mined, taken back by reorgs: each is on the chain once in the end."""
    for seed in seeds(given):
        ground = Ground(seed=seed)
        try:
            pay_among_changed_answers(ground, random.Random(seed))
        finally:
            ground.close()


def pay_among_changed_answers(ground: Ground, chance: random.Random) -> None:
    wanted = range(8)
    for step in range(60):
        ground.rpc.rate_changed = RATE
        number = step % len(wanted)
        act = chance.choice(("submit", "submit", "pump", "pump", "mine", "wait", "reorg", "new"))
        if act == "submit":
            tried(lambda n=number: ground.submit(n))  # type: ignore[misc]
        elif act == "pump":
            tried(ground.pump)
        elif act == "mine":
            ground.mine()
        elif act == "wait":
            ground.wait(chance.choice((1, 20)))
        elif act == "reorg" and ground.head() > 2:
            ground.reorg(1)
        elif act == "new":  # The process is started again.
            ground.fresh_sender()
    assert sum(ground.rpc.changed.values()) > 5
    ground.rpc.rate_changed = 0
    for _ in range(30):
        for number in wanted:
            ground.submit(number)
        ground.wait(20)
        ground.pump()
        ground.mine()
    ground.pump()
    assert dict.fromkeys(wanted, 1) == dict(ground.paid())
    assert {SlotState.FINAL} == {slot.state for slot in ground.slots()}
    assert len(wanted) == len(ground.slots())


# --- Following ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", SEEDS)
def test_every_fact_of_the_chain_is_in_the_journal(given: Any) -> None:
    """Near the head and far behind it, over reorgs and restarts."""
    for seed in seeds(given):
        scene = Scene(seed=seed)
        try:
            follow_among_changed_answers(scene, random.Random(seed))
        finally:
            scene.close()


def follow_among_changed_answers(scene: Scene, chance: random.Random) -> None:
    for _ in range(40):
        scene.rpc.rate_changed = RATE
        act = chance.choice(("tell", "tell", "poll", "poll", "poll", "reorg", "far", "new"))
        if act == "tell":
            scene.block_with_logs(chance.randint(1, 3))
        elif act == "poll":
            tried(scene.poll)
        elif act == "reorg" and scene.head() > 3:
            scene.reorg(chance.randint(1, 2))
        elif act == "far":
            scene.mine(30)
        elif act == "new":
            scene.fresh_watcher()
    assert sum(scene.rpc.changed.values()) > 5
    scene.rpc.rate_changed = 0
    scene.mine()
    for _ in range(3):
        scene.poll()
    assert scene.truth() == scene.standing()


# --- Judging --------------------------------------------------------------------------------------


def test_no_verdict_and_no_balance_is_wrong() -> None:
    """Of payments that were made: paid, or not known yet; the wallet as it is, or not known."""
    ground = Ground(seed=5)
    try:
        for number in range(3):
            ground.submit(number)
        ground.mine(4)
        ground.pump()
        payments = wallet_of(ground)
        cases = [
            (
                Payout(subject(n), PayoutState.SENT, address=OTHER, units=pay(n).value),
                ground.slot(n),
            )
            for n in range(3)
        ]
        truth = ground.run(payments.wallet())
        sure = ground.run(payments.judge(cases))
        assert [PayoutOutcome.PAID] * 3 == [each.outcome for each in sure]
        ground.rpc.rate_changed = RATE
        for _ in range(150):
            verdicts = tried(lambda: ground.run(payments.judge(cases)))
            if not isinstance(verdicts, WorkbenchError):
                for verdict, right in zip(verdicts, sure, strict=True):
                    assert verdict == right or verdict.outcome is PayoutOutcome.WAIT
            wallet = tried(lambda: ground.run(payments.wallet()))
            assert isinstance(wallet, WorkbenchError) or wallet == truth
            cost = tried(lambda: ground.run(payments.cost(ground.slot(0))))
            assert isinstance(cost, WorkbenchError) or cost in (None, sure[0])
        assert sum(ground.rpc.changed.values()) > 100
        ground.rpc.rate_changed = 0
        assert sure == ground.run(payments.judge(cases))
    finally:
        ground.close()


def wallet_of(ground: Ground) -> EvmPayments:
    chain_id = ground.node.chain_id
    signer = PaymentSigner(ground.key.secret, chain_id=chain_id, token=None)
    finality = FinalityPolicy(ground.confirmations)
    return EvmPayments(
        ground.rpc, signer, chain_id=chain_id, token=None, decimals=None, finality=finality
    )


def test_a_receipt_that_cannot_be_that_of_our_bytes_is_not_believed() -> None:
    """More gas than its limit, or dearer than its cap: neither is booked."""
    ground = Ground(seed=6)
    try:
        ground.submit(0)
        ground.mine()
        tx = ground.slot(0).tx
        right = ground.direct.now("eth_getTransactionReceipt", tx)
        for field in ("gasUsed", "effectiveGasPrice"):
            ground.rpc.answers[("eth_getTransactionReceipt", tx)] = right | {field: "0xffffffffff"}
            with pytest.raises(WorkbenchError, match="than the signed transaction allows"):
                ground.pump()
        ground.rpc.answers.clear()
        ground.mine(2)
        ground.pump()
        case = (Payout(subject(0), PayoutState.SENT, address=OTHER, units=1000), ground.slot(0))
        payments = wallet_of(ground)
        assert PayoutOutcome.PAID is ground.run(payments.judge([case]))[0].outcome
        ground.rpc.answers[("eth_getTransactionReceipt", tx)] = right | {"gasUsed": "0xffffffff"}
        with pytest.raises(WorkbenchError, match="than the signed transaction allows"):
            ground.run(payments.judge([case]))
    finally:
        ground.close()


# --- Reading contracts ----------------------------------------------------------------------------


def test_contracts_are_read_rightly_or_not_at_all(world: World) -> None:
    """What was read once is there: a node that says otherwise later is at fault."""
    rpc = FaultyRpc(world.rpc, random.Random(8))
    addresses = world.wiring.addresses
    chain = EvmChain(rpc, world.deployment.chain_id, addresses)
    reads: list[Callable[[], Awaitable[Any]]] = [  # The newest block may be any: no head.
        chain.finality_gate,
        chain.rate,
        chain.pool_price,
        chain.pool_liquidity,
        lambda: chain.supply(addresses.eurc),
        lambda: chain.balance(addresses.eurc, addresses.vault),
        lambda: chain.status("0x" + "11" * 32),
        lambda: chain.all_claimable(addresses.eurc, [addresses.vault, addresses.hook]),
        lambda: chain.permit_digest(addresses.eurc, addresses.vault, 1, 2),
    ]

    async def work() -> None:
        right = [await read() for read in reads]
        await chain.check()
        rpc.rate_changed = 0.5
        for _ in range(60):
            for read, truth in zip(reads, right, strict=True):
                try:
                    assert truth == await read()
                except WorkbenchError as why:
                    assert why.transient, why
            try:
                await chain.check()
            except WorkbenchError as why:
                assert why.transient or isinstance(why, ContractNotFound | WrongChain)
        rpc.rate_changed = 0
        assert right == [await read() for read in reads]

    world.do(work())

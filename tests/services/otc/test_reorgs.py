"""The chain takes blocks back under a settlement: it ends executed all the same, and once.

Confirmations are 2 here, so reorgs of 1 and 2 blocks are what the services promise to bear; deeper
ones break the promise that finality makes, and must still end with everybody's books in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.evm.faulty import at_once
from tests.payments import AMOUNT, SELLER
from tests.services.otc.test_failures import drain_pool
from workbench import World
from workbench.core.errors import RpcFault
from workbench.core.facts import (
    AssetDelivered,
    BlockOrphaned,
    FinalityReached,
    SettlementExecuted,
    TransactionMined,
    TransactionSent,
    canonical,
)
from workbench.core.purchase import Purchase
from workbench.core.settlement import Settlement, SettlementState
from workbench.evm.codec.abi import hex_bytes
from workbench.evm.transactions.test_keys import key_of
from workbench.worlds.balances import balances

STATUS = ("none", "created", "funded", "swapped", "executed", "refunded")
STAGES = ("created", "funded", "swapped", "final", "executed")
REQUIRED_USDC = 110_000_000
POOLS = ("dropped", "pending", "again")
BRANCHES = itertools.count(1)


async def reorg(world: World, depth: int, pool: str = "dropped") -> None:
    """The newest blocks give way to as many others.

    Their transactions and the pending ones are "dropped"; or only the pending ones land in the
    new blocks, maybe too early; or all of them do "again", which is how it mostly happens.
    """
    call = world.rpc.call
    old = await world.chain.head()
    numbers = range(old.number - depth + 1, old.number + 1)
    gone = [await call("eth_getBlockByNumber", hex(number), False) for number in numbers]
    mined = [tx for block in gone for tx in block["transactions"]]
    raw = [await call("eth_getRawTransactionByHash", tx) for tx in mined]
    await call("anvil_rollback", depth)
    if pool == "dropped":
        await call("anvil_dropAllTransactions")
    for each in raw if pool == "again" else ():
        with contextlib.suppress(RpcFault):  # Two of one nonce, where an attempt was bumped.
            await call("eth_sendRawTransaction", each)
    first = (await world.chain.head()).timestamp + 1
    for n in range(depth):
        # Another base fee, or an empty block would be the same one again.
        await call("anvil_setNextBlockBaseFeePerGas", hex(10**9 + next(BRANCHES)))
        await call("evm_mine", {"timestamp": first + n})
    new = await world.chain.head()
    assert (old.number, old.timestamp) == (new.number, new.timestamp)
    assert old.hash != new.hash


def begin(world: World, blocks: int) -> None:
    """Some blocks that can be taken back, and that no other test has mined.

    A world that was restored mines the same blocks again, down to their hashes. anvil forgets old
    states by hash, and with the old ones of that name the new ones: it could not roll back.
    """
    own = key_of("deployer").address
    call = {"from": own, "to": own, "value": hex(next(BRANCHES))}
    world.rpc.now("eth_sendTransaction", call)
    world.advance(blocks)


async def status(world: World, identity: str) -> str:
    """The vault's own word."""
    vault = world.chain.addresses.vault
    answer = await world.chain._read("SettlementVault", vault, "statusOf", hex_bytes(identity))
    return STATUS[int(answer[0])]


async def reach(world: World, stage: str) -> str:
    """Let time pass until the one settlement of this world is there; its id."""
    for _ in range(200):
        await world.clock.sleep(0.25)
        for identity, known in world.seller.book.settlements.items():
            facilitator = world.facilitator.book.get(identity)
            if stage == "final" and facilitator and facilitator.state is SettlementState.FINAL:
                return identity
            if stage == "delivered" and known.state is SettlementState.DELIVERED:
                return identity
            if stage == await status(world, identity):
                return identity
    raise AssertionError(f"no settlement came to be {stage}")


async def end(world: World, identity: str) -> None:
    """Until seller, facilitator and tracker know the end, with its confirmations."""
    for _ in range(60):
        await world._advance(1)
        if SettlementState.DELIVERED is world.tracker.book.settlements[identity].state:
            break
    for _ in range(4):
        await world._advance(1)


def books(world: World, identity: str) -> dict[str, Settlement]:
    services: dict[str, Any] = {
        "seller": world.seller,
        "facilitator": world.facilitator,
        "tracker": world.tracker,
    }
    return {name: service.book.settlements[identity] for name, service in services.items()}


async def assert_settled_once(world: World, purchases: list[Purchase], before: Any) -> None:
    """Exact balances, one execution each, and three books that agree with the vault."""
    after = await balances(world.chain, world.accounts)
    change = {key: after[key] - before[key] for key in after}
    count, known = len(purchases), world.tracker.book.settlements
    spent = sum(known[p.settlement_id].eurc_spent or 0 for p in purchases)
    assert change == {
        ("buyer", "EURC"): -spent,
        ("buyer", "USDC"): 0,
        ("buyer", "YPS"): count * AMOUNT,
        ("seller", "EURC"): 0,
        ("seller", "USDC"): count * REQUIRED_USDC,
        ("seller", "YPS"): -count * AMOUNT,
        ("vault", "EURC"): 0,
        ("vault", "USDC"): 0,
        ("vault", "YPS"): 0,
    }
    await world._audit()
    facts = canonical(list(world.events))
    executed = Counter(f.subject for f in facts if isinstance(f, SettlementExecuted))
    assert executed == {p.settlement_id: 1 for p in purchases}
    for purchase in purchases:
        identity = purchase.settlement_id
        assert "executed" == await status(world, identity)
        states = {name: book.state for name, book in books(world, identity).items()}
        assert states.pop("facilitator") is SettlementState.EXECUTED
        assert set(states.values()) == {SettlementState.DELIVERED}, states
        assert 1 == len(
            {book.block_of(SettlementState.EXECUTED) for book in books(world, identity).values()}
        )
        done = [f.act for f in facts if isinstance(f, TransactionMined) and f.ok]
        assert {"create", "fund", "swap", "execute"} <= set(done)
        assert dict.fromkeys(done, count) == Counter(done)
        own = [f for f in facts if f.subject == identity]
        executions = {f.block for f in own if isinstance(f, SettlementExecuted)}
        assert executions == {f.block for f in own if isinstance(f, AssetDelivered)}


async def settle_through(world: World, stage: str, depth: int, pool: str) -> None:
    before = await balances(world.chain, world.accounts)
    buying = asyncio.ensure_future(world.buyer.buy(SELLER, AMOUNT))
    identity = await reach(world, stage)
    await reorg(world, depth, pool)
    await end(world, identity)
    await assert_settled_once(world, [await buying], before)


@pytest.mark.parametrize(("depth", "pool"), [(1, "dropped"), *((2, pool) for pool in POOLS)])
@pytest.mark.parametrize("stage", STAGES)
def test_a_reorg_at_every_stage(world: World, stage: str, depth: int, pool: str) -> None:
    """Within the confirmations, at any moment: executed, once, and all books agree."""
    begin(world, 3)
    world.do(settle_through(world, stage, depth, pool))


@pytest.mark.parametrize("depth", [4, 8])
@pytest.mark.parametrize("stage", ["final", "executed", "delivered"])
def test_a_reorg_deeper_than_finality(world: World, stage: str, depth: int) -> None:
    """What was called final is taken back: nobody dies, and it is done again, once."""
    begin(world, 9)
    world.do(settle_through(world, stage, depth, "dropped"))
    facts = world.run.events
    assert [f for f in facts if isinstance(f, BlockOrphaned)]
    if stage != "final":
        assert 1 < len([f for f in facts if isinstance(f, FinalityReached | SettlementExecuted)])


def test_a_refusal_is_told_again_after_a_reorg(world: World) -> None:
    """The pool is empty, the swap refused; funded once more, the reason is known once more."""
    drain_pool(world)
    begin(world, 3)

    async def story() -> str:
        answer = asyncio.ensure_future(world.buyer.buy(SELLER, AMOUNT))
        identity = await reach(world, "funded")
        await until(world, lambda: bool(world.facilitator._told))
        await reorg(world, 1, "again")
        await world._advance(6)
        assert "refunded" == (await answer).status
        return identity

    identity = world.do(story())
    states = {name: (b.state, b.reason) for name, b in books(world, identity).items()}
    assert {(SettlementState.REFUNDED, "insufficient_output")} == set(states.values()), states


def test_the_keeper_is_not_stuck_by_a_stolen_nonce(world: World) -> None:
    """A foreign transaction takes the nonce of the rate's refresh: a next attempt does it."""
    keeper = key_of("keeper").address

    async def story() -> tuple[int, int]:
        before = await world.chain.rate()
        assert world.facilitator._keeper
        await until(world, lambda: "set_rate" in acts_of(world))
        await world.rpc.call("anvil_dropAllTransactions")
        await world.rpc.call("eth_sendTransaction", {"from": keeper, "to": keeper})
        for _ in range(12):
            await world._advance(1)
        return before.set_at, (await world.chain.rate()).set_at

    lifetime = world.do(world.chain.rate()).max_age_s
    world._on_thread(lambda: world.loop.jump(lifetime // 2))
    before, after = world.do(story())
    assert after > before


def acts_of(world: World) -> list[str]:
    """What the facilitator's senders have sent."""

    async def read() -> list[str]:
        async with world.stores["facilitator"].unit() as unit:
            return [f.act for _, f in await unit.facts() if isinstance(f, TransactionSent)]

    return at_once(read())


async def until(world: World, condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await world.clock.sleep(0.25)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("name", ["seller", "facilitator", "tracker"])
def test_a_service_that_was_away_during_the_reorg(world: World, name: str) -> None:
    """Killed before, restarted after: it finds out by itself, from its store and the chain."""
    begin(world, 3)

    async def story() -> None:
        before = await balances(world.chain, world.accounts)
        buying = asyncio.ensure_future(world.buyer.buy(SELLER, AMOUNT))
        identity = await reach(world, "swapped")
        await world._kill(name)
        await reorg(world, 2)
        await world.clock.sleep(1)
        await world._launch(name)
        await end(world, identity)
        await assert_settled_once(world, [await buying], before)

    world.do(story())


def test_a_tracker_that_begins_after_it_all(world: World) -> None:
    """An empty journal, peers who tell of orphaned blocks, and the chain as it is: the same end."""
    begin(world, 3)

    async def story() -> Purchase:
        buying = asyncio.ensure_future(world.buyer.buy(SELLER, AMOUNT))
        identity = await reach(world, "swapped")
        await reorg(world, 2, "pending")
        await end(world, identity)
        return await buying

    identity = world.do(story()).settlement_id
    known = world.settlement(identity)
    world.kill("tracker")
    world.stores["tracker"].restore(type(world.stores["tracker"])().dump())
    world.restart("tracker")
    begin(world, 3)
    assert known == world.settlement(identity) == world.tracker.book.settlements[identity]
    world.kill("tracker")
    world.restart("tracker")
    world.advance(2)
    assert known == world.settlement(identity) == world.tracker.book.settlements[identity]


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_reorgs(world: World, seed: int) -> None:
    """Three purchases at once, a reorg every few blocks, services that die: each executed once."""
    chance = random.Random(seed)
    begin(world, 3)
    services = ("seller", "facilitator", "tracker")

    async def story() -> None:
        before = await balances(world.chain, world.accounts)
        buyers = [world.wiring.buyer(key_of("buyer").secret) for _ in range(3)]
        buying = []
        for buyer in buyers:
            # One after the other: a permit carries the buyer's next nonce.
            buying.append(asyncio.ensure_future(buyer.buy(SELLER, AMOUNT)))
            await reach_next(world, len(buying))
        for _ in range(10):
            await world.clock.sleep(chance.choice([0.25, 1, 1.5, 3]))
            await reorg(world, chance.choice([1, 2]), chance.choice(POOLS))
            if chance.random() < 0.3:
                name = chance.choice(services)
                await world._kill(name)
                await world.clock.sleep(chance.choice([0, 1]))
                await world._launch(name)
        purchases = [await each for each in buying]
        for purchase in purchases:
            await end(world, purchase.settlement_id)
        await assert_settled_once(world, purchases, before)

    world.do(story())


async def reach_next(world: World, count: int) -> None:
    """Until so many settlements are funded."""
    for _ in range(100):
        await world.clock.sleep(0.5)
        known = [await status(world, identity) for identity in world.seller.book.settlements]
        if sum(each not in ("none", "created") for each in known) >= count:
            return
    raise AssertionError("a settlement was not funded")

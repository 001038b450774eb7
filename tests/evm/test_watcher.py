"""The watcher: whatever the chain takes back, the facts that stand are those of the chain."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.evm.faulty import FaultyRpc, Ground, Killed, at_once
from workbench.core.errors import ChainRewound, RpcFault, WorkbenchError
from workbench.core.facts import (
    BlockOrphaned,
    BlockRef,
    Event,
    SettlementFunded,
    TransactionMined,
    canonical,
)
from workbench.evm import watcher as watcher_module
from workbench.evm.rpc import log_ranges
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.test_keys import key_of
from workbench.evm.watcher import LogWatcher
from workbench.store.sql.database import SqlStore

OURS = "0x" + "a1" * 20
FOREIGN = "0x" + "f0" * 20
EMITTER = "0x6040360380604060003760203560003582600" + "0a200"
"""Logs its calldata: two words as topics, the rest as data."""
FUNDED = keccak(b"SettlementFunded(bytes32,uint256,uint256)")


class Scene(Ground):
    """A chain with two contracts that log what they are told, ours and a foreign one."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        for at in (OURS, FOREIGN):
            self.node.call("anvil_setCode", at, EMITTER)
        self.told = 0
        self.watcher = self.fresh_watcher()

    def fresh_watcher(
        self, store: SqlStore | None = None, rpc: Rpc | None = None, start: int = 0
    ) -> LogWatcher:
        """A new process, on the scene's store unless told otherwise."""
        made = LogWatcher(rpc or self.rpc, store or self.store, self.clock, [OURS], start)
        self.watcher = made if store is None else self.watcher
        return made

    def poll(self, watcher: LogWatcher | None = None) -> None:
        self.run((watcher or self.watcher).poll())

    def tell(self, count: int = 1, at: str = OURS, topic: bytes = FUNDED) -> None:
        """Pending transactions that log SettlementFunded, each of another settlement."""
        for _ in range(count):
            self.told += 1
            words = [self.told.to_bytes(32, "big"), (5).to_bytes(32, "big"), b"\0" * 32]
            call = {"from": key_of("deployer").address, "to": at, "gas": hex(100_000)}
            call |= {"maxFeePerGas": hex(10**12), "maxPriorityFeePerGas": "0x1"}
            self.node.call(
                "eth_sendTransaction", call | {"data": "0x" + (topic + b"".join(words)).hex()}
            )

    def block_with_logs(self, count: int = 1) -> str:
        self.tell(count)
        self.mine()
        return self.head_hash()

    def standing(self, store: SqlStore | None = None) -> list[Event]:
        """The chain facts that stand, in the order of the chain."""
        facts = [
            f for f in canonical(facts_of(store or self.store)) if isinstance(f, SettlementFunded)
        ]
        return sorted(facts, key=lambda f: (f.block.number, f.block.log_index))  # type: ignore[union-attr]

    def truth(self) -> list[Event]:
        """What a watcher that begins now finds on the chain, one block after the other."""
        store = SqlStore()
        self.poll(self.fresh_watcher(store, self.direct))
        found = self.standing(store)
        assert found == facts_of(store)
        store.close()
        return found


def facts_of(store: SqlStore) -> list[Event]:
    async def read() -> list[Event]:
        async with store.unit() as unit:
            return [fact for _, fact in await unit.facts()]

    return at_once(read())


def record(store: SqlStore, fact: Event) -> None:
    async def write() -> None:
        async with store.unit() as unit:
            assert await unit.record(fact)

    at_once(write())


def orphans(store: SqlStore) -> list[str]:
    return [fact.subject for fact in facts_of(store) if isinstance(fact, BlockOrphaned)]


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


# --- Reading --------------------------------------------------------------------------------------


def test_logs_become_facts_in_the_order_of_the_chain(scene: Scene) -> None:
    """Number, hash, transaction, place and time of each log, and what it says."""
    scene.mine(2)
    scene.block_with_logs(3)
    scene.poll()
    facts = scene.standing()
    block = scene.node.call("eth_getBlockByNumber", "latest", False)
    assert facts == facts_of(scene.store)
    assert [0, 1, 2] == [f.block.log_index for f in facts if f.block]
    assert block["transactions"] == [f.block.tx for f in facts if f.block]
    assert {(3, block["hash"])} == {(f.block.number, f.block.hash) for f in facts if f.block}
    assert {int(block["timestamp"], 16) * 1000} == {f.at_ms for f in facts}
    assert [5, 5, 5] == [f.eurc_amount for f in facts]  # type: ignore[attr-defined]
    assert [f"0x{n:064x}" for n in (1, 2, 3)] == [f.subject for f in facts]


def test_what_is_not_ours_is_ignored(scene: Scene) -> None:
    """The same event of another contract, and another event of ours: neither is a fact."""
    scene.tell(at=FOREIGN)
    scene.tell(topic=keccak(b"SomethingElse(bytes32)"))
    scene.mine()
    scene.poll()
    assert [] == facts_of(scene.store)


def test_ranges_and_single_blocks_give_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 blocks in ranges of any size, or one by one, or as they come: the same facts."""
    chance = random.Random(3)
    live = SqlStore()
    follower = scene.fresh_watcher(live)
    for _ in range(150):
        scene.tell(chance.choice([0, 0, 1, 2]))
        scene.mine()
        if chance.random() < 0.2:
            scene.poll(follower)
    scene.poll(follower)
    found = {}
    for near, size in ((10_000, 500), (64, 500), (0, 500), (0, 7), (10, 1)):
        monkeypatch.setattr(watcher_module, "NEAR", near)
        monkeypatch.setattr(log_ranges, "MAX_SPAN", size)
        store = SqlStore()
        scene.poll(scene.fresh_watcher(store))
        found[near, size] = facts_of(store)
        store.close()
    assert len(facts_of(live)) > 50
    assert all(facts == facts_of(live) for facts in found.values())
    live.close()


class Stingy(FaultyRpc):
    """A provider that gives logs of ten blocks at most."""

    def _ask(self, method: str, params: tuple[Any, ...]) -> Any:
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            span = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if span > 10:
                raise RpcFault("the block range is too wide (test).")
        return super()._ask(method, params)


def test_a_provider_with_narrow_ranges_is_followed(scene: Scene) -> None:
    """Refused ranges are halved until they pass; nothing is skipped."""
    for _ in range(40):
        scene.mine(4)
        scene.block_with_logs()
    watcher = scene.fresh_watcher(rpc=Stingy(scene.direct))
    for _ in range(8):
        scene.poll(watcher)
    assert scene.truth() == scene.standing()
    assert 40 == len(scene.standing())


def test_polls_at_the_same_time_take_each_block_once(scene: Scene) -> None:
    """A service's rounds and its requests poll together: no block is taken twice."""
    for _ in range(5):
        scene.block_with_logs()

    async def together() -> None:
        await asyncio.gather(*(scene.watcher.poll() for _ in range(4)))

    scene.run(together())
    assert scene.truth() == facts_of(scene.store)


def test_a_poll_without_news_is_cheap(scene: Scene) -> None:
    """Nothing new costs two calls."""
    scene.block_with_logs()
    scene.poll()
    before = scene.rpc.calls.total()
    scene.poll()
    assert 2 == scene.rpc.calls.total() - before


# --- Reorgs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_reorg_takes_facts_back(scene: Scene, depth: int) -> None:
    """Facts of the old branch stop counting, those of the new one count, none is deleted."""
    for _ in range(6):
        scene.block_with_logs(2)
        scene.mine()
    scene.poll()
    before = facts_of(scene.store)
    scene.node.call("anvil_rollback", depth)
    scene.tell(1)
    scene.mine(depth + 1, base_fee=10**9)
    scene.poll()
    after = facts_of(scene.store)
    assert before == after[: len(before)]
    assert scene.truth() == scene.standing()
    gone = {f.block.hash for f in before if f.block and f.block.number > 12 - depth}
    assert gone == set(orphans(scene.store))
    assert len(gone) == len(orphans(scene.store)), "once for each block with facts"


def test_the_first_block_may_be_reorganised(scene: Scene) -> None:
    """A service that just began has something to go back to."""
    scene.mine(3)
    scene.fresh_watcher(start=3)
    scene.block_with_logs()
    scene.poll()
    scene.node.call("anvil_rollback", 1)
    scene.block_with_logs(2)
    scene.poll()
    assert scene.truth() == scene.standing()
    assert 2 == len(scene.standing())


def test_a_block_that_comes_back_counts_again(scene: Scene) -> None:
    """Orphaned, replaced, and then the very same block once more: its facts stand, once."""
    scene.mine(2)

    def same_block() -> str:
        scene.tell()
        scene.told -= 1
        scene.node.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
        scene.node.call("evm_mine", {"timestamp": scene.clock.now_s() + 100})
        return scene.head_hash()

    first = same_block()
    scene.poll()
    (fact,) = scene.standing()
    for times in (1, 2):
        scene.node.call("anvil_rollback", 1)
        scene.mine(base_fee=7)
        scene.poll()
        assert [] == scene.standing()
        scene.node.call("anvil_rollback", 1)
        assert first == same_block()
        scene.poll()
        assert [fact] == scene.standing()
        assert [first] * times == orphans(scene.store)
    assert [fact] * 3 == [f for f in facts_of(scene.store) if isinstance(f, SettlementFunded)]


def test_a_chain_that_went_back_and_waits(scene: Scene) -> None:
    """Reverted and not grown yet: as with a node that lags, nothing is orphaned before it is."""
    scene.mine(3)
    snapshot = scene.node.call("evm_snapshot")
    scene.block_with_logs()
    scene.block_with_logs()
    scene.poll()
    stood = scene.standing()
    scene.node.call("evm_revert", snapshot)
    scene.poll()
    assert stood == scene.standing()
    scene.node.call("anvil_dropAllTransactions")
    scene.mine(base_fee=10**9)
    scene.poll()
    assert [] == scene.standing() == scene.truth()
    assert 2 == len(orphans(scene.store))


def test_a_node_that_lags_orphans_nothing(scene: Scene) -> None:
    """One of several nodes behind a URL is three blocks behind: that is not a reorg."""
    for _ in range(5):
        scene.block_with_logs()
    scene.poll()
    scene.rpc.lag = 3
    for _ in range(20):
        scene.poll()
    assert [] == orphans(scene.store)
    assert scene.truth() == facts_of(scene.store)


def test_a_chain_rewound_below_everything_known(scene: Scene) -> None:
    """ChainRewound, each time it is asked, and the journal is left as it was."""
    scene.mine(5)
    snapshot = scene.node.call("evm_snapshot")
    scene.mine(3)
    scene.fresh_watcher(start=8)
    scene.block_with_logs()
    scene.poll()
    before = facts_of(scene.store)
    scene.node.call("evm_revert", snapshot)
    scene.mine(6, base_fee=10**9)
    for _ in range(2):
        with pytest.raises(ChainRewound) as told:
            scene.poll()
        assert told.value.hint
    with pytest.raises(ChainRewound):
        scene.poll(scene.fresh_watcher(start=8))
    assert before == facts_of(scene.store)


# --- In between -----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_killed_around_every_commit(scene: Scene, moment: str) -> None:
    """Dead around the n-th commit, in the middle of a reorg: a new watcher finishes the work."""
    for n in range(1, 20):
        scene.block_with_logs()
        scene.block_with_logs(2)
        scene.poll()
        scene.reorg(1)
        scene.block_with_logs(2)
        scene.mine()
        left = [n]

        def hook(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        setattr(scene.store, moment, hook)
        try:
            scene.poll()
        except Killed:
            setattr(scene.store, moment, lambda: None)
            scene.fresh_watcher()
            scene.poll()
        else:
            assert n > 2
            break
        assert scene.truth() == scene.standing()
    assert len(orphans(scene.store)) == len(set(orphans(scene.store)))


@pytest.mark.parametrize("near", [0, 64])
def test_a_reorg_between_any_two_calls(
    scene: Scene, near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain moves before the n-th call of a poll, for every n: the next polls put it right."""
    monkeypatch.setattr(watcher_module, "NEAR", near)
    scene.mine(3)
    for n in range(1, 30):
        store = SqlStore()
        watcher = scene.fresh_watcher(store)
        scene.block_with_logs()
        scene.poll(watcher)
        for _ in range(3):
            scene.block_with_logs(2)
        strike_at(scene, n)
        try:
            scene.poll(watcher)
        except WorkbenchError as why:
            assert why.transient
        struck = scene.rpc.before is IDLE
        scene.rpc.before = IDLE
        scene.block_with_logs()
        scene.poll(watcher)
        assert scene.truth() == scene.standing(store), n
        store.close()
        if not struck:
            assert n > 5
            break


IDLE: Callable[[str], None] = lambda method: None  # noqa: E731


def strike_at(scene: Scene, call: int) -> None:
    """Before the n-th call from now, two blocks are replaced by three with other logs."""
    left = [call]

    def hook(method: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            scene.rpc.before = IDLE
            scene.node.call("anvil_rollback", 2)
            scene.tell(3)
            scene.mine(3, base_fee=10**9 + call)

    scene.rpc.before = hook


@pytest.mark.parametrize("seed", range(2))
def test_two_watchers_agree(scene: Scene, seed: int) -> None:
    """Polls at different times, through different reorgs, with faults: in the end one truth."""
    chance = random.Random(seed)
    stores = [SqlStore(), SqlStore()]
    watchers = [scene.fresh_watcher(store) for store in stores]
    scene.mine(6)
    scene.rpc.rate_request = scene.rpc.rate_answer = 0.02
    scene.rpc.lag = 2
    for _ in range(150):
        event = chance.choices(["mine", "poll", "reorg", "restart"], [6, 6, 2, 1])[0]
        which = chance.randrange(2)
        if event == "mine":
            scene.block_with_logs(chance.randint(0, 2))
        elif event == "reorg":
            scene.reorg(chance.randint(1, 5))
        elif event == "restart":
            watchers[which] = scene.fresh_watcher(stores[which])
        else:
            try:
                scene.poll(watchers[which])
            except WorkbenchError as why:
                assert why.transient
    scene.rpc.rate_request = scene.rpc.rate_answer = 0.0
    scene.rpc.lag = 0
    scene.mine()
    for watcher in watchers:
        scene.poll(watcher)
    assert scene.truth() == scene.standing(stores[0]) == scene.standing(stores[1])
    assert orphans(stores[0])
    for store in stores:
        store.close()


# --- What others tell about blocks ----------------------------------------------------------------


def mined_fact(block: BlockRef) -> TransactionMined:
    """What a sender tells of a block, in whatever order it is told."""
    more: dict[str, Any] = {"act": "fund", "tx": "0x01", "ok": True, "gas_used": 1, "gas_price": 1}
    return TransactionMined(subject="0xaa", at_ms=5, source="facilitator", block=block, **more)


def ref(scene: Scene, number: int) -> BlockRef:
    block = scene.node.call("eth_getBlockByNumber", hex(number), False)
    return BlockRef(number, block["hash"], "0x01", -1)


def test_a_block_that_came_and_went_between_two_polls(scene: Scene) -> None:
    """A peer saw it, we never did: its fact stops counting all the same."""
    scene.mine(3)
    scene.poll()
    scene.mine()
    fact = mined_fact(ref(scene, 4))
    record(scene.store, fact)
    scene.reorg(1)
    scene.poll()
    assert fact not in canonical(facts_of(scene.store))
    assert [fact.block.hash] == orphans(scene.store)  # type: ignore[union-attr]
    scene.poll()
    assert 1 == len(orphans(scene.store))


def test_a_fact_told_after_its_block_was_orphaned(scene: Scene) -> None:
    """We orphaned the block, and then a peer tells of it: again it does not count."""
    scene.mine(3)
    scene.block_with_logs()
    scene.poll()
    fact = mined_fact(ref(scene, 4))
    scene.reorg(1)
    scene.poll()
    record(scene.store, fact)
    assert fact in canonical(facts_of(scene.store))
    scene.poll()
    assert fact not in canonical(facts_of(scene.store))


def test_a_fact_ahead_of_us_is_judged_when_we_come_there(scene: Scene) -> None:
    """A peer's node is ahead of ours: its fact stands while ours lags, and falls with a reorg."""
    scene.mine(3)
    scene.poll()
    good, ahead = mined_fact(ref(scene, 3)), replace(mined_fact(ref(scene, 3)), at_ms=6)
    ahead = replace(ahead, block=BlockRef(5, "0x" + "77" * 32, "0x01", -1))
    for fact in (good, ahead):
        record(scene.store, fact)
    scene.mine()
    scene.poll()
    assert ahead in canonical(facts_of(scene.store))
    scene.mine()
    scene.poll()
    assert ahead not in canonical(facts_of(scene.store))
    assert good in canonical(facts_of(scene.store))


def test_a_true_fact_of_long_ago_stands(scene: Scene) -> None:
    """A new tracker gathers the peers' facts before it has read the chain: the true ones stand."""
    scene.mine(200)
    true = mined_fact(ref(scene, 20))
    false = replace(true, at_ms=6, block=replace(true.block, hash="0x" + "66" * 32))  # type: ignore[type-var]
    for fact in (true, false):
        record(scene.store, fact)
    scene.poll()
    scene.poll(scene.fresh_watcher())
    assert [true] == [
        f for f in canonical(facts_of(scene.store)) if isinstance(f, TransactionMined)
    ]

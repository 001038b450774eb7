"""The watcher: whatever the chain takes back, the facts that stand are those of the chain."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.evm.faulty import FaultyRpc
from tests.evm.watcher_scene import FOREIGN, Scene, facts_of, orphans
from workbench.core.errors import ChainRewound, RpcFault
from workbench.core.facts import (
    SettlementFunded,
)
from workbench.evm import watcher as watcher_module
from workbench.evm.rpc import log_ranges
from workbench.store.sql.database import SqlStore


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
        with pytest.raises(ChainRewound) as caught:
            scene.poll()
        assert caught.value.hint
    with pytest.raises(ChainRewound):
        scene.poll(scene.fresh_watcher(start=8))
    assert before == facts_of(scene.store)

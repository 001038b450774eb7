"""Facts of other components about blocks that the watcher judges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.evm.faulty import at_once
from tests.evm.watcher_scene import Scene, facts_of, orphans
from workbench.core.facts import (
    BlockRef,
    Event,
    TransactionMined,
    canonical,
)
from workbench.store.sql.database import SqlStore


def record(store: SqlStore, fact: Event) -> None:
    async def write() -> None:
        async with store.unit() as unit:
            assert await unit.record(fact)

    at_once(write())


def mined_fact(block: BlockRef) -> TransactionMined:
    """Facts of a sender about a block, recorded in any order."""
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

"""The watcher is killed, or the chain reorganised, between any two steps."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.evm.faulty import Killed
from tests.evm.watcher_scene import Scene, orphans
from workbench.core.errors import WorkbenchError
from workbench.evm import watcher as watcher_module
from workbench.store.sql.database import SqlStore


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

"""What a served service asks its node besides its work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.services.common.test_health import Hand
from workbench.core.errors import RpcUnreachable, WrongChain
from workbench.core.ports import NodeState
from workbench.services.common.checks import SERVICES
from workbench.services.common.health import Health
from workbench.services.common.loop import FaultPolicy
from workbench.services.common.vitals import GAS_EACH, LOOK_S, STALLED_S, DueTimer, NodeChecks
from workbench.worlds.wiring import loop_of

ACCOUNT = "0x" + "ab" * 20
RICH = 10**18


class Told:
    """A node with scripted answers."""

    def __init__(self, clock: Hand) -> None:
        self.id = 5
        self.newest = NodeState(7, int(clock.at_s), 10**9, {ACCOUNT: RICH})
        self.asked = 0
        self.is_away = False

    async def chain_id(self) -> int:
        if self.is_away:
            raise RpcUnreachable("nobody there.")
        return self.id

    async def state(self, accounts: Sequence[str]) -> NodeState:
        self.asked += 1
        return self.newest


class Scene:
    def __init__(self) -> None:
        self.clock = Hand()
        self.node = Told(self.clock)
        self.health = Health(self.clock, "seller", SERVICES["seller"])
        self.vitals = NodeChecks(
            self.node,
            self.health,
            self.clock,
            chain_id=5,
            accounts=[ACCOUNT],
            gas=GAS_EACH,
        )

    def look(self) -> dict[str, str]:
        """After the time of a look has come."""
        self.clock.at_s += LOOK_S
        asyncio.run(self.vitals.before_round())
        return self.health.alarms()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_node_that_is_well(scene: Scene) -> None:
    assert {} == scene.look()
    assert (7, {ACCOUNT: RICH}) == (scene.health.newest_block, scene.health.balances)


def test_a_node_that_has_become_another_chain(scene: Scene) -> None:
    """Before each round, and there is none."""
    scene.look()
    scene.node.id = 6
    with pytest.raises(WrongChain, match="the node is on chain 6, the settings say 5"):
        asyncio.run(scene.vitals.before_round())


def test_nothing_is_done_on_another_chain() -> None:
    """The loop is red by the name of that check, and goes on when the chain is the right one."""
    scene = Scene()
    loop = loop_of("seller", scene.clock, FaultPolicy.RETRY)
    loop.before = scene.vitals.before_round
    done = []

    async def tick() -> None:
        done.append(scene.node.id)

    async def play() -> None:
        for scene.node.id in (5, 6, 6, 5):
            running = asyncio.ensure_future(loop.rounds("seller", tick, 0.5))
            for _ in range(3):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            red.append(list(loop.health.alarms()))

    red: list[list[str]] = []
    asyncio.run(play())
    assert 6 not in done
    assert [[], ["chain_id"], ["chain_id"], []] == red


def test_a_chain_without_a_base_fee(scene: Scene) -> None:
    scene.node.newest = replace(scene.node.newest, base_fee=None)
    assert "no base fee (EIP-1559)" in scene.look()["no_eip1559"]


def test_a_chain_that_stands_still(scene: Scene) -> None:
    """Not at once: a block may be late."""
    scene.clock.at_s += STALLED_S - LOOK_S
    assert {} == scene.look()
    scene.look()
    assert "chain_stalled" not in scene.health.alarms()
    scene.look()
    assert "minutes old by our clock" in scene.look()["chain_stalled"]


def test_an_account_that_will_not_last(scene: Scene) -> None:
    """Before it is empty: 20 transactions at twice the base fee and a tip."""
    needed = 20 * GAS_EACH * (2 * 10**9 + 2 * 10**9)
    for held, is_red in ((needed, False), (needed - 1, True)):
        scene.node.newest = replace(scene.node.newest, balances={ACCOUNT: held})
        assert is_red is ("wallet_short" in scene.look())
    assert ACCOUNT in scene.look()["wallet_short"]


def test_little_is_asked(scene: Scene) -> None:
    """The chain's id each time, the rest every 15 seconds."""
    for _ in range(100):
        asyncio.run(scene.vitals.before_round())
        scene.clock.at_s += 0.5
    assert 4 == scene.node.asked


def test_a_timer_whose_clock_is_set_back() -> None:
    timer = DueTimer(15)
    due = [timer.is_due(at) for at in (10**12, 10**12 + 14_999, 10**12 + 15_000, 5, 6, 15_005)]
    assert [True, False, True, True, False, True] == due

"""Blocks without state roots: the same market, the same bytes each time, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.common import ending
from tests.evm.node.test_anvil import answers, eventually
from tests.sim.scenarios import small
from tests.sim.test_experiment import FAULTY, assert_sound, elsewhere, play
from workbench import World, simulated
from workbench.core import facts as ev
from workbench.core.errors import InvalidSetting
from workbench.evm.node.boot import boot
from workbench.evm.node.replay import recorded, replay
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.scenario import ROOTS_WORTH, Scenario, override
from workbench.worlds.experiment import Experiment

OMITTED = {"chain.state_root": "omitted"}
PLAY = """
import sys
from tests.sim.scenarios import small
from tests.sim.test_state_roots import FAULTY_OMITTED
from workbench.worlds.experiment import Experiment
sys.stdout.write(Experiment(small(**FAULTY_OMITTED)).run().trace_hash)
"""
FAULTY_OMITTED = {**FAULTY, **OMITTED}
OF_HASHES = ("block", "tx", "gas_used")
"""Parts of facts that follow the hashes of blocks: the executing act names one, and its zero bytes
are cheaper than others."""


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with simulated(seed=7, state_root=False) as world:
        yield world


@pytest.fixture
def light(made: World) -> Iterator[World]:
    beginning = made.snapshot()
    yield made
    beginning.restore()


def head(world: World) -> dict[str, Any]:
    return dict(world.rpc.now("eth_getBlockByNumber", "latest", False))


# --- The same, and the same as with them ----------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_wherever_it_runs(tmp_path: Path) -> None:
    run = play(small(**FAULTY_OMITTED))
    assert_sound(run)
    other = elsewhere(tmp_path, PLAY, PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    assert run.trace_hash == other


def test_only_hashes_differ_from_a_world_with_them() -> None:
    """Fact by fact; and 12 units of gas for each byte of a hash that is zero, or is not."""
    lines = []
    for state_root in ("computed", "omitted"):
        run = play(small(chain__state_root=state_root))
        assert_sound(run)
        lines.append([without_hashes(fact) for fact in run.events])
    assert lines[0] == lines[1]


def without_hashes(fact: ev.Event) -> dict[str, Any]:
    told = {name: getattr(fact, name) for name in type(fact).__dataclass_fields__}
    return {name: value for name, value in told.items() if name not in OF_HASHES}


def test_blocks_have_no_state_root_and_the_deployment_all_its_facts(light: World) -> None:
    assert int(head(light)["stateRoot"], 16) == 0
    with boot()[0] as node:
        rooted = recorded(BlockingRpc(node.url), 1)
    assert recorded(light.rpc, 1)[: len(rooted)] == rooted


# --- There and back -------------------------------------------------------------------------------


def test_a_branch_leaves_no_trace(light: World) -> None:
    """What the branch was the first to write is gone: the same settlement can be made again."""
    light.buy("3")
    with light.branch():
        inside = light.buy("5")
        light.skip(3_600)
        light.buy("7")
    outside = light.buy("5")
    assert inside.events == outside.events
    assert inside.balances_seen == outside.balances_seen


def test_a_world_that_never_branched_has_the_same_blocks() -> None:
    hashes = []
    for branches in (0, 2):
        with simulated(seed=3, state_root=False) as world:
            world.advance(3)
            for _ in range(branches):
                with world.branch():
                    world.buy("5")
            world.advance(3)
            hashes.append(head(world)["hash"])
    assert hashes[0] == hashes[1]


def test_no_block_is_taken_back(light: World) -> None:
    light.advance(3)
    with pytest.raises(InvalidSetting, match="cannot be taken back"):
        light.do(light.miner.reorg(2))


# --- A replay finds what a block hash does not say ------------------------------------------------


def test_a_replay_ends_in_the_same_state(light: World) -> None:
    before = int(head(light)["number"], 16)
    light.buy("5")
    ended, blocks = ending(light.rpc), recorded(light.rpc, before + 1)
    with boot(state_root=False)[0] as node:
        rpc = BlockingRpc(node.url)
        replay(rpc, recorded(light.rpc, node_head(rpc) + 1)[: -len(blocks)])
        replay(rpc, blocks)
        assert ending(rpc) == ended
        rpc.now("anvil_setBalance", light.accounts["buyer"], "0x1")
        other = ending(rpc)
    assert other.block_hash == ended.block_hash
    assert other.state != ended.state


def node_head(rpc: BlockingRpc) -> int:
    return int(rpc.now("eth_blockNumber"), 16)


# --- When it is so --------------------------------------------------------------------------------


def long(**settings: Any) -> Scenario:
    """An hour of blocks, each two seconds, and as many buyers as are too many for state roots."""
    return small(duration="1 h", buyers__0__count=str(ROOTS_WORTH // 1_800 + 1), **settings)


def test_long_scenarios_go_without() -> None:
    assert small().has_state_roots
    assert not long().has_state_roots
    assert long(chain__state_root="computed").has_state_roots
    assert not small(**OMITTED).has_state_roots


def test_scenarios_with_reorgs_have_them() -> None:
    assert override(long(), {"faults.chain.reorg": "1 %"}).has_state_roots


# --- Nothing is left behind -----------------------------------------------------------------------


def nodes_of(world: World) -> list[psutil.Process]:
    assert world.node.ground is not None
    leashes = [psutil.Process(node.pid) for node in (world.node, world.node.ground)]
    return [process for leash in leashes for process in (leash, *leash.children())]


def test_the_node_beneath_ends_with_the_world() -> None:
    with simulated(state_root=False) as world:
        processes = nodes_of(world)
        assert len(processes) == 4
    assert not any(process.is_running() for process in processes)


def test_a_lost_node_beneath_is_a_lost_node() -> None:
    with boot(state_root=False)[0] as node:
        assert node.alive
        assert node.ground is not None
        (beneath,) = psutil.Process(node.ground.pid).children()
        beneath.kill()
        assert eventually(lambda: not node.alive)


def test_a_boot_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    before = set(psutil.Process().children(recursive=True))
    monkeypatch.setattr("workbench.evm.node.boot.replay", fail)
    with pytest.raises(KeyboardInterrupt):
        boot(state_root=False)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize("end", ["", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_both_end_with_a_program_that_crashes(end: str) -> None:
    program = (
        "import os\nfrom workbench.evm.node.anvil import Anvil\n"
        "over = Anvil(ground=Anvil())\nprint(over.port, over.ground.port, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program + end], capture_output=True, text=True, timeout=60
    )
    ports = [int(word) for word in done.stdout.split()]
    assert len(ports) == 2
    assert eventually(lambda: not any(answers(port) for port in ports))


def test_ctrl_c_keeps_what_was_run_and_leaves_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes: list[psutil.Process] = []

    def stop(experiment: Experiment) -> None:
        nodes.extend(nodes_of(experiment.world))
        raise KeyboardInterrupt

    monkeypatch.setattr(Experiment, "_play", stop)
    run = Experiment(small(**OMITTED)).run()
    assert not run.finished
    assert len(nodes) == 4
    assert not any(process.is_running() for process in nodes)

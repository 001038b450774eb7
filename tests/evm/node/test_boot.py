"""A booted world is the same world every time, whatever happened to its file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from workbench.core.errors import DeployFailed
from workbench.core.ports import ReportProgress
from workbench.evm.deploy.addresses import keccak
from workbench.evm.deploy.plan import Deployment, DeploymentPlan
from workbench.evm.node import boot as boot_module
from workbench.evm.node.anvil import GENESIS_TIME, Anvil
from workbench.evm.node.boot import boot, world_key


def latest(node: Anvil) -> dict[str, str]:
    return dict(node.call("eth_getBlockByNumber", "latest", False))


def timestamp(node: Anvil) -> int:
    return int(latest(node)["timestamp"], 16)


@pytest.fixture(scope="module", autouse=True)
def world_is_there() -> None:
    boot()[0].stop()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(boot_module, "cache_dir", lambda *parts: tmp_path)
    return tmp_path


def test_a_later_boot_is_quick_and_the_same() -> None:
    started = time.monotonic()
    node, where = boot()
    seconds = time.monotonic() - started
    with node:
        first = latest(node)["hash"]
    again, where_again = boot()
    with again:
        assert latest(again)["hash"] == first
    assert where == where_again
    # 0.06 s alone; the margin is for a machine that runs other tests beside this one.
    assert seconds < 1.5


def test_a_first_boot_elsewhere_makes_the_world_of_here(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    with boot(progress=steps.append)[0] as built:
        there = latest(built)["hash"]
    assert len(steps) > 10
    with boot(progress=pytest.fail)[0] as loaded:
        assert latest(loaded)["hash"] == there
    monkeypatch.undo()
    with boot()[0] as here:
        assert latest(here)["hash"] == there


def test_time_goes_by_blocks_not_by_the_wall() -> None:
    with boot()[0] as node:
        number = int(latest(node)["number"], 16)
        assert timestamp(node) == GENESIS_TIME + number
        time.sleep(1.1)
        node.mine(2)
        assert timestamp(node) == GENESIS_TIME + number + 2
        node.call("evm_mine", {"timestamp": GENESIS_TIME + 500})
        node.mine()
        assert timestamp(node) == GENESIS_TIME + 501


def test_a_served_world_has_the_time_of_day_and_a_fresh_rate() -> None:
    node, where = boot(block_time=0.2)
    with node:
        assert abs(timestamp(node) - time.time()) < 10
        call = {"to": where["FacilitatorHook"], "data": "0x" + keccak(b"rate()")[:4].hex()}
        answer = bytes.fromhex(node.call("eth_call", call, "latest")[2:])
        words = [int.from_bytes(answer[at : at + 32], "big") for at in range(0, 160, 32)]
        plan = DeploymentPlan()
        assert words[0] == plan.rate_e8
        assert abs(words[1] - time.time()) < 10
        assert words[2:] == [plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips]
        height = int(latest(node)["number"], 16)
        time.sleep(0.7)
        assert int(latest(node)["number"], 16) > height


def test_blocks_and_receipts_of_the_deployment_are_still_there() -> None:
    node, where = boot()
    with node:
        for height in range(int(latest(node)["number"], 16) + 1):
            assert node.call("eth_getBlockByNumber", hex(height), True)
        logs = node.call("eth_getLogs", {"address": where["SettlementVault"], "fromBlock": "0x0"})
        assert min(int(log["blockNumber"], 16) for log in logs) == where.deploy_block
        receipt = node.call("eth_getTransactionReceipt", logs[0]["transactionHash"])
        assert receipt["status"] == "0x1"


@pytest.mark.parametrize("part", [".json", ".facts.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_file_is_made_again(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, part: str, damage: str
) -> None:
    plan = DeploymentPlan()
    whole = _copy_world(own_cache, plan)
    victim = own_cache / f"{world_key(31337, plan)}{part}"
    content = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        at = len(content) // 2
        swapped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        victim.write_bytes(content[:at] if damage == "cut" else swapped)
    built: list[int] = []

    def build(
        world: boot_module.WorldFiles,
        chain_id: int,
        plan: DeploymentPlan,
        progress: ReportProgress,
    ) -> boot_module.CachedWorld:
        built.append(chain_id)
        world.write(*whole)
        return whole[1]

    monkeypatch.setattr(boot_module, "_build", build)
    with boot()[0] as node:
        assert int(latest(node)["number"], 16) > 10
    assert built == [31337]


def _copy_world(folder: Path, plan: DeploymentPlan) -> tuple[str, boot_module.CachedWorld]:
    from workbench.evm.build.toolchain import cache_dir

    key = world_key(31337, plan)
    for name in (f"{key}.json", f"{key}.facts.json"):
        (folder / name).write_bytes((cache_dir("worlds") / name).read_bytes())
    world = boot_module.WorldFiles(folder / f"{key}.json", folder / f"{key}.facts.json")
    kept = world.read()
    assert kept is not None
    return world.state.read_text(encoding="utf-8"), kept


def test_a_file_that_anvil_refuses_is_made_again_once(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, kept = _copy_world(own_cache, DeploymentPlan())
    key = world_key(31337, DeploymentPlan())
    world = boot_module.WorldFiles(own_cache / f"{key}.json", own_cache / f"{key}.facts.json")
    world.write('{"block": "nonsense"}', kept)

    def build(world: boot_module.WorldFiles, *rest: object) -> boot_module.CachedWorld:
        world.write(state, kept)
        return kept

    monkeypatch.setattr(boot_module, "_build", build)
    with boot()[0] as node:
        assert node.alive


def test_a_failed_deployment_keeps_nothing(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> Deployment:
        raise DeployFailed("planted")

    monkeypatch.setattr("workbench.evm.node.boot.deploy", fail)
    with pytest.raises(DeployFailed, match="planted"):
        boot()
    assert not list(own_cache.glob("*.json"))


def test_every_ingredient_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = DeploymentPlan()
    keys = {
        world_key(31337, plan),
        world_key(80002, plan),
        world_key(31337, DeploymentPlan(finality_blocks=3)),
        world_key(31337, DeploymentPlan(seller_yps=1)),
    }
    monkeypatch.setenv("WORKBENCH_ANVIL", "another")
    keys.add(world_key(31337, plan))
    assert len(keys) == 5


def test_old_worlds_are_forgotten(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_module, "WORLDS_KEPT", 2)
    for number in range(4):
        for end in (".json", ".facts.json", ".lock"):
            (own_cache / f"old{number}{end}").write_text("{}", encoding="utf-8")
    kept = boot_module.WorldFiles(own_cache / "old3.json", own_cache / "old3.facts.json")
    boot_module._forget_old(kept)
    assert len(list(own_cache.glob("*.facts.json"))) == 2
    assert len(list(own_cache.iterdir())) == 6

"""`workbench deploy` on a node that is not ours: a plain anvil that calls itself Amoy, fresh keys.

One deployment for most of these tests: beside another's that was left half done, killed twice, the
second time with a transaction on its way, and finished by a third run.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.test_cli import WORKBENCH, until
from tests.commands.amoy import (
    AMOY,
    CLEAN,
    ETHER,
    OF_THE_DEPLOYER,
    OF_THE_SELLER,
    Amoy,
    account,
    last_json,
    mining,
    new_keys,
    plan_of,
    refusal,
)
from workbench.cli import main
from workbench.config.world_file import WORLD_FILE
from workbench.core.errors import DeployFailed, SignerShort
from workbench.evm.build.toolchain import cache_dir
from workbench.evm.codec import abi
from workbench.evm.contracts.settlement import checksum
from workbench.evm.deploy.addresses import CREATE2_DEPLOYER
from workbench.evm.deploy.blueprint import blueprint
from workbench.evm.deploy.deployment import carry_out
from workbench.evm.deploy.inspection import DeploymentState
from workbench.evm.deploy.plan import BATCHER, CONTRACTS, Deployment
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.transactions.test_keys import TEST_KEYS, key_of
from workbench.settings import BY_NAME, Settings


@pytest.fixture
def deploy(
    amoy: Amoy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    """`workbench deploy --json` in this process and an empty folder; nothing may be sent."""
    monkeypatch.chdir(tmp_path)
    for name in BY_NAME:
        monkeypatch.delenv(name, raising=False)
    before, handler = amoy.head(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        "workbench.evm.deploy.deployment.run_deployment_process",
        lambda *_: pytest.fail("it went on"),
    )

    def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
        given = amoy.env if env is None else env
        return CliRunner().invoke(main, ["deploy", "--json", *arguments], env=given)

    yield invoke
    signal.signal(signal.SIGTERM, handler)
    assert amoy.head() == before


def test_the_local_network_is_the_world_of_up(
    booted: tuple[Anvil, Deployment], deploy: Callable[..., Result]
) -> None:
    """With its node and its keys, whatever `.env` says of another chain."""
    told = refusal(deploy("--network", "local"), "unknown_world")
    assert "workbench up" in told
    node, where = booted
    world = {"rpc_url": node.url, "chain_id": 31337, "addresses": where.addresses}
    world["keys"] = {key.role: key.secret for key in TEST_KEYS}
    WORLD_FILE.parent.mkdir()
    WORLD_FILE.write_text(json.dumps(world), encoding="utf-8")
    result = deploy("--network", "local")
    found = last_json(result)
    assert (result.exit_code, found["transactions"]) == (0, 0)
    assert (found["addresses"], found["deploy_block"]) == (where.addresses, where.deploy_block)


def test_an_admin_who_gave_its_rights_away_can_add_nothing(
    amoy: Amoy, runs: list[dict[str, Any]]
) -> None:
    """Named before it starts."""
    site = DeploymentState(BlockingRpc(amoy.node.url), plan_of(amoy.keys))
    snapshot = amoy.node.call("evm_snapshot")
    vault, admin = site.addresses["SettlementVault"], account(amoy.keys["DEPLOYER_PRIVATE_KEY"])
    amoy.node.call("anvil_impersonateAccount", admin)
    renounce = abi.encode_call("SettlementVault", "renounceRole", bytes(32), admin)
    call = {"from": admin, "to": vault, "data": abi.to_hex(renounce)}
    amoy.node.call("eth_sendTransaction", call)
    amoy.node.call("anvil_stopImpersonatingAccount", admin)
    # Where nothing is missing it does not matter; else nothing can be added any more.
    modest = replace(site.plan, buyer_eurc=1, seller_yps=1)
    assert carry_out(amoy.node.url, AMOY, modest).transactions == 0
    other = replace(site.plan, facilitator=account(new_keys()["PRIVATE_KEY"]))
    with pytest.raises(DeployFailed, match="does not fit.*no longer the admin of Settlement"):
        carry_out(amoy.node.url, AMOY, other)
    amoy.node.call("evm_revert", snapshot)


@pytest.fixture(scope="module")
def amoy(tmp_path_factory: pytest.TempPathFactory, another: dict[str, str]) -> Iterator[Amoy]:
    """After everything that the module's docstring tells."""
    with Anvil(chain_id=AMOY, automine=True, genesis_time=None) as node:
        amoy = Amoy(node, new_keys(), tmp_path_factory.mktemp("amoy"))
        for key in (*amoy.keys.values(), *another.values()):
            node.call("anvil_setBalance", account(key), hex(ETHER))
        half = blueprint(plan_of(another))
        for name in ("PoolManager", "MockUSDC", "MockEURC", "YieldPoolShare", "SettlementVault"):
            call = {"from": TEST_KEYS[9].address, "to": CREATE2_DEPLOYER}
            call["data"] = abi.to_hex(half.salt(name) + half.code[name])
            sent = node.call("eth_sendTransaction", call)
            until(partial(node.call, "eth_getTransactionReceipt", sent))
        yield amoy


@pytest.fixture(scope="module")
def runs(amoy: Amoy) -> list[dict[str, Any]]:
    """What three runs said: killed after three contracts, killed with one on its way, done."""
    told = []
    process = amoy.start()
    amoy.until_said(process, "MockEURC: created")
    told.append(amoy.kill_ape(process))
    process = amoy.start()
    amoy.until_said(process, "vault: sells YieldPoolShare")
    amoy.node.call("evm_setAutomine", False)
    until(lambda: int(amoy.node.call("txpool_status")["pending"], 16))
    told.append(amoy.kill_ape(process))
    (amoy.folder / ".env.amoy").write_text(
        "# mine\nSELLER_PORT=9000\nCHAIN_ID=1\n", encoding="utf-8"
    )
    process = amoy.start("--env-out", ".env.amoy")
    amoy.until_said(process, "waiting for 1 earlier transaction")
    amoy.node.call("evm_setAutomine", True)
    amoy.node.mine()
    told.append(amoy.end(process))
    return told


def test_a_killed_deployment_is_taken_up_where_it_was(
    amoy: Amoy, runs: list[dict[str, Any]]
) -> None:
    """Nothing is sent twice, not even what was on its way."""
    first, second, third = runs
    for killed in (first, second):
        assert (killed["status"], killed["error"]) == ("failed", "deploy_failed")
        assert "Run it again" in killed["hint"]
    assert (third["status"], third["chain_id"]) == ("deployed", AMOY)
    # The killed ones came as far as the last contract, which comes after all the steps.
    assert (third["created"], third["found"]) == ([BATCHER], list(CONTRACTS[:-1]))
    assert (amoy.count("deployer"), amoy.count("seller")) == (OF_THE_DEPLOYER, OF_THE_SELLER)
    assert 5 < third["transactions"] < OF_THE_DEPLOYER


def test_it_stands_where_the_plan_says(amoy: Amoy, runs: list[dict[str, Any]]) -> None:
    """Addresses follow from deployer and plan; the vault's first log is in the deploy block."""
    site = DeploymentState(BlockingRpc(amoy.node.url), plan_of(amoy.keys))
    assert runs[-1]["addresses"] == site.addresses
    assert runs[-1]["pool_id"] == site.deployment(0).pool_id
    site.verify()
    logs = {"address": site.addresses["SettlementVault"], "fromBlock": "0x0"}
    blocks = [int(log["blockNumber"], 16) for log in amoy.node.call("eth_getLogs", logs)]
    assert runs[-1]["deploy_block"] == min(blocks)


def test_a_second_run_finds_everything_and_sends_nothing(
    amoy: Amoy, runs: list[dict[str, Any]]
) -> None:
    """Nor does it need gas for that."""
    head = amoy.head()
    told = amoy.end(amoy.start())
    assert told == runs[-1] | {"transactions": 0, "created": [], "found": list(CONTRACTS)}
    assert (told["found"], amoy.head()) == (list(CONTRACTS), head)


def test_the_settings_are_written_and_nothing_else_is_touched(
    amoy: Amoy, runs: list[dict[str, Any]]
) -> None:
    """The person's own lines stay; the values are those that the settings read."""
    written = (amoy.folder / ".env.amoy").read_text(encoding="utf-8").splitlines()
    assert written[:3] == ["# mine", "SELLER_PORT=9000", f"CHAIN_ID={AMOY}"]
    found = Settings.load(amoy.deployed(), amoy.folder, world={})
    assert found.addresses.vault == runs[-1]["addresses"]["SettlementVault"].lower()
    assert found["DEPLOY_BLOCK"] == runs[-1]["deploy_block"]
    assert {line.split("=")[0] for line in written[3:]} < set(BY_NAME)


def test_no_key_is_shown_or_kept(amoy: Amoy, runs: list[dict[str, Any]]) -> None:
    """Not in what runs say, in arguments of processes, in the file, or in Ape's folder."""
    texts = [*amoy.said, (amoy.folder / ".env.amoy").read_text(encoding="utf-8"), json.dumps(runs)]
    assert any("workbench.evm.deploy --job" in text for text in texts)
    kept = [path for path in cache_dir("ape").rglob("*") if path.is_file()]
    texts += [path.read_bytes().decode("latin-1") for path in kept]
    for key in amoy.keys.values():
        assert not [text for text in texts if key[2:].lower() in text.lower()]
    assert not [text for text in texts[: len(amoy.said)] if "Traceback" in text]


def test_the_estimate_of_gas_is_what_it_takes(amoy: Amoy, runs: list[dict[str, Any]]) -> None:
    """Never less; and not a fifth more."""
    payer = account(amoy.keys["DEPLOYER_PRIVATE_KEY"])
    used = 0
    for height in range(int(amoy.node.call("eth_blockNumber"), 16) + 1):
        block = amoy.node.call("eth_getBlockByNumber", hex(height), True)
        for sent in (tx for tx in block["transactions"] if checksum(tx["from"]) == payer):
            receipt = amoy.node.call("eth_getTransactionReceipt", sent["hash"])
            used += int(receipt["gasUsed"], 16)
    steps = DeploymentState(BlockingRpc(amoy.node.url), plan_of(amoy.keys)).steps()
    told = sum(step.gas for step in steps if step.payer == "deployer")
    assert used <= told < 1.2 * used


def test_the_half_done_deployment_of_another_is_neither_used_nor_touched(
    amoy: Amoy, another: dict[str, str], runs: list[dict[str, Any]]
) -> None:
    """It has other addresses; who has its key can finish it."""
    theirs = DeploymentState(BlockingRpc(amoy.node.url), plan_of(another))
    # PayoutBatcher is nobody's: there is one on a chain.
    ours = {at for name, at in runs[-1]["addresses"].items() if name != BATCHER}
    assert not set(theirs.addresses.values()) & ours
    missing = [step.name for step in theirs.missing()]
    assert missing[:3] == ["FacilitatorHook", "LiquiditySeeder", "PoolBalancer"]
    assert "SettlementVault" not in missing
    assert theirs.problems(theirs.missing()) == []


def test_a_settlement_on_it_by_the_commands(amoy: Amoy, runs: list[dict[str, Any]]) -> None:
    """`doctor` finds nothing wrong; `facilitator`, `seller` and `buy`, each alone, settle."""
    env = CLEAN | amoy.deployed() | {"FINALITY_CONFIRMATIONS": "2", "POLL_INTERVAL_MS": "100"}
    env |= {"SELLER_PORT": "0", "FACILITATOR_PORT": "0", "DATA_DIR": str(amoy.folder / "data")}
    services: list[subprocess.Popen[str]] = []

    def serve(name: str) -> str:
        command = [WORKBENCH, name]
        out, err = subprocess.PIPE, (amoy.folder / f"{name}.txt").open("w", encoding="utf-8")
        services.append(
            subprocess.Popen(command, cwd=amoy.folder, env=env, stdout=out, stderr=err, text=True)
        )
        assert services[-1].stdout is not None
        return services[-1].stdout.readline().split()[1].rstrip(",")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [WORKBENCH, *arguments, "--json"]
        return subprocess.run(
            command, cwd=amoy.folder, env=env, capture_output=True, text=True, timeout=90
        )

    try:
        env["FACILITATOR_URL"] = serve("facilitator")
        env["SELLER_URL"] = serve("seller")
        examined = run("doctor")
        assert examined.returncode == 0, examined.stdout
        with mining(amoy.node.url):
            bought = run("buy", "100yps")
        told = json.loads(bought.stdout.splitlines()[-1])
        assert (bought.returncode, told["status"]) == (0, "executed"), bought.stderr
    finally:
        for service in services:
            service.send_signal(signal.SIGINT)
        assert [service.wait(20) for service in services] == [0, 0]


def test_the_wrong_chain_is_refused_with_both_named(deploy: Callable[..., Result]) -> None:
    told = refusal(deploy("--network", "sepolia"), "wrong_chain")
    assert "POLYGON_AMOY_RPC_URL" in told
    assert "chain 80002; --network sepolia is chain 11155111" in told
    told = refusal(deploy("--chain-id", "5"), "wrong_chain")
    assert "chain 80002; wanted is chain 5" in told
    told = refusal(deploy("--network", "amoy", "--chain-id", "5"), "invalid_setting")
    assert "80002" in told


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://user:secretword@127.0.0.1:9/key"])
def test_a_node_that_does_not_answer_is_named(deploy: Callable[..., Result], url: str) -> None:
    told = refusal(deploy("--network", "amoy", "--rpc", url), "rpc_unreachable")
    assert "--rpc: no chain at http://127.0.0.1:9" in told
    assert "secretword" not in told
    told = refusal(deploy("--rpc", "127.0.0.1:8545/secretword"), "invalid_setting")
    assert "--rpc is not an http(s) URL" in told
    assert "secretword" not in told


def test_public_test_keys_are_refused(amoy: Amoy, deploy: Callable[..., Result]) -> None:
    """As keys, and as accounts that a plan gives rights to."""
    public = amoy.env | {"DEPLOYER_PRIVATE_KEY": key_of("deployer").secret}
    told = refusal(deploy("--network", "amoy", env=public), "test_key_refused")
    assert "DEPLOYER_PRIVATE_KEY" in told
    Path("plan.json").write_text(
        json.dumps({"facilitator": key_of("spare1").address.lower()}), encoding="utf-8"
    )
    keys = {name: key for name, key in amoy.env.items() if name != "PRIVATE_KEY"}
    told = refusal(deploy("--plan", "plan.json", env=keys), "test_key_refused")
    assert f"the plan's facilitator {key_of('spare1').address}" in told


@pytest.mark.parametrize("name", ["DEPLOYER_PRIVATE_KEY", "SELLER_PRIVATE_KEY", "PRIVATE_KEY"])
def test_a_key_that_is_missing_is_named(
    amoy: Amoy, deploy: Callable[..., Result], name: str
) -> None:
    keys = {key: value for key, value in amoy.env.items() if key != name}
    assert f"{name} is not set" in refusal(deploy(env=keys), "invalid_setting")


def test_gas_that_will_not_do_is_named_before_it_starts(
    amoy: Amoy, deploy: Callable[..., Result], runs: list[dict[str, Any]]
) -> None:
    """Who holds how much, what it takes, what to send; of the deployer, and of the seller."""
    poor = amoy.env | {"DEPLOYER_PRIVATE_KEY": "0x" + secrets.token_hex(32)}
    told = refusal(deploy(env=poor), "signer_out_of_gas")
    address = account(poor["DEPLOYER_PRIVATE_KEY"])
    assert f"The deployer {address} holds 0 of the native currency" in told
    assert "gwei, times 1.5: 0.0" in told
    assert "Send it 0.0" in told
    poor = amoy.env | {"SELLER_PRIVATE_KEY": "0x" + secrets.token_hex(32)}
    told = refusal(deploy(env=poor), "signer_out_of_gas")
    assert f"The seller {account(poor['SELLER_PRIVATE_KEY'])} holds 0" in told


def test_a_pool_at_another_price_is_not_built_upon(
    amoy: Amoy, deploy: Callable[..., Result], runs: list[dict[str, Any]]
) -> None:
    """A plan with another rate would leave hook and pool apart, and every swap refused."""
    Path("plan.json").write_text('{"rate_e8": 120000000}', encoding="utf-8")
    told = refusal(deploy("--plan", "plan.json"), "deploy_failed")
    assert "the pool's price is 1.1000 USDC per EURC" in told
    assert "band of 100 bps around 1.2000" in told


PLANS = {
    "not there": (None, "cannot be read: No such file"),
    "no JSON": ("{", "cannot be read: not JSON"),
    "deep": ("[" * 100_000, "cannot be read"),
    "an array": ("[]", "is not a plan"),
    "unknown": ('{"pool": 1}', "nothing is called 'pool'"),
    "a text": ('{"pool_usdc": "1"}', "pool_usdc is out of bounds"),
    "true": ('{"buyer_usdc": true}', "buyer_usdc is out of bounds"),
    "a float": ('{"rate_e8": 110000000.0}', "rate_e8 is out of bounds"),
    "too wide": ('{"band_bps": 5001}', "band_bps is out of bounds"),
    "negative": ('{"seller_yps": -1}', "seller_yps is out of bounds"),
    "no address": ('{"seller": "0x12"}', "seller is not an address"),
    "null": ('{"pool_manager": null}', "pool_manager is not an address"),
    "another's": (json.dumps({"deployer": "0x" + "ab" * 20}), "DEPLOYER_PRIVATE_KEY is the key of"),
    "no manager": (json.dumps({"pool_manager": "0x" + "ab" * 20}), "no Uniswap v4 PoolManager at"),
}


@pytest.mark.parametrize(("text", "says"), PLANS.values(), ids=PLANS)
def test_a_wrong_plan_is_named(deploy: Callable[..., Result], text: str | None, says: str) -> None:
    if text is not None:
        Path("plan.json").write_text(text, encoding="utf-8")
    code = "deploy_failed" if "PoolManager at" in says else "invalid_setting"
    assert says in refusal(deploy("--plan", "plan.json"), code)


@pytest.mark.parametrize("place", ["nowhere/.env", ".", "binary"])
def test_a_file_that_cannot_be_written_is_named_first(
    deploy: Callable[..., Result], place: str
) -> None:
    Path("binary").write_bytes(b"\xff\xfe=\x00")
    told = refusal(deploy("--env-out", place), "invalid_setting")
    assert f"--env-out {place} cannot be" in told


def test_without_a_create2_deployer_it_says_so(amoy: Amoy, deploy: Callable[..., Result]) -> None:
    code = amoy.node.call("eth_getCode", CREATE2_DEPLOYER, "latest")
    amoy.node.call("anvil_setCode", CREATE2_DEPLOYER, "0x")
    try:
        assert "no CREATE2 deployer at 0x4e59" in refusal(deploy(), "deploy_failed")
    finally:
        amoy.node.call("anvil_setCode", CREATE2_DEPLOYER, code)


def test_gas_that_runs_out_on_the_way_is_named(amoy: Amoy) -> None:
    """Prices rise while a deployment runs: Ape's words become an error of ours, with a remedy."""
    keys = new_keys()
    plan = plan_of(keys)
    snapshot = amoy.node.call("evm_snapshot")
    amoy.node.call("anvil_setBalance", plan.deployer, hex(10**12))
    signing = {plan.deployer: keys["DEPLOYER_PRIVATE_KEY"]}
    with pytest.raises(SignerShort, match="ran out of gas") as caught:
        carry_out(amoy.node.url, AMOY, plan, keys=signing)
    assert "Run it again" in caught.value.hint
    amoy.node.call("evm_revert", snapshot)

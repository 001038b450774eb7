"""The deployment through Ape, on a node with another chain id, interrupted and taken up again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import decode, encode

from workbench.core.errors import DeployFailed, RpcUnreachable
from workbench.evm.build.artifacts import load
from workbench.evm.deploy import addresses, pool
from workbench.evm.deploy.addresses import keccak
from workbench.evm.deploy.deployment import deploy
from workbench.evm.deploy.plan import CONTRACTS, Deployment, DeploymentPlan
from workbench.evm.node.anvil import Anvil
from workbench.evm.transactions.test_keys import key_of

CHAIN = 80002
PLAN = DeploymentPlan()


@dataclass(frozen=True)
class Site:
    node: Anvil
    where: Deployment
    steps: list[str]

    def ask(
        self,
        contract: str,
        signature: str,
        types: list[str],
        *arguments: object,
        returns: list[str],
    ) -> Any:
        """A view function's answer, decoded by eth_abi."""
        data = keccak(signature.encode())[:4] + encode(types, arguments)
        call = {"to": self.where[contract], "data": "0x" + data.hex()}
        values = decode(returns, bytes.fromhex(self.node.call("eth_call", call, "latest")[2:]))
        return values[0] if len(values) == 1 else values

    def balance(self, token: str, holder: str) -> int:
        return int(self.ask(token, "balanceOf(address)", ["address"], holder, returns=["uint256"]))

    def pool_word(self, offset: int) -> int:
        # v4-core StateLibrary: pools are the mapping in slot 6.
        pools = keccak(bytes.fromhex(self.where.pool_id[2:]) + (6).to_bytes(32, "big"))
        slot = (int.from_bytes(pools, "big") + offset).to_bytes(32, "big")
        word = self.ask("PoolManager", "extsload(bytes32)", ["bytes32"], slot, returns=["uint256"])
        return int(word)


def kill_after(url: str, steps: int) -> int:
    """Start a deployment, kill it without mercy after some steps; how many it told of."""
    command = [sys.executable, "-m", "workbench.evm.deploy", "--rpc", url, "--json"]
    process = subprocess.Popen(
        [*command, "--chain-id", str(CHAIN)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr
    with process.stderr:
        seen = 0
        while seen < steps and process.stderr.readline():
            seen += 1
        process.kill()
    process.wait()
    return seen


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A deployment that was killed on the way, and then finished."""
    with Anvil(chain_id=CHAIN, automine=True) as node:
        node.call("anvil_setBlockTimestampInterval", 1)
        assert kill_after(node.url, 6) == 6
        steps: list[str] = []
        yield Site(node, deploy(node.url, CHAIN, PLAN, steps.append), steps)


def test_an_interrupted_deployment_is_taken_up(site: Site) -> None:
    assert sum("already at" in step for step in site.steps) >= 5
    assert any(step.endswith("YPS in stock") for step in site.steps)


def test_all_contracts_have_code(site: Site) -> None:
    assert set(site.where.addresses) == set(CONTRACTS)
    for name, address in site.where.addresses.items():
        assert len(site.node.call("eth_getCode", address, "latest")) > 1000, name


def test_addresses_follow_from_code_and_plan_alone(site: Site) -> None:
    code = load("PoolManager").bytecode + encode(["address"], [PLAN.deployer])
    assert site.where["PoolManager"] == addresses.create2_address(code)
    with_key = [site.where[name] for name in ("PoolManager", "SettlementVault")]
    tokens = [site.where["MockUSDC"], site.where["MockEURC"]]
    code = load("FacilitatorHook").bytecode
    code += encode(["address"] * 5, [*with_key, *tokens, PLAN.deployer])
    salt = bytes.fromhex(site.where.hook_salt[2:])
    assert site.where["FacilitatorHook"] == addresses.create2_address(code, salt)
    assert addresses.mine_hook_salt(code) == salt


def test_the_hooks_address_carries_its_flags(site: Site) -> None:
    assert int(site.where["FacilitatorHook"], 16) & addresses.HOOK_MASK == addresses.HOOK_FLAGS


def test_vault_and_puller_belong_together(site: Site) -> None:
    puller = site.ask("SettlementVault", "puller()", [], returns=["address"])
    assert puller == site.where["PermitPuller"].lower()
    vault = site.ask("PermitPuller", "vault()", [], returns=["address"])
    assert vault == site.where["SettlementVault"].lower()
    hook = site.ask("SettlementVault", "hook()", [], returns=["address"])
    assert hook == site.where["FacilitatorHook"].lower()


def test_the_vault_has_the_plans_gates(site: Site) -> None:
    assert site.ask("SettlementVault", "finalityBlocks()", [], returns=["uint256"]) == 2
    assert site.ask("SettlementVault", "graceBlocks()", [], returns=["uint256"]) == 20
    yps = site.where["YieldPoolShare"]
    allowed = site.ask(
        "SettlementVault", "assetAllowed(address)", ["address"], yps, returns=["bool"]
    )
    assert allowed


@pytest.mark.parametrize(
    ("contract", "role", "holder", "expected"),
    [
        ("SettlementVault", "FACILITATOR_ROLE", "facilitator", True),
        ("SettlementVault", "FACILITATOR_ROLE", "seller", False),
        ("SettlementVault", "FACILITATOR_ROLE", "deployer", False),
        ("FacilitatorHook", "RATE_ROLE", "keeper", True),
        ("FacilitatorHook", "RATE_ROLE", "facilitator", False),
        ("FacilitatorHook", "BALANCER_ROLE", "balancer", False),
    ],
)
def test_roles_go_to_their_holders_only(
    site: Site, contract: str, role: str, holder: str, expected: bool
) -> None:
    arguments = (keccak(role.encode()), key_of(holder).address)
    answer = site.ask(
        contract, "hasRole(bytes32,address)", ["bytes32", "address"], *arguments, returns=["bool"]
    )
    assert answer is expected


def test_the_balancer_acts_through_its_contract(site: Site) -> None:
    """The hook sees who calls the pool manager, and that is PoolBalancer."""
    at, role = site.where["PoolBalancer"], keccak(b"BALANCER_ROLE")
    kinds = ["bytes32", "address"]
    has = site.ask("FacilitatorHook", "hasRole(bytes32,address)", kinds, role, at, returns=["bool"])
    assert has is True
    owner = site.ask("PoolBalancer", "owner()", [], returns=["address"])
    assert owner == key_of("balancer").address.lower()


def test_the_rate_is_set(site: Site) -> None:
    rate = site.ask(
        "FacilitatorHook",
        "rate()",
        [],
        returns=["uint64", "uint40", "uint16", "uint32", "uint24"],
    )
    assert rate[0] == 110_000_000
    assert rate[2:] == (100, 86_400, 500)


def test_the_pool_stands_at_the_rate(site: Site) -> None:
    price = site.pool_word(0) & ((1 << 160) - 1)
    eurc_first = site.where.pool_key[0] == site.where["MockEURC"]
    assert price == pool.sqrt_price_x96(PLAN.rate_e8, eurc_first=eurc_first)
    ratio = (price / 2**96) ** 2
    usdc_per_eurc = ratio if eurc_first else 1 / ratio
    assert usdc_per_eurc == pytest.approx(1.10, rel=1e-12)


def test_ten_thousand_purchases_move_the_price_less_than_half_a_percent(site: Site) -> None:
    liquidity = site.pool_word(3) & ((1 << 128) - 1)
    price = site.pool_word(0) & ((1 << 160) - 1)
    bought = 10_000 * 110 * 10**6
    # Constant product: USDC leaves, and the square root of the price moves by bought / liquidity.
    if site.where.pool_key[0] == site.where["MockEURC"]:
        after = price - bought * pool.Q96 // liquidity
    else:
        after = liquidity * price * pool.Q96 // (liquidity * pool.Q96 - bought * price)
    assert abs((after / price) ** 2 - 1) < 0.005


def test_the_pool_holds_both_tokens(site: Site) -> None:
    assert site.balance("MockUSDC", site.where["PoolManager"]) >= PLAN.pool_usdc
    assert site.balance("MockEURC", site.where["PoolManager"]) >= PLAN.pool_usdc * 10 // 11 - 1


def test_the_parties_can_trade(site: Site) -> None:
    assert site.balance("MockEURC", PLAN.buyer) == PLAN.buyer_eurc
    assert site.balance("MockUSDC", PLAN.buyer) == PLAN.buyer_usdc
    assert site.balance("YieldPoolShare", PLAN.seller) == PLAN.seller_yps
    allowance = site.ask(
        "YieldPoolShare",
        "allowance(address,address)",
        ["address", "address"],
        PLAN.seller,
        site.where["PermitPuller"],
        returns=["uint256"],
    )
    assert allowance == 2**256 - 1
    for contract in set(CONTRACTS) - {"PoolManager", "MockUSDC", "MockEURC", "YieldPoolShare"}:
        for token in ("MockUSDC", "MockEURC", "YieldPoolShare"):
            assert site.balance(token, site.where[contract]) == 0


def test_deploying_again_changes_nothing(site: Site) -> None:
    before = site.node.call("eth_getBlockByNumber", "latest", False)["hash"]
    steps: list[str] = []
    assert deploy(site.node.url, CHAIN, PLAN, steps.append) == site.where
    assert site.node.call("eth_getBlockByNumber", "latest", False)["hash"] == before
    assert all("already" in step for step in steps)


def test_the_wrong_chain_is_refused(site: Site) -> None:
    with pytest.raises(DeployFailed, match=f"chain id {CHAIN}, not 31337"):
        deploy(site.node.url, 31337, PLAN)


def test_a_node_that_is_not_there_is_named() -> None:
    with pytest.raises(RpcUnreachable, match=r"127\.0\.0\.1:1 "):
        deploy("http://127.0.0.1:1", CHAIN, PLAN)


def test_a_deployment_survives_json(site: Site) -> None:
    data = json.loads(json.dumps(site.where.to_json()))
    assert Deployment.from_json(data) == site.where
    del data["addresses"]["PoolManager"]
    with pytest.raises(KeyError, match="PoolManager"):
        Deployment.from_json(data)
    assert DeploymentPlan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN


@pytest.mark.parametrize("eurc_first", [True, False])
@pytest.mark.parametrize("rate_e8", [90_000_000, 100_000_000, 110_000_000, 123_456_789])
def test_prices_and_amounts_agree(rate_e8: int, eurc_first: bool) -> None:
    price = pool.sqrt_price_x96(rate_e8, eurc_first=eurc_first)
    liquidity = pool.full_range_liquidity(PLAN.pool_usdc, price, eurc_first=eurc_first)
    first, second = pool.full_range_amounts(liquidity, price)
    eurc, usdc = (first, second) if eurc_first else (second, first)
    assert abs(usdc - PLAN.pool_usdc) <= 2
    assert usdc * pool.RATE_SCALE == pytest.approx(eurc * rate_e8, rel=1e-12)


def test_create2_matches_the_standards_own_examples() -> None:
    # EIP-1014, example 1, has deployer zero; ours is fixed, so check the formula by its parts.
    code = bytes.fromhex("00")
    raw = b"\xff" + bytes.fromhex(addresses.CREATE2_DEPLOYER[2:]) + bytes(32) + keccak(code)
    assert addresses.create2_address(code).lower() == "0x" + keccak(raw)[12:].hex()
    assert keccak(b"").hex().startswith("c5d2460186f7233c")
    # EIP-55's first example.
    plain = bytes.fromhex("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed")
    assert addresses.checksum(plain) == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

"""The deployment, step by step, with Ape's accounts, contracts and provider.

Imports Ape, which takes seconds and keeps global state: only the process that `deploy.deploy()`
starts may import this module. Every step asks the chain whether it is done before it acts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from ape import accounts, networks
from ape.contracts import ContractContainer
from ape.exceptions import ApeException
from ape.logging import logger
from eth_abi.abi import encode
from ethpm_types import ContractType

from workbench.chain import deploy as d
from workbench.chain.artifacts import load
from workbench.core.errors import DeployFailed

MAX_UINT256 = (1 << 256) - 1
# v4-core StateLibrary: where PoolManager keeps its pools, and liquidity within a pool.
POOLS_SLOT = 6
LIQUIDITY_OFFSET = 3
# Between these two allowances, tokens treat an allowance as endless and stop counting it down.
ENDLESS = 1 << 255


def deploy_here(chain_id: int, plan: d.DeploymentPlan, progress: d.Progress) -> d.Deployment:
    """Deploy over the node named in APE_FOUNDRY_HOST. Raises DeployFailed."""
    # Ape announces every confirmation; our progress says it in the reader's words.
    logger.set_level(logging.ERROR)
    try:
        with networks.parse_network_choice("ethereum:local:foundry") as provider:
            if provider.chain_id != chain_id:
                raise DeployFailed(
                    f"The node has chain id {provider.chain_id}, not {chain_id}.",
                    hint="Name the right node, or the right chain.",
                )
            return _Deployer(provider, plan, progress).run()
    except ApeException as error:
        raise DeployFailed(f"Ape: {type(error).__name__}: {error}") from error
    except OSError as error:
        host = os.environ.get("APE_FOUNDRY_HOST")
        raise DeployFailed(f"The node at {host} cannot be reached: {error}") from error


class _Deployer:
    """One run over one node."""

    def __init__(self, provider: Any, plan: d.DeploymentPlan, progress: d.Progress) -> None:
        self.provider, self.plan, self.progress = provider, plan, progress
        self.signers = {account.address: account for account in accounts.test_accounts}
        self.admin = self._signer(plan.deployer)
        self.at: dict[str, str] = {}
        self.contracts: dict[str, Any] = {}
        self.hook_salt = d.SALT

    def run(self) -> d.Deployment:
        """All steps in their order; each is safe to repeat."""
        before = int(self.provider.get_block("latest").number)
        if not self.provider.get_code(d.CREATE2_DEPLOYER):
            raise DeployFailed(f"This chain has no CREATE2 deployer at {d.CREATE2_DEPLOYER}.")
        self._create_all()
        self._connect()
        self._grant()
        self._set_rate()
        self._open_pool()
        self._add_liquidity()
        self._fund_parties()
        return d.Deployment(
            chain_id=self.provider.chain_id,
            addresses=dict(self.at),
            pool_id="0x" + d.pool_id(self._pool_key()).hex(),
            hook_salt="0x" + self.hook_salt.hex(),
            deploy_block=self._first_block(before),
        )

    # --- code ---------------------------------------------------------------------------------

    def _create_all(self) -> None:
        plan, at, admin = self.plan, self.at, self.plan.deployer
        self._create("PoolManager", ["address"], [admin])
        self._create("MockUSDC", ["address"], [admin])
        self._create("MockEURC", ["address"], [admin])
        self._create("YieldPoolShare", ["address"], [at["MockUSDC"]])
        tokens = [at["MockUSDC"], at["MockEURC"]]
        self._create(
            "SettlementVault",
            ["address", "address", "address", "uint256", "uint256", "address"],
            [at["PoolManager"], *tokens, plan.finality_blocks, plan.grace_blocks, admin],
        )
        # The vault makes its puller itself, so that neither can be without the other.
        self._bind("PermitPuller", self.contracts["SettlementVault"].puller())
        arguments = [at["PoolManager"], at["SettlementVault"], *tokens, admin]
        code = load("FacilitatorHook").bytecode + encode(["address"] * 5, arguments)
        self.hook_salt = d.mine_hook_salt(code)
        self._create("FacilitatorHook", ["address"] * 5, arguments, self.hook_salt)
        self._create("LiquiditySeeder", ["address", "address"], [at["PoolManager"], admin])

    def _create(
        self, name: str, types: list[str], arguments: list[Any], salt: bytes = d.SALT
    ) -> None:
        code = load(name).bytecode + encode(types, arguments)
        address = d.create2_address(code, salt)
        # The address commits to the code: whatever is there can only be this contract.
        if self._has_code(address):
            self.progress(f"{name}: already at {address}")
        else:
            self.admin.transfer(d.CREATE2_DEPLOYER, 0, data=salt + code)
            if not self._has_code(address):
                raise DeployFailed(f"{name} did not appear at {address}.")
            self.progress(f"{name}: created at {address}")
        self._bind(name, address)

    def _has_code(self, address: str) -> bool:
        return len(self.provider.get_code(address)) > 0

    def _bind(self, name: str, address: str) -> None:
        kind = ContractType.model_validate({"contractName": name, "abi": load(name).abi})
        self.at[name] = address
        # No explorer and no proxy: we know what is there, and each question is a round trip.
        self.contracts[name] = ContractContainer(kind).at(
            address, fetch_from_explorer=False, detect_proxy=False
        )

    # --- settings -----------------------------------------------------------------------------

    def _connect(self) -> None:
        vault, hook, asset = (
            self.contracts["SettlementVault"],
            self.at["FacilitatorHook"],
            self.at["YieldPoolShare"],
        )
        self._ensure(
            "vault: hook set",
            lambda: vault.hook() == hook,
            lambda: vault.setHook(hook, sender=self.admin),
        )
        self._ensure(
            "vault: sells YieldPoolShare",
            lambda: vault.assetAllowed(asset),
            lambda: vault.setAsset(asset, True, sender=self.admin),
        )

    def _grant(self) -> None:
        for contract, role, holder in (
            ("SettlementVault", "FACILITATOR_ROLE", self.plan.facilitator),
            ("FacilitatorHook", "RATE_ROLE", self.plan.keeper),
        ):
            instance = self.contracts[contract]
            word = d.keccak(role.encode())
            self._ensure(
                f"{contract}: {role} to {holder}",
                partial(instance.hasRole, word, holder),
                partial(instance.grantRole, word, holder, sender=self.admin),
            )

    def _set_rate(self) -> None:
        hook, plan = self.contracts["FacilitatorHook"], self.plan
        wanted = (plan.rate_e8, plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips)

        def is_set() -> bool:
            rate = hook.rate()
            return wanted == (
                rate.usdcPerEurcE8,
                rate.bandBps,
                rate.maxAgeSeconds,
                rate.lpFeePips,
            )

        # The hook's admin holds RATE_ROLE from its birth; the keeper only refreshes.
        self._ensure(
            f"hook: {plan.rate_e8 / d.RATE_SCALE:.4f} USDC per EURC, band {plan.band_bps} bps",
            is_set,
            lambda: hook.setRate(*wanted, sender=self.admin),
        )

    # --- the pool -----------------------------------------------------------------------------

    def _pool_key(self) -> d.PoolKey:
        return d.pool_key(self.at["MockUSDC"], self.at["MockEURC"], self.at["FacilitatorHook"])

    def _price(self) -> int:
        return d.sqrt_price_x96(self.plan.rate_e8, eurc_first=self._eurc_first())

    def _eurc_first(self) -> bool:
        return self._pool_key()[0] == self.at["MockEURC"]

    def _pool_word(self, offset: int) -> int:
        pools = d.keccak(d.pool_id(self._pool_key()) + POOLS_SLOT.to_bytes(32, "big"))
        slot = (int.from_bytes(pools, "big") + offset).to_bytes(32, "big")
        # By hand: `extsload` has three overloads, and Ape would have to guess.
        data = d.keccak(b"extsload(bytes32)")[:4] + slot
        return int.from_bytes(self._eth_call(self.at["PoolManager"], data), "big")

    def _eth_call(self, to: str, data: bytes) -> bytes:
        request = {"to": to, "data": "0x" + data.hex()}
        answer = self.provider.make_request("eth_call", [request, "latest"])
        return bytes.fromhex(answer[2:])

    def _open_pool(self) -> None:
        manager = self.contracts["PoolManager"]
        self._ensure(
            "pool: initialised",
            # The price is the low 160 bits of slot0; zero means there is no such pool.
            lambda: self._pool_word(0) & ((1 << 160) - 1) != 0,
            lambda: manager.initialize(self._pool_key(), self._price(), sender=self.admin),
        )

    def _add_liquidity(self) -> None:
        seeder, price = self.contracts["LiquiditySeeder"], self._price()
        wanted = d.full_range_liquidity(self.plan.pool_usdc, price, eurc_first=self._eurc_first())

        def act() -> None:
            missing = wanted - self._liquidity()
            first, second = d.full_range_amounts(missing, price)
            eurc, usdc = (first, second) if self._eurc_first() else (second, first)
            for token, amount in (("MockEURC", eurc), ("MockUSDC", usdc)):
                self._ensure_balance(token, self.plan.deployer, amount)
                self._ensure_allowance(token, self.admin, self.at["LiquiditySeeder"])
            seeder.modify(self._pool_key(), -d.TICK_LIMIT, d.TICK_LIMIT, missing, sender=self.admin)

        dollars = self.plan.pool_usdc // 10**6
        self._ensure(
            f"pool: {dollars:,} USDC deep on each side", lambda: self._liquidity() >= wanted, act
        )

    def _liquidity(self) -> int:
        return self._pool_word(LIQUIDITY_OFFSET) & ((1 << 128) - 1)

    # --- the parties --------------------------------------------------------------------------

    def _fund_parties(self) -> None:
        plan = self.plan
        self._ensure_balance("MockEURC", plan.buyer, plan.buyer_eurc, "buyer")
        self._ensure_balance("MockUSDC", plan.buyer, plan.buyer_usdc, "buyer")
        share = self.contracts["YieldPoolShare"]

        def stock_up() -> None:
            missing = plan.seller_yps - share.balanceOf(plan.seller)
            assets = -(-missing // d.SHARES_PER_USDC_UNIT)
            self._ensure_balance("MockUSDC", plan.deployer, assets)
            self._ensure_allowance("MockUSDC", self.admin, self.at["YieldPoolShare"])
            share.deposit(assets, plan.seller, sender=self.admin)

        self._ensure(
            f"seller: {plan.seller_yps // 10**18:,} YPS in stock",
            lambda: share.balanceOf(plan.seller) >= plan.seller_yps,
            stock_up,
        )
        puller = self.at["PermitPuller"]
        seller = self._signer(plan.seller)
        self._ensure_allowance("YieldPoolShare", seller, puller, "seller: PermitPuller may pull")

    def _ensure_balance(self, token: str, holder: str, amount: int, who: str = "") -> None:
        contract = self.contracts[token]
        self._ensure(
            f"{who}: {amount // 10**6:,} of {token}" if who else "",
            lambda: contract.balanceOf(holder) >= amount,
            lambda: contract.mint(holder, amount - contract.balanceOf(holder), sender=self.admin),
        )

    def _ensure_allowance(self, token: str, owner: Any, spender: str, text: str = "") -> None:
        contract = self.contracts[token]
        self._ensure(
            text,
            lambda: contract.allowance(owner.address, spender) >= ENDLESS,
            lambda: contract.approve(spender, MAX_UINT256, sender=owner),
        )

    # --- helpers ------------------------------------------------------------------------------

    def _ensure(self, text: str, is_done: Callable[[], bool], act: Callable[[], object]) -> None:
        """Act unless done; then it must be done. An empty text is part of another step."""
        skipped = is_done()
        if not skipped:
            act()
            if not is_done():
                raise DeployFailed(f"This step had no effect: {text or 'part of a step'}.")
        if text:
            self.progress(f"{text} (already)" if skipped else text)

    def _signer(self, address: str) -> Any:
        if address not in self.signers:
            raise DeployFailed(
                f"No key for {address}.", hint="Deployer and seller must be test accounts."
            )
        return self.signers[address]

    def _first_block(self, before: int) -> int:
        """The block of the vault's first log, or the block the run began at."""
        request = {"address": self.at["SettlementVault"], "fromBlock": "0x0", "toBlock": "latest"}
        logs = self.provider.make_request("eth_getLogs", [request])
        return min((int(log["blockNumber"], 16) for log in logs), default=before)

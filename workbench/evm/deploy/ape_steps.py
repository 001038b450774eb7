"""The steps of a deployment, done with Ape's accounts, contracts and provider.

This module imports Ape, which takes seconds and keeps global state: only `python -m
workbench.evm.deploy` may import it. The steps come from `inspection`; each one is checked before
it is done, and awaited after.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ape import accounts, networks
from ape.api.networks import ProviderContextManager
from ape.contracts import ContractContainer
from ape.exceptions import ApeException
from ape.logging import logger
from ethpm_types import ContractType
from web3.exceptions import Web3Exception

from workbench.core.errors import DeployFailed, RpcUnreachable, SignerShort, WorkbenchError
from workbench.core.ports import ReportProgress
from workbench.evm.build.artifacts import load
from workbench.evm.deploy.addresses import CREATE2_DEPLOYER, keccak
from workbench.evm.deploy.ape_provider import KeyAccount, live_node
from workbench.evm.deploy.inspection import SELLER, DeploymentState, DeploymentStep
from workbench.evm.deploy.plan import (
    NODE_LAG_LIMIT_S,
    RECHECK_S,
    RESUME_HINT,
    DeploymentPlan,
    DeploymentResult,
)
from workbench.evm.deploy.pool import TICK_LIMIT, full_range_amounts
from workbench.evm.rpc.blocking import BlockingRpc

MAX_UINT256 = (1 << 256) - 1
SHARES_PER_USDC_UNIT = 10**12
"""YieldPoolShare's decimal offset: it has 12 decimals more than USDC."""
OUT_OF_GAS = ("exceeds account balance", "insufficient funds", "gas required exceeds allowance")
"""In the messages of Ape, of geth, and of a node that estimates within the balance."""


def deploy_with_ape(
    url: str,
    chain_id: int,
    plan: DeploymentPlan,
    progress: ReportProgress,
    keys: Mapping[str, str] | None = None,
) -> DeploymentResult:
    """Do the missing steps on the node at `url`.

    `keys`: private keys by address, on any chain; None: the test keys, and the node is the anvil
    that APE_FOUNDRY_HOST names. Raises DeployFailed, SignerShort or RpcUnreachable.
    """
    # Ape logs every confirmation; our progress reports the steps.
    logger.set_level(logging.ERROR)
    try:
        with _connection(url, keys) as provider:
            if provider.chain_id != chain_id:
                raise DeployFailed(
                    f"The node has chain id {provider.chain_id}, not {chain_id}.",
                    hint="Correct the node's URL or the chain id.",
                )
            state = DeploymentState(
                BlockingRpc(url), plan, seller_signs=keys is None or plan.seller in keys
            )
            lag_s = NODE_LAG_LIMIT_S if keys else 0.0
            return _Deployer(provider, state, progress, _signers(keys), lag_limit_s=lag_s).run()
    except WorkbenchError:
        raise
    except OSError as error:
        raise RpcUnreachable(
            f"The connection to the node was lost: {error}", hint=RESUME_HINT
        ) from error
    except Exception as error:
        # Ape and its libraries raise many types: report the type's name without a traceback.
        raise _as_workbench_error(error) from error


def _connection(url: str, keys: Mapping[str, str] | None) -> ProviderContextManager:
    if keys is not None:
        return ProviderContextManager(live_node(url))
    local: ProviderContextManager = networks.parse_network_choice("ethereum:local:foundry")
    return local


def _signers(keys: Mapping[str, str] | None) -> dict[str, Any]:
    """Ape's accounts by address."""
    if keys is None:
        return {account.address: account for account in accounts.test_accounts}
    return {address: KeyAccount(private_key=key) for address, key in keys.items()}


def _as_workbench_error(error: Exception) -> WorkbenchError:
    text = f"{type(error).__name__}: {error}"
    if any(phrase in text for phrase in OUT_OF_GAS):
        return SignerShort(
            f"The signer ran out of gas: {text}", hint=f"Send it native currency. {RESUME_HINT}"
        )
    source = "Ape" if isinstance(error, (ApeException, Web3Exception)) else "Deploying"
    return DeployFailed(f"{source}: {text}", hint=RESUME_HINT)


class _Deployer:
    """One run on one node.

    `lag_limit_s`: how long a public chain's nodes may take to show a step's effect; 0 for an anvil.
    """

    def __init__(
        self,
        provider: Any,
        state: DeploymentState,
        progress: ReportProgress,
        signers: dict[str, Any],
        *,
        lag_limit_s: float,
    ) -> None:
        self.provider, self.state, self.plan, self.progress = provider, state, state.plan, progress
        self.signers, self.addresses = signers, state.addresses
        self.lag_limit_s = lag_limit_s
        self.admin = self._signer(state.plan.deployer)
        self.contracts: dict[str, Any] = {}
        self.vault_block: int | None = None
        self.transactions = 0
        plan, mint = state.plan, self._mint_up_to
        self.actions: dict[str, Callable[[], None]] = {
            **{name: partial(self._create, name) for name in state.blueprint.code},
            "hook": lambda: self._send(
                "SettlementVault", "setHook", self.addresses["FacilitatorHook"]
            ),
            "asset": lambda: self._send(
                "SettlementVault", "setAsset", self.addresses["YieldPoolShare"], True
            ),
            "FACILITATOR_ROLE": partial(
                self._grant, "SettlementVault", "FACILITATOR_ROLE", plan.facilitator
            ),
            "RATE_ROLE": partial(self._grant, "FacilitatorHook", "RATE_ROLE", plan.keeper),
            "BALANCER_ROLE": partial(
                self._grant, "FacilitatorHook", "BALANCER_ROLE", self.addresses["PoolBalancer"]
            ),
            # The hook's constructor gives RATE_ROLE to its admin; the keeper only refreshes.
            "rate": self._set_rate,
            "pool": lambda: self._send(
                "PoolManager", "initialize", state.pool_key, state.price_x96
            ),
            "liquidity": self._add_liquidity,
            "buyer's MockEURC": partial(mint, "MockEURC", plan.buyer, plan.buyer_eurc),
            "buyer's MockUSDC": partial(mint, "MockUSDC", plan.buyer, plan.buyer_usdc),
            "stock": self._deposit_stock,
            "allowance": partial(self._allow, "YieldPoolShare", "PermitPuller", plan.seller),
        }

    def run(self) -> DeploymentResult:
        """Do all missing steps in order; each is safe to repeat."""
        if not self.provider.get_code(CREATE2_DEPLOYER):
            raise DeployFailed(f"This chain has no CREATE2 deployer at {CREATE2_DEPLOYER}.")
        created = []
        for step in self.state.steps():
            if step.is_done():
                self.progress(step.done_label)
                continue
            self._signer(self.plan.seller if step.payer == SELLER else self.plan.deployer)
            self.actions[step.name]()
            self._await(step)
            self.progress(step.label)
            created.append(step.name)
        # The vault's constructor creates its puller.
        if "SettlementVault" in created:
            created.append("PermitPuller")
        block = self.state.first_block() if self.vault_block is None else self.vault_block
        return DeploymentResult(
            self.state.deployment(block),
            tuple(name for name in self.addresses if name in created),
            tuple(name for name in self.addresses if name not in created),
            self.transactions,
        )

    def _await(self, step: DeploymentStep) -> None:
        deadline = time.monotonic() + self.lag_limit_s
        while not step.is_done():
            if time.monotonic() >= deadline:
                raise DeployFailed(f"This step had no effect: {step.label}.", hint=RESUME_HINT)
            time.sleep(RECHECK_S)

    # --- Actions: one for each step's name ---

    def _create(self, name: str) -> None:
        blueprint = self.state.blueprint
        data = blueprint.salt(name) + blueprint.code[name]
        receipt = self.admin.transfer(CREATE2_DEPLOYER, 0, data=data)
        self.transactions += 1
        if name == "SettlementVault":
            self.vault_block = int(receipt.block_number)

    def _grant(self, contract: str, role: str, holder: str) -> None:
        self._send(contract, "grantRole", keccak(role.encode()), holder)

    def _set_rate(self) -> None:
        plan = self.plan
        values = (plan.rate_e8, plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips)
        self._send("FacilitatorHook", "setRate", *values)

    def _add_liquidity(self) -> None:
        state, deployer = self.state, self.plan.deployer
        missing = state.liquidity_wanted - state.liquidity()
        first, second = full_range_amounts(missing, state.price_x96)
        eurc, usdc = (first, second) if state.eurc_first else (second, first)
        for token, amount in (("MockEURC", eurc), ("MockUSDC", usdc)):
            self._mint_up_to(token, deployer, amount)
            self._allow(token, "LiquiditySeeder", deployer)
        self._send("LiquiditySeeder", "modify", state.pool_key, -TICK_LIMIT, TICK_LIMIT, missing)

    def _deposit_stock(self) -> None:
        plan = self.plan
        missing = plan.seller_yps - self.state.balance("YieldPoolShare", plan.seller)
        assets = -(-missing // SHARES_PER_USDC_UNIT)
        self._mint_up_to("MockUSDC", plan.deployer, assets)
        self._allow("MockUSDC", "YieldPoolShare", plan.deployer)
        self._send("YieldPoolShare", "deposit", assets, plan.seller)

    def _mint_up_to(self, token: str, holder: str, amount: int) -> None:
        if not self.state.holds(token, holder, amount):
            self._send(token, "mint", holder, amount - self.state.balance(token, holder))

    def _allow(self, token: str, spender: str, owner: str) -> None:
        if not self.state.has_allowance(token, owner, self.addresses[spender]):
            self._send(
                token, "approve", self.addresses[spender], MAX_UINT256, sender=self._signer(owner)
            )

    # --- Transactions ---

    def _send(self, contract: str, function: str, *arguments: Any, sender: Any = None) -> None:
        """Send one transaction, and wait until it is mined. Ape raises if it fails."""
        if contract not in self.contracts:
            description = {"contractName": contract, "abi": load(contract).abi}
            kind = ContractType.model_validate(description)
            # We know the contract: skip the explorer and the proxy check, each a round trip.
            self.contracts[contract] = ContractContainer(kind).at(
                self.addresses[contract], fetch_from_explorer=False, detect_proxy=False
            )
        getattr(self.contracts[contract], function)(*arguments, sender=sender or self.admin)
        self.transactions += 1

    def _signer(self, address: str) -> Any:
        if address not in self.signers:
            raise DeployFailed(
                f"No key for {address}.", hint="Deployer and seller must be test accounts."
            )
        return self.signers[address]

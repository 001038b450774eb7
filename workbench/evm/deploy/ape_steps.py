"""The deployment, step by step, with Ape's accounts, contracts and provider.

Imports Ape, which takes seconds and keeps global state: only the process that `deploy.deploy()`
starts may import this module. What is to be done is in `site.py`; each step is looked at before,
and awaited after.
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
from workbench.evm.deploy import deployment as d
from workbench.evm.deploy.ape_provider import KeyAccount, live_node
from workbench.evm.deploy.inspection import SELLER, DeploymentState, DeploymentStep
from workbench.evm.rpc.blocking import BlockingRpc

MAX_UINT256 = (1 << 256) - 1
# Ape's words, geth's, and those of a node that estimates within the balance.
OUT_OF_GAS = ("exceeds account balance", "insufficient funds", "gas required exceeds allowance")


def deploy_here(
    url: str,
    chain_id: int,
    plan: d.DeploymentPlan,
    progress: ReportProgress,
    keys: Mapping[str, str] | None = None,
) -> d.DeploymentResult:
    """Deploy over the node at `url`. Raises DeployFailed, SignerShort or RpcUnreachable.

    `keys`: private keys by address, on any chain; None: the test keys, and the node is an anvil,
    named in APE_FOUNDRY_HOST too.
    """
    # Ape announces every confirmation; our progress says it in the reader's words.
    logger.set_level(logging.ERROR)
    try:
        with _connection(url, keys) as provider:
            if provider.chain_id != chain_id:
                raise DeployFailed(
                    f"The node has chain id {provider.chain_id}, not {chain_id}.",
                    hint="Name the right node, or the right chain.",
                )
            site = DeploymentState(
                BlockingRpc(url), plan, seller_signs=keys is None or plan.seller in keys
            )
            return _Deployer(provider, site, progress, _signers(keys), live=bool(keys)).run()
    except WorkbenchError:
        raise
    except OSError as error:
        raise RpcUnreachable(f"The node was lost on the way: {error}", hint=d.RESUME) from error
    except Exception as error:
        # Whatever Ape and what it stands on may raise: the reader gets its name, and no trace.
        raise _explained(error) from error


def _connection(url: str, keys: Mapping[str, str] | None) -> ProviderContextManager:
    if keys is not None:
        return ProviderContextManager(live_node(url))
    local: ProviderContextManager = networks.parse_network_choice("ethereum:local:foundry")
    return local


def _signers(keys: Mapping[str, str] | None) -> dict[str, Any]:
    """Accounts by address."""
    if keys is None:
        return {account.address: account for account in accounts.test_accounts}
    return {address: KeyAccount(private_key=key) for address, key in keys.items()}


def _explained(error: Exception) -> WorkbenchError:
    text = f"{type(error).__name__}: {error}"
    if any(words in text for words in OUT_OF_GAS):
        return SignerShort(f"The signer ran out of gas: {text}", hint=f"Send it some. {d.RESUME}")
    source = "Ape" if isinstance(error, (ApeException, Web3Exception)) else "Deploying"
    return DeployFailed(f"{source}: {text}", hint=d.RESUME)


class _Deployer:
    """One run over one node. `live`: the chain is not ours, and others' blocks come between."""

    def __init__(
        self,
        provider: Any,
        site: DeploymentState,
        progress: ReportProgress,
        signers: dict[str, Any],
        *,
        live: bool,
    ) -> None:
        self.provider, self.site, self.plan, self.progress = provider, site, site.plan, progress
        self.signers, self.at = signers, site.at
        self.patience_s = d.PATIENCE_S if live else 0.0
        self.admin = self._signer(site.plan.deployer)
        self.contracts: dict[str, Any] = {}
        self.vault_block: int | None = None
        self.transactions = 0
        plan, mint = site.plan, self._mint_up_to
        self.acts: dict[str, Callable[[], None]] = {
            **{name: partial(self._create, name) for name in site.blueprint.code},
            "hook": lambda: self._send("SettlementVault", "setHook", self.at["FacilitatorHook"]),
            "asset": lambda: self._send(
                "SettlementVault", "setAsset", self.at["YieldPoolShare"], True
            ),
            "FACILITATOR_ROLE": partial(
                self._grant, "SettlementVault", "FACILITATOR_ROLE", plan.facilitator
            ),
            "RATE_ROLE": partial(self._grant, "FacilitatorHook", "RATE_ROLE", plan.keeper),
            "BALANCER_ROLE": partial(
                self._grant, "FacilitatorHook", "BALANCER_ROLE", self.at["PoolBalancer"]
            ),
            # The hook's admin holds RATE_ROLE from its birth; the keeper only refreshes.
            "rate": self._set_rate,
            "pool": lambda: self._send("PoolManager", "initialize", site.key, site.price_x96),
            "liquidity": self._add_liquidity,
            "buyer's MockEURC": partial(mint, "MockEURC", plan.buyer, plan.buyer_eurc),
            "buyer's MockUSDC": partial(mint, "MockUSDC", plan.buyer, plan.buyer_usdc),
            "stock": self._stock_up,
            "allowance": partial(self._allow, "YieldPoolShare", "PermitPuller", plan.seller),
        }

    def run(self) -> d.DeploymentResult:
        """All steps in their order; each is safe to repeat."""
        if not self.provider.get_code(d.CREATE2_DEPLOYER):
            raise DeployFailed(f"This chain has no CREATE2 deployer at {d.CREATE2_DEPLOYER}.")
        created = []
        for step in self.site.steps():
            if step.is_done():
                self.progress(step.told_done)
                continue
            self._signer(self.plan.seller if step.payer == SELLER else self.plan.deployer)
            self.acts[step.name]()
            self._await(step)
            self.progress(step.told)
            created.append(step.name)
        # The vault makes its puller itself, so that neither can be without the other.
        if "SettlementVault" in created:
            created.append("PermitPuller")
        block = self.site.first_block() if self.vault_block is None else self.vault_block
        return d.DeploymentResult(
            self.site.deployment(block),
            tuple(name for name in self.at if name in created),
            tuple(name for name in self.at if name not in created),
            self.transactions,
        )

    def _await(self, step: DeploymentStep) -> None:
        limit = time.monotonic() + self.patience_s
        while not step.is_done():
            if time.monotonic() >= limit:
                raise DeployFailed(f"This step had no effect: {step.told}.", hint=d.RESUME)
            time.sleep(d.LOOK_AGAIN_S)

    # --- acts ---------------------------------------------------------------------------------

    def _create(self, name: str) -> None:
        blueprint = self.site.blueprint
        data = blueprint.salt(name) + blueprint.code[name]
        receipt = self.admin.transfer(d.CREATE2_DEPLOYER, 0, data=data)
        self.transactions += 1
        if name == "SettlementVault":
            self.vault_block = int(receipt.block_number)

    def _grant(self, contract: str, role: str, holder: str) -> None:
        self._send(contract, "grantRole", d.keccak(role.encode()), holder)

    def _set_rate(self) -> None:
        plan = self.plan
        words = (plan.rate_e8, plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips)
        self._send("FacilitatorHook", "setRate", *words)

    def _add_liquidity(self) -> None:
        site, deployer = self.site, self.plan.deployer
        missing = site.liquidity_wanted - site.liquidity()
        first, second = d.full_range_amounts(missing, site.price_x96)
        eurc, usdc = (first, second) if site.eurc_first else (second, first)
        for token, amount in (("MockEURC", eurc), ("MockUSDC", usdc)):
            self._mint_up_to(token, deployer, amount)
            self._allow(token, "LiquiditySeeder", deployer)
        self._send("LiquiditySeeder", "modify", site.key, -d.TICK_LIMIT, d.TICK_LIMIT, missing)

    def _stock_up(self) -> None:
        plan = self.plan
        missing = plan.seller_yps - self.site.balance("YieldPoolShare", plan.seller)
        assets = -(-missing // d.SHARES_PER_USDC_UNIT)
        self._mint_up_to("MockUSDC", plan.deployer, assets)
        self._allow("MockUSDC", "YieldPoolShare", plan.deployer)
        self._send("YieldPoolShare", "deposit", assets, plan.seller)

    def _mint_up_to(self, token: str, holder: str, amount: int) -> None:
        if not self.site.holds(token, holder, amount):
            self._send(token, "mint", holder, amount - self.site.balance(token, holder))

    def _allow(self, token: str, spender: str, owner: str) -> None:
        if not self.site.may_spend(token, owner, self.at[spender]):
            self._send(token, "approve", self.at[spender], MAX_UINT256, sender=self._signer(owner))

    # --- helpers ------------------------------------------------------------------------------

    def _send(self, contract: str, function: str, *arguments: Any, sender: Any = None) -> None:
        """One transaction, mined. Ape raises for one that fails."""
        if contract not in self.contracts:
            described = {"contractName": contract, "abi": load(contract).abi}
            kind = ContractType.model_validate(described)
            # No explorer and no proxy: we know what is there, and each question is a round trip.
            self.contracts[contract] = ContractContainer(kind).at(
                self.at[contract], fetch_from_explorer=False, detect_proxy=False
            )
        getattr(self.contracts[contract], function)(*arguments, sender=sender or self.admin)
        self.transactions += 1

    def _signer(self, address: str) -> Any:
        if address not in self.signers:
            raise DeployFailed(
                f"No key for {address}.", hint="Deployer and seller must be test accounts."
            )
        return self.signers[address]

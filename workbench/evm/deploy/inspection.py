"""A plan on one chain: which steps are done, which are missing, and whether the result is right.

This module only reads. A plan alone determines the addresses, so missing steps are known before
anything is sent. `verify` checks the result with other code than the code that made it. `ape_steps`
does the steps that are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workbench.core.errors import ChainError, DeployFailed, RpcFault
from workbench.evm.codec import abi
from workbench.evm.deploy.addresses import HOOK_FLAGS, HOOK_MASK, checksum, keccak
from workbench.evm.deploy.blueprint import blueprint
from workbench.evm.deploy.plan import CONTRACTS, Deployment, DeploymentPlan
from workbench.evm.deploy.pool import (
    RATE_SCALE,
    full_range_liquidity,
    pool_id,
    pool_key,
    sqrt_price_x96,
)
from workbench.evm.deploy.uniswap import is_packaged_code
from workbench.evm.rpc.blocking import BlockingRpc

POOLS_SLOT = 6
"""The storage slot of PoolManager's mapping of pools (v4-core `StateLibrary`)."""
LIQUIDITY_OFFSET = 3
"""The word of a pool that holds its liquidity; its price is in word 0."""
UNLIMITED = 1 << 255
"""From this allowance on, tokens treat it as unlimited and do not count it down."""
GAS_PER_BYTE = 216
"""Gas of a contract's creation for each byte of code. Measured: 198 to 217, all included."""
GAS_PER_CREATION = 80_000
"""Gas of a creation in addition to that: the constructor's storage."""
DEPLOYER, SELLER = "deployer", "seller"


@dataclass(frozen=True)
class DeploymentStep:
    """One step of a deployment."""

    name: str
    label: str
    """What it does, as a line of progress."""
    gas: int
    """Gas that it was measured to take, at most."""
    is_done: Callable[[], bool] = field(repr=False)
    """Asks the chain."""
    payer: str = DEPLOYER
    """Who sends its transactions: DEPLOYER or SELLER."""

    @property
    def done_label(self) -> str:
        """The line of progress for a step that was done before."""
        if self.name in CONTRACTS:
            return self.label.replace("created at", "already at")
        return f"{self.label} (already)"


class DeploymentState:
    """The state of a plan on the chain behind `rpc`.

    `seller_signs`: whether we have the seller's key. Without it there is no step for the seller's
    allowance. The methods raise RpcUnreachable and RpcFault.
    """

    def __init__(
        self, rpc: BlockingRpc, plan: DeploymentPlan, *, seller_signs: bool = True
    ) -> None:
        self.rpc, self.plan, self.seller_signs = rpc, plan, seller_signs
        self.blueprint = blueprint(plan)
        self.addresses = self.blueprint.addresses
        parts = (self.addresses[name] for name in ("MockUSDC", "MockEURC", "FacilitatorHook"))
        self.pool_key = pool_key(*parts)
        self.eurc_first = self.pool_key[0] == self.addresses["MockEURC"]
        self.price_x96 = sqrt_price_x96(plan.rate_e8, eurc_first=self.eurc_first)
        self.liquidity_wanted = full_range_liquidity(
            plan.pool_usdc, self.price_x96, eurc_first=self.eurc_first
        )

    def deployment(self, deploy_block: int) -> Deployment:
        """Return the record of this deployment."""
        return Deployment(
            chain_id=int(self.rpc.now("eth_chainId"), 16),
            addresses=dict(self.addresses),
            pool_id="0x" + pool_id(self.pool_key).hex(),
            hook_salt="0x" + self.blueprint.hook_salt.hex(),
            deploy_block=deploy_block,
        )

    # --- Steps ---

    def steps(self) -> list[DeploymentStep]:
        """Return all steps in order. A step may need the ones before it."""
        first, last = self._creation_steps(CONTRACTS[:-1]), self._creation_steps(CONTRACTS[-1:])
        return [*first, *self._setting_steps(), *self._pool_steps(), *self._balance_steps(), *last]

    def missing(self) -> list[DeploymentStep]:
        """Return the steps that are not done."""
        return [step for step in self.steps() if not step.is_done()]

    def _creation_steps(self, names: tuple[str, ...]) -> list[DeploymentStep]:
        return [
            DeploymentStep(
                name,
                f"{name}: created at {self.addresses[name]}",
                GAS_PER_CREATION + GAS_PER_BYTE * len(self.blueprint.code.get(name, b"")),
                partial(self.has_code, name),
            )
            for name in names
            if name in self.addresses and name != "PermitPuller"  # Comes with the vault.
        ]

    def _setting_steps(self) -> list[DeploymentStep]:
        plan, shares = self.plan, self.addresses["YieldPoolShare"]
        rate = f"{plan.rate_e8 / RATE_SCALE:.4f} USDC per EURC, band {plan.band_bps} bps"
        return [
            DeploymentStep("hook", "vault: hook set", 48_000, self._hook_is_set),
            DeploymentStep(
                "asset",
                "vault: sells YieldPoolShare",
                51_000,
                lambda: bool(self.read_view("SettlementVault", "assetAllowed", shares)),
            ),
            self._grant_step("SettlementVault", "FACILITATOR_ROLE", plan.facilitator),
            self._grant_step("FacilitatorHook", "RATE_ROLE", plan.keeper),
            self._grant_step("FacilitatorHook", "BALANCER_ROLE", self.addresses["PoolBalancer"]),
            DeploymentStep("rate", f"hook: {rate}", 50_000, self._rate_is_set),
        ]

    def _grant_step(self, contract: str, role: str, holder: str) -> DeploymentStep:
        return DeploymentStep(
            role,
            f"{contract}: {role} to {holder}",
            52_000,
            lambda: bool(self.read_view(contract, "hasRole", keccak(role.encode()), holder)),
        )

    def _pool_steps(self) -> list[DeploymentStep]:
        deep = f"pool: {self.plan.pool_usdc // 10**6:,} USDC deep on each side"
        return [
            DeploymentStep("pool", "pool: initialised", 60_000, lambda: self.pool_price() != 0),
            DeploymentStep(
                "liquidity", deep, 540_000, lambda: self.liquidity() >= self.liquidity_wanted
            ),
        ]

    def _balance_steps(self) -> list[DeploymentStep]:
        """The seller's YPS come first: the deployer pays for them in USDC, and may be the buyer."""
        plan = self.plan
        stocked = partial(self.holds, "YieldPoolShare", plan.seller, plan.seller_yps)
        stock = f"seller: {plan.seller_yps // 10**18:,} YPS in stock"
        steps = [DeploymentStep("stock", stock, 220_000, stocked)]
        for token, amount in (("MockEURC", plan.buyer_eurc), ("MockUSDC", plan.buyer_usdc)):
            held = partial(self.holds, token, plan.buyer, amount)
            label = f"buyer: {amount // 10**6:,} of {token}"
            steps.append(DeploymentStep(f"buyer's {token}", label, 61_000, held))
        if self.seller_signs:
            puller = self.addresses["PermitPuller"]
            allowed = partial(self.has_allowance, "YieldPoolShare", plan.seller, puller)
            label = "seller: PermitPuller may pull"
            steps.append(DeploymentStep("allowance", label, 47_000, allowed, SELLER))
        return steps

    # --- Faults that no step can repair ---

    def problems(self, missing: list[DeploymentStep]) -> list[str]:
        """Return faults of what exists; empty if the `missing` steps can be done on top of it."""
        found, admin = [], self.plan.deployer
        for name in ("SettlementVault", "FacilitatorHook") if missing else ():
            at = self.addresses[name]
            if self.has_code(name) and not self.read_view(name, "hasRole", bytes(32), admin):
                found.append(f"the deployer is no longer the admin of {name} at {at}")
        hook, vault = self.read_view("SettlementVault", "hook"), self.addresses["SettlementVault"]
        if hook and int(hook, 16) and not self._hook_is_set():
            found.append(f"the vault at {vault} has another hook, {hook}")
        if self.plan.pool_manager and not self._has_pool_manager():
            found.append(f"there is no Uniswap v4 PoolManager at {self.plan.pool_manager}")
        if price := self.pool_price():
            found += self._price_problems(price)
        return found

    def _price_problems(self, price: int) -> list[str]:
        ratio, rate = (price / self.price_x96) ** 2, self.plan.rate_e8 / RATE_SCALE
        relative = ratio if self.eurc_first else 1 / ratio
        if abs(relative - 1) * 10_000 <= self.plan.band_bps:
            return []
        return [
            f"the pool's price is {rate * relative:.4f} USDC per EURC, outside the plan's band of "
            f"{self.plan.band_bps} bps around {rate:.4f}"
        ]

    def _has_pool_manager(self) -> bool:
        code = self._code("PoolManager")
        if is_packaged_code(code):
            return True
        # It may be another build. We need only that its storage can be read.
        data = abi.to_hex(keccak(b"extsload(bytes32)")[:4] + bytes(32))
        call = {"to": self.addresses["PoolManager"], "data": data}
        try:
            return bool(code) and len(str(self.rpc.now("eth_call", call, "latest"))) == 66
        except ChainError:
            return False

    def verify(self) -> None:
        """Raise DeployFailed unless everything exists and is as planned.

        Code needs no check: CREATE2 derives the address from it.
        """
        missing = self.missing()
        faults = [f"missing: {step.label}" for step in missing] + self.problems(missing)
        puller = self.read_view("SettlementVault", "puller")
        if checksum(bytes.fromhex(str(puller or "0x")[2:])) != self.addresses["PermitPuller"]:
            faults.append(f"the vault's puller is {puller}, not {self.addresses['PermitPuller']}")
        if int(self.addresses["FacilitatorHook"], 16) & HOOK_MASK != HOOK_FLAGS:
            faults.append("the hook's address does not carry its flags")
        if faults:
            raise DeployFailed(
                f"The deployment differs from the plan: {'; '.join(faults)}.",
                hint="Run the command again; another deployer key creates everything anew.",
            )

    # --- Reading ---

    def read_view(self, contract: str, function: str, *arguments: Any) -> Any:
        """Return the first value of a view function; None where there is no code."""
        data = abi.to_hex(abi.encode_call(contract, function, *arguments))
        raw = self.rpc.now("eth_call", {"to": self.addresses[contract], "data": data}, "latest")
        if raw in ("0x", None):
            return None
        return abi.decode_result(contract, function, abi.hex_bytes(raw))[0]

    def has_code(self, name: str) -> bool:
        """Return whether the contract `name` exists."""
        return bool(self._code(name))

    def _code(self, name: str) -> bytes:
        return abi.hex_bytes(self.rpc.now("eth_getCode", self.addresses[name], "latest") or "0x")

    def holds(self, token: str, holder: str, amount: int) -> bool:
        """Return whether `holder` has at least `amount` base units."""
        return self.balance(token, holder) >= amount

    def balance(self, token: str, holder: str) -> int:
        """Return a token balance in base units; zero where the token does not exist."""
        return int(self.read_view(token, "balanceOf", holder) or 0)

    def has_allowance(self, token: str, owner: str, spender: str) -> bool:
        """Return whether `spender` has an unlimited allowance."""
        return int(self.read_view(token, "allowance", owner, spender) or 0) >= UNLIMITED

    def _hook_is_set(self) -> bool:
        hook = self.read_view("SettlementVault", "hook")
        return hook is not None and int(hook, 16) == int(self.addresses["FacilitatorHook"], 16)

    def _rate_is_set(self) -> bool:
        """Whether the rate is the planned one, and not stale."""
        rate, plan = self.read_view("FacilitatorHook", "rate"), self.plan
        if rate is None:
            return False
        e8, set_at, band, age, fee = rate
        now = int(self.rpc.now("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        wanted = (plan.rate_e8, plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips)
        return (e8, band, age, fee) == wanted and now < set_at + age

    def pool_price(self) -> int:
        """Return sqrt(currency1 / currency0) * 2**96; zero while there is no such pool."""
        return self._pool_word(0) & ((1 << 160) - 1)

    def liquidity(self) -> int:
        """Return the v4 liquidity in range."""
        return self._pool_word(LIQUIDITY_OFFSET) & ((1 << 128) - 1)

    def _pool_word(self, offset: int) -> int:
        pools = keccak(pool_id(self.pool_key) + POOLS_SLOT.to_bytes(32, "big"))
        slot = hex(int.from_bytes(pools, "big") + offset)
        word = self.rpc.now("eth_getStorageAt", self.addresses["PoolManager"], slot, "latest")
        return int(word, 16)

    def first_block(self) -> int:
        """Return the block of the vault's creation, which holds its first log.

        Zero where the node does not serve old states: readers of logs then begin at block 0.
        """
        vault = self.addresses["SettlementVault"]
        try:
            logs = self.rpc.now("eth_getLogs", {"address": vault, "fromBlock": "0x0"})
            return min((int(log["blockNumber"], 16) for log in logs), default=0)
        except ChainError:
            pass  # Public nodes limit the range: search for the code instead.
        low, high = 0, int(self.rpc.now("eth_blockNumber"), 16)
        try:
            while low < high:
                middle = (low + high) // 2
                exists = self.rpc.now("eth_getCode", vault, hex(middle)) not in ("0x", None)
                low, high = (low, middle) if exists else (middle + 1, high)
        except RpcFault:
            return 0
        return low

"""A plan on one chain: what belongs where, and how much of it is there. Looks, and never sends.

Addresses follow from the plan alone, so what is missing can be named before anything is sent, and
what was found or made can be verified afterwards, by other code than the code that made it.
`deploy_ape.py` acts on the steps that are not done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from workbench.core.errors import ChainError, DeployFailed, RpcFault
from workbench.evm.build.artifacts import load
from workbench.evm.codec import abi
from workbench.evm.deploy import deployment as d
from workbench.evm.deploy.uniswap import is_packaged_code
from workbench.evm.rpc.blocking import BlockingRpc

# v4-core StateLibrary: where PoolManager keeps its pools, and liquidity within a pool.
POOLS_SLOT = 6
LIQUIDITY_OFFSET = 3
# Between these two allowances, tokens treat an allowance as endless and stop counting it down.
ENDLESS = 1 << 255
# Gas of a creation: at most this much a byte of code, and this much besides (the constructor's
# storage). Measured: 198 to 217 a byte with the rest included.
GAS_A_BYTE = 216
GAS_A_CREATION = 80_000
DEPLOYER, SELLER = "deployer", "seller"


@dataclass(frozen=True)
class Blueprint:
    """What a plan puts where. `code`: creation code, with arguments, of what we create by CREATE2;
    PermitPuller is made by the vault's constructor, and Uniswap's own PoolManager by Uniswap."""

    addresses: dict[str, str]
    code: dict[str, bytes] = field(repr=False)
    hook_salt: bytes

    def salt(self, name: str) -> bytes:
        """The CREATE2 salt of a contract."""
        return self.hook_salt if name == "FacilitatorHook" else d.SALT


@cache
def blueprint(plan: d.DeploymentPlan) -> Blueprint:
    """Addresses and code of a plan: the same on every chain."""
    at: dict[str, str] = {}
    code: dict[str, bytes] = {}

    def place(name: str, *arguments: str | int, salt: bytes | None = None) -> None:
        words = (int(a, 16) if isinstance(a, str) else a for a in arguments)
        code[name] = load(name).bytecode + b"".join(word.to_bytes(32, "big") for word in words)
        mined = d.mine_hook_salt(code[name]) if salt is None else salt
        at[name] = d.create2_address(code[name], mined)
        salts[name] = mined

    salts: dict[str, bytes] = {}
    admin = plan.deployer
    if plan.pool_manager:
        at["PoolManager"] = plan.pool_manager
    else:
        place("PoolManager", admin, salt=d.SALT)
    place("MockUSDC", admin, salt=d.SALT)
    place("MockEURC", admin, salt=d.SALT)
    manager, usdc, eurc = (at[name] for name in ("PoolManager", "MockUSDC", "MockEURC"))
    place("YieldPoolShare", usdc, salt=d.SALT)
    gates = (plan.finality_blocks, plan.grace_blocks)
    place("SettlementVault", manager, usdc, eurc, *gates, admin, salt=d.SALT)
    at["PermitPuller"] = create_address(at["SettlementVault"])
    place("FacilitatorHook", manager, at["SettlementVault"], usdc, eurc, admin)
    place("LiquiditySeeder", manager, admin, salt=d.SALT)
    place("PoolBalancer", manager, eurc, plan.balancer, salt=d.SALT)
    if plan.payout_batcher:
        place(d.BATCHER, salt=d.SALT)
    return Blueprint(at, code, salts["FacilitatorHook"])


def create_address(creator: str) -> str:
    """Where a contract's constructor puts the first contract it makes (CREATE, nonce 1)."""
    return d.checksum(d.keccak(b"\xd6\x94" + bytes.fromhex(creator[2:]) + b"\x01")[12:])


@dataclass(frozen=True)
class DeploymentStep:
    """One thing to be done: who pays for it, what it was measured to take, and whether it is."""

    name: str
    told: str
    gas: int
    is_done: Callable[[], bool] = field(repr=False)
    payer: str = DEPLOYER

    @property
    def told_done(self) -> str:
        """The line for what need not be done any more."""
        if self.name in d.CONTRACTS:
            return self.told.replace("created at", "already at")
        return f"{self.told} (already)"


class DeploymentState:
    """A plan on the chain behind `rpc`. `seller_signs`: whether the seller's key is at hand."""

    def __init__(
        self, rpc: BlockingRpc, plan: d.DeploymentPlan, *, seller_signs: bool = True
    ) -> None:
        self.rpc, self.plan, self.seller_signs = rpc, plan, seller_signs
        self.blueprint = blueprint(plan)
        self.at = self.blueprint.addresses
        self.key = d.pool_key(self.at["MockUSDC"], self.at["MockEURC"], self.at["FacilitatorHook"])
        self.eurc_first = self.key[0] == self.at["MockEURC"]
        self.price_x96 = d.sqrt_price_x96(plan.rate_e8, eurc_first=self.eurc_first)
        self.liquidity_wanted = d.full_range_liquidity(
            plan.pool_usdc, self.price_x96, eurc_first=self.eurc_first
        )

    def deployment(self, deploy_block: int) -> d.Deployment:
        """The facts to keep."""
        return d.Deployment(
            chain_id=int(self.rpc.now("eth_chainId"), 16),
            addresses=dict(self.at),
            pool_id="0x" + d.pool_id(self.key).hex(),
            hook_salt="0x" + self.blueprint.hook_salt.hex(),
            deploy_block=deploy_block,
        )

    # --- What is to be done ---

    def steps(self) -> list[DeploymentStep]:
        """All steps in their order. A later one may need the earlier ones done."""
        first, last = self._creations(d.CONTRACTS[:-1]), self._creations(d.CONTRACTS[-1:])
        return [*first, *self._settings(), *self._pool(), *self._stocks(), *last]

    def missing(self) -> list[DeploymentStep]:
        """The steps that are not done."""
        return [step for step in self.steps() if not step.is_done()]

    def _creations(self, names: tuple[str, ...]) -> list[DeploymentStep]:
        return [
            DeploymentStep(
                name,
                f"{name}: created at {self.at[name]}",
                GAS_A_CREATION + GAS_A_BYTE * len(self.blueprint.code.get(name, b"")),
                partial(self.has_code, name),
            )
            for name in names
            if name in self.at and name != "PermitPuller"  # Comes with the vault.
        ]

    def _settings(self) -> list[DeploymentStep]:
        plan, at = self.plan, self.at
        rate = f"{plan.rate_e8 / d.RATE_SCALE:.4f} USDC per EURC, band {plan.band_bps} bps"
        return [
            DeploymentStep("hook", "vault: hook set", 48_000, self._hook_is_set),
            DeploymentStep(
                "asset",
                "vault: sells YieldPoolShare",
                51_000,
                lambda: bool(self.ask("SettlementVault", "assetAllowed", at["YieldPoolShare"])),
            ),
            self._grant("SettlementVault", "FACILITATOR_ROLE", plan.facilitator),
            self._grant("FacilitatorHook", "RATE_ROLE", plan.keeper),
            self._grant("FacilitatorHook", "BALANCER_ROLE", at["PoolBalancer"]),
            DeploymentStep("rate", f"hook: {rate}", 50_000, self._rate_is_set),
        ]

    def _grant(self, contract: str, role: str, holder: str) -> DeploymentStep:
        return DeploymentStep(
            role,
            f"{contract}: {role} to {holder}",
            52_000,
            lambda: bool(self.ask(contract, "hasRole", d.keccak(role.encode()), holder)),
        )

    def _pool(self) -> list[DeploymentStep]:
        deep = f"pool: {self.plan.pool_usdc // 10**6:,} USDC deep on each side"
        return [
            DeploymentStep("pool", "pool: initialised", 60_000, lambda: self.pool_price() != 0),
            DeploymentStep(
                "liquidity", deep, 540_000, lambda: self.liquidity() >= self.liquidity_wanted
            ),
        ]

    def _stocks(self) -> list[DeploymentStep]:
        """The seller's first: the deployer pays for it in USDC, and may be the buyer, too."""
        plan = self.plan
        stocked = partial(self.holds, "YieldPoolShare", plan.seller, plan.seller_yps)
        stock = f"seller: {plan.seller_yps // 10**18:,} YPS in stock"
        steps = [DeploymentStep("stock", stock, 220_000, stocked)]
        for token, amount in (("MockEURC", plan.buyer_eurc), ("MockUSDC", plan.buyer_usdc)):
            held = partial(self.holds, token, plan.buyer, amount)
            told = f"buyer: {amount // 10**6:,} of {token}"
            steps.append(DeploymentStep(f"buyer's {token}", told, 61_000, held))
        if self.seller_signs:
            puller = self.at["PermitPuller"]
            allowed = partial(self.may_spend, "YieldPoolShare", plan.seller, puller)
            told = "seller: PermitPuller may pull"
            steps.append(DeploymentStep("allowance", told, 47_000, allowed, SELLER))
        return steps

    # --- What is wrong, and no step can mend ---

    def problems(self, missing: list[DeploymentStep]) -> list[str]:
        """Faults of what is there already; empty if what is `missing` can be built upon it."""
        found = []
        for name in ("SettlementVault", "FacilitatorHook") if missing else ():
            if self.has_code(name) and not self.ask(name, "hasRole", bytes(32), self.plan.deployer):
                found.append(f"the deployer is not the admin of {name} at {self.at[name]} any more")
        hook = self.ask("SettlementVault", "hook")
        if hook and int(hook, 16) and not self._hook_is_set():
            found.append(f"the vault at {self.at['SettlementVault']} has another hook, {hook}")
        if self.plan.pool_manager and not self._manager_answers():
            found.append(f"there is no Uniswap v4 PoolManager at {self.plan.pool_manager}")
        if price := self.pool_price():
            found += self._price_problems(price)
        return found

    def _price_problems(self, price: int) -> list[str]:
        ratio, rate = (price / self.price_x96) ** 2, self.plan.rate_e8 / d.RATE_SCALE
        relative = ratio if self.eurc_first else 1 / ratio
        if abs(relative - 1) * 10_000 <= self.plan.band_bps:
            return []
        return [
            f"the pool stands at {rate * relative:.4f} USDC per EURC, outside the plan's band of "
            f"{self.plan.band_bps} bps around {rate:.4f}"
        ]

    def _manager_answers(self) -> bool:
        code = self._code("PoolManager")
        if is_packaged_code(code):
            return True
        # Another build of it, perhaps: what we need of it is that its storage can be read.
        data = abi.to_hex(d.keccak(b"extsload(bytes32)")[:4] + bytes(32))
        call = {"to": self.at["PoolManager"], "data": data}
        try:
            return bool(code) and len(str(self.rpc.now("eth_call", call, "latest"))) == 66
        except ChainError:
            return False

    def verify(self) -> None:
        """Raise DeployFailed unless everything is there, and is what the plan says.

        Code is proven by its address, which CREATE2 derives from it.
        """
        missing = self.missing()
        faults = [f"missing: {step.told}" for step in missing] + self.problems(missing)
        puller = self.ask("SettlementVault", "puller")
        if d.checksum(bytes.fromhex(str(puller or "0x")[2:])) != self.at["PermitPuller"]:
            faults.append(f"the vault's puller is {puller}, not {self.at['PermitPuller']}")
        if int(self.at["FacilitatorHook"], 16) & d.HOOK_MASK != d.HOOK_FLAGS:
            faults.append("the hook's address does not carry its flags")
        if faults:
            raise DeployFailed(
                f"What stands on the chain is not what the plan says: {'; '.join(faults)}.",
                hint="Run the command again; another deployer key makes everything anew.",
            )

    # --- Reading ---

    def ask(self, contract: str, function: str, *arguments: Any) -> Any:
        """The first value a view function returns; None while there is no code."""
        data = abi.to_hex(abi.encode_call(contract, function, *arguments))
        raw = self.rpc.now("eth_call", {"to": self.at[contract], "data": data}, "latest")
        if raw in ("0x", None):
            return None
        return abi.decode_result(contract, function, abi.hex_bytes(raw))[0]

    def has_code(self, name: str) -> bool:
        return bool(self._code(name))

    def _code(self, name: str) -> bytes:
        return abi.hex_bytes(self.rpc.now("eth_getCode", self.at[name], "latest") or "0x")

    def holds(self, token: str, holder: str, amount: int) -> bool:
        return self.balance(token, holder) >= amount

    def balance(self, token: str, holder: str) -> int:
        return int(self.ask(token, "balanceOf", holder) or 0)

    def may_spend(self, token: str, owner: str, spender: str) -> bool:
        return int(self.ask(token, "allowance", owner, spender) or 0) >= ENDLESS

    def _hook_is_set(self) -> bool:
        hook = self.ask("SettlementVault", "hook")
        return hook is not None and int(hook, 16) == int(self.at["FacilitatorHook"], 16)

    def _rate_is_set(self) -> bool:
        """As the plan has it, and not past its time."""
        rate, plan = self.ask("FacilitatorHook", "rate"), self.plan
        if rate is None:
            return False
        e8, set_at, band, age, fee = rate
        now = int(self.rpc.now("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        wanted = (plan.rate_e8, plan.band_bps, plan.rate_max_age_s, plan.lp_fee_pips)
        return (e8, band, age, fee) == wanted and now < set_at + age

    def pool_price(self) -> int:
        """sqrt(currency1 / currency0) * 2**96; zero while there is no such pool."""
        return self._pool_word(0) & ((1 << 160) - 1)

    def liquidity(self) -> int:
        """v4 liquidity in range."""
        return self._pool_word(LIQUIDITY_OFFSET) & ((1 << 128) - 1)

    def _pool_word(self, offset: int) -> int:
        pools = d.keccak(d.pool_id(self.key) + POOLS_SLOT.to_bytes(32, "big"))
        slot = hex(int.from_bytes(pools, "big") + offset)
        word = self.rpc.now("eth_getStorageAt", self.at["PoolManager"], slot, "latest")
        return int(word, 16)

    def first_block(self) -> int:
        """The block the vault was created in, which holds its first log. Zero if none can tell."""
        vault = self.at["SettlementVault"]
        try:
            logs = self.rpc.now("eth_getLogs", {"address": vault, "fromBlock": "0x0"})
            return min((int(log["blockNumber"], 16) for log in logs), default=0)
        except ChainError:
            pass  # Public nodes limit the range: look for the code instead.
        low, high = 0, int(self.rpc.now("eth_blockNumber"), 16)
        try:
            while low < high:
                middle = (low + high) // 2
                there = self.rpc.now("eth_getCode", vault, hex(middle)) not in ("0x", None)
                low, high = (low, middle) if there else (middle + 1, high)
        except RpcFault:
            return 0  # A node without old states: the reader of logs begins at the beginning.
        return low

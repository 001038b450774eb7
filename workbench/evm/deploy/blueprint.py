"""The contracts of a plan before they exist: their addresses and their creation code."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from workbench.evm.build.artifacts import load
from workbench.evm.deploy.addresses import SALT, create2_address, create_address, mine_hook_salt
from workbench.evm.deploy.plan import BATCHER, DeploymentPlan


@dataclass(frozen=True)
class Blueprint:
    """The addresses and the creation code of a plan."""

    addresses: dict[str, str]
    """Addresses by contract name."""
    code: dict[str, bytes] = field(repr=False)
    """Creation code with constructor arguments, of each contract that we create by CREATE2. It
    lacks PermitPuller, which the vault's constructor creates, and Uniswap's own PoolManager."""
    hook_salt: bytes
    """The CREATE2 salt of FacilitatorHook."""

    def salt(self, name: str) -> bytes:
        """Return the CREATE2 salt of a contract."""
        return self.hook_salt if name == "FacilitatorHook" else SALT


@cache
def blueprint(plan: DeploymentPlan) -> Blueprint:
    """Return the addresses and code of a plan, which are the same on every chain."""
    addresses: dict[str, str] = {}
    code: dict[str, bytes] = {}

    def place(name: str, *arguments: str | int, mined: bool = False) -> bytes:
        words = (int(a, 16) if isinstance(a, str) else a for a in arguments)
        code[name] = load(name).bytecode + b"".join(word.to_bytes(32, "big") for word in words)
        salt = mine_hook_salt(code[name]) if mined else SALT
        addresses[name] = create2_address(code[name], salt)
        return salt

    admin = plan.deployer
    if plan.pool_manager:
        addresses["PoolManager"] = plan.pool_manager
    else:
        place("PoolManager", admin)
    place("MockUSDC", admin)
    place("MockEURC", admin)
    manager, usdc, eurc = (addresses[name] for name in ("PoolManager", "MockUSDC", "MockEURC"))
    place("YieldPoolShare", usdc)
    gates = (plan.finality_blocks, plan.grace_blocks)
    place("SettlementVault", manager, usdc, eurc, *gates, admin)
    addresses["PermitPuller"] = create_address(addresses["SettlementVault"])
    parts = (manager, addresses["SettlementVault"], usdc, eurc, admin)
    hook_salt = place("FacilitatorHook", *parts, mined=True)
    place("LiquiditySeeder", manager, admin)
    place("PoolBalancer", manager, eurc, plan.balancer)
    if plan.payout_batcher:
        place(BATCHER)
    return Blueprint(addresses, code, hook_salt)

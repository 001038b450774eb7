"""What to deploy (DeploymentPlan), what is deployed (Deployment), and what one run has done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from workbench.evm.deploy.pool import PoolKey, pool_key
from workbench.evm.transactions.test_keys import key_of

RESUME_HINT = "Run it again: it keeps what exists and does the rest."
NODE_LAG_LIMIT_S = 30.0
"""Longest wait for the nodes behind one public URL to agree on a new state."""
RECHECK_S = 0.5
"""Pause between two reads of that state."""

BATCHER = "PayoutBatcher"
"""The payouts' contract. It is the last one, so that a plan without it has the same beginning."""
CONTRACTS = (
    "PoolManager",
    "MockUSDC",
    "MockEURC",
    "YieldPoolShare",
    "SettlementVault",
    "PermitPuller",
    "FacilitatorHook",
    "LiquiditySeeder",
    "PoolBalancer",
    BATCHER,
)


@dataclass(frozen=True)
class DeploymentPlan:
    """The parameters of a deployment. Amounts are base units (USDC and EURC 6 decimals, YPS 18)."""

    deployer: str = key_of("deployer").address
    """Sends the transactions, and becomes the contracts' admin."""
    buyer: str = key_of("buyer").address
    seller: str = key_of("seller").address
    facilitator: str = key_of("facilitator").address
    """Receives FACILITATOR_ROLE of the vault."""
    keeper: str = key_of("keeper").address
    """Receives RATE_ROLE of the hook."""
    balancer: str = key_of("balancer").address
    """Owner of PoolBalancer."""
    finality_blocks: int = 2
    """Blocks from the swap until the facilitator may execute the settlement."""
    grace_blocks: int = 20
    """Further blocks until anyone may execute it."""
    rate_e8: int = 110_000_000
    """USDC per EURC times 10**8."""
    band_bps: int = 100
    """Largest distance of a swap's price from the rate, in basis points."""
    rate_max_age_s: int = 86_400
    """Seconds after which the hook refuses the rate as stale."""
    lp_fee_pips: int = 500
    """The pool's fee, in millionths."""
    pool_usdc: int = 10**9 * 10**6
    """Depth of the pool on its USDC side, over the full range. A swap of x USDC moves the price by
    about 2x / pool_usdc."""
    buyer_eurc: int = 10**7 * 10**6
    """EURC that the buyer holds at least."""
    buyer_usdc: int = 10**7 * 10**6
    """USDC that the buyer holds at least."""
    seller_yps: int = 10**7 * 10**18
    """YPS that the seller holds at least."""
    payout_batcher: bool = True
    """Whether to create a PayoutBatcher."""
    pool_manager: str = ""
    """Address of an existing v4 PoolManager; empty: create our own."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; large integers stay integers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` wrote. Raises TypeError for unknown fields."""
        return cls(**data)


@dataclass(frozen=True)
class Deployment:
    """Where everything is on one chain. These facts never change, so a file can hold them."""

    chain_id: int
    addresses: dict[str, str]
    """Addresses by contract name (see CONTRACTS)."""
    pool_id: str
    """v4's PoolId: 32 bytes as 0x hex."""
    hook_salt: str
    """The CREATE2 salt of FacilitatorHook: 32 bytes as 0x hex."""
    deploy_block: int
    """The first block that can hold a log of the vault."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` wrote. Raises TypeError or KeyError for anything else."""
        deployment = cls(**data)
        needed = [name for name in CONTRACTS if name != BATCHER]
        missing = [name for name in needed if name not in deployment.addresses]
        if missing:
            raise KeyError(f"no address of {', '.join(missing)}")
        return deployment

    def __getitem__(self, name: str) -> str:
        return self.addresses[name]

    @property
    def pool_key(self) -> PoolKey:
        """The key of the EURC/USDC pool."""
        return pool_key(self["MockUSDC"], self["MockEURC"], self["FacilitatorHook"])


@dataclass(frozen=True)
class DeploymentResult:
    """A deployment, and what one run has done for it."""

    deployment: Deployment
    created: tuple[str, ...]
    """Names of the contracts that this run created."""
    found: tuple[str, ...]
    """Names of the contracts that existed before."""
    transactions: int
    """How many transactions this run sent."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` wrote. Raises TypeError or KeyError for anything else."""
        return cls(
            Deployment.from_json(data["deployment"]),
            tuple(data["created"]),
            tuple(data["found"]),
            data["transactions"],
        )

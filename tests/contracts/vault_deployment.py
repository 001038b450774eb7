"""The contracts of a settlement on one chain, with their pool; and the terms of a settlement."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from math import isqrt
from typing import Any, Literal

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.contract import Contract

from tests.contracts.harness import (
    CREATE2_DEPLOYER,
    DEPLOYER,
    GENESIS_TIME,
    Anvil,
    Artifact,
    Chain,
    Party,
    Receipt,
    mine_address,
)

# Deadlines are fixed times and blocks are a second apart, so that signatures, and with
# them the gas of calldata, are the same in every run.
FUND_DEADLINE = GENESIS_TIME + 100_000
SWAP_DEADLINE = GENESIS_TIME + 200_000
FOREVER = GENESIS_TIME + 1_000_000

FINALITY_BLOCKS = 3
GRACE_BLOCKS = 5
RATE_E8 = 110_000_000
BAND_BPS = 100
MAX_AGE_S = 1_000_000
LP_FEE_PIPS = 500
TICK_SPACING = 10
FULL_RANGE = (-887_270, 887_270)
DEEP_LIQUIDITY = 10**15
DYNAMIC_FEE = 0x800000
HOOK_FLAGS = 0x20C0
ZERO_ADDRESS = "0x" + "00" * 20

STATUS = ("None", "Created", "Funded", "Swapped", "Executed", "Refunded")
NO_PERMIT = (0, 0, 0, bytes(32), bytes(32))
PermitTuple = tuple[int, int, int, bytes, bytes]
RECEIVE_KINDS = "address,address,uint256,uint256,uint256,bytes32"
Side = Literal["eurc_first", "usdc_first"]

ADMIN, FACILITATOR = DEPLOYER, Party("facilitator")
BUYER, SELLER, STRANGER = Party("buyer"), Party("seller"), Party("stranger")
BALANCER = Party("balancer")


@dataclass(frozen=True)
class Terms:
    """The struct of types/Terms.sol, member by member."""

    buyer: str
    seller: str
    asset: str
    assetAmount: int = 100 * 10**18
    requiredUsdc: int = 110_000_000
    maxEurc: int = 121_000_000
    fundDeadline: int = FUND_DEADLINE
    swapDeadline: int = SWAP_DEADLINE
    resourceHash: bytes = b"\x11" * 32
    salt: bytes = b"\x22" * 32

    @property
    def words(self) -> tuple[Any, ...]:
        return astuple(self)

    def altered(self, **changes: Any) -> Terms:
        return replace(self, **changes)


TERMS_TYPE = [
    {"name": f.name, "type": kind}
    for f, kind in zip(
        fields(Terms),
        ("address",) * 3 + ("uint256",) * 3 + ("uint64",) * 2 + ("bytes32",) * 2,
        strict=True,
    )
]


class VaultDeployment(Chain):
    """One deployment of everything. Two may share a node, one for each order of currencies."""

    def __init__(self, node: Anvil, artifacts: dict[str, Artifact], side: Side) -> None:
        super().__init__(node, artifacts)
        self.side = side
        self.contracts: dict[str, Contract] = {}
        self.deals: set[Terms] = set()
        self.ids: dict[tuple[str, Terms], bytes] = {}
        self.domains: dict[str, dict[str, Any]] = {}

    def deploy_hook(self, vault: str) -> Contract:
        """A FacilitatorHook for that vault, at an address with the right low bits."""
        initcode = bytes.fromhex(
            self.initcode(
                "FacilitatorHook",
                self.manager.address,
                vault,
                self.usdc.address,
                self.eurc.address,
                ADMIN.address,
            )[2:]
        )
        salt, address = mine_address(initcode, HOOK_FLAGS)
        self.send(CREATE2_DEPLOYER, "0x" + (salt + initcode).hex())
        return self.bind("FacilitatorHook", address)

    def build(self) -> None:
        """Deploys and wires everything, pool and deep liquidity included."""
        self.contracts["manager"] = self.deploy("PoolManager", ADMIN.address)
        self._deploy_fiat()
        self.contracts["shares"] = self.deploy("YieldPoolShare", self.usdc.address)
        self.contracts["seeder"] = self.deploy(
            "LiquiditySeeder", self.manager.address, ADMIN.address
        )
        self._endow()
        vault = self.deploy_vault()
        self.contracts["balancer"] = self.deploy(
            "PoolBalancer", self.manager.address, self.eurc.address, BALANCER.address
        )
        for token in (self.usdc, self.eurc):
            self.act(token, "mint", BALANCER.address, 10**17)
            self.act(token, "approve", self.balancer.address, 2**256 - 1, sender=BALANCER)
        self.replace_vault(vault)

    def replace_vault(self, vault: Contract) -> None:
        """Makes this vault the world's, with a puller, a hook and a deep pool of its own."""
        self.contracts["vault"] = vault
        self.contracts["puller"] = self.bind("PermitPuller", self.ask(vault, "puller"))
        self.contracts["hook"] = self.deploy_hook(vault.address)
        self.act(vault, "setHook", self.hook.address)
        self.act(vault, "setAsset", self.shares.address, True)
        self.set_rate()
        self.allow_balancer(self.balancer.address)
        self.act(self.manager, "initialize", self.pool_key(), self.sqrt_price())
        self.add_liquidity(DEEP_LIQUIDITY)

    def _deploy_fiat(self) -> None:
        """USDC and EURC in the order of addresses that this world is about."""
        usdc = self.deploy("MockUSDC", ADMIN.address)
        while True:
            eurc = self.deploy("MockEURC", ADMIN.address)
            if (eurc.address.lower() < usdc.address.lower()) == (self.side == "eurc_first"):
                break
        self.contracts |= {"usdc": usdc, "eurc": eurc}

    def deploy_vault(self, finality: int = FINALITY_BLOCKS, grace: int = GRACE_BLOCKS) -> Contract:
        """A vault without a hook, whose facilitator is ours."""
        vault = self.deploy(
            "SettlementVault",
            self.manager.address,
            self.usdc.address,
            self.eurc.address,
            finality,
            grace,
            ADMIN.address,
        )
        role = self.ask(vault, "FACILITATOR_ROLE")
        self.act(vault, "grantRole", role, FACILITATOR.address)
        return vault

    def _endow(self) -> None:
        """Money for everybody, and shares for the seller."""
        for token in (self.usdc, self.eurc):
            self.act(token, "mint", ADMIN.address, 10**17)
            self.act(token, "approve", self.seeder.address, 2**256 - 1)
        self.act(self.eurc, "mint", BUYER.address, 10**12)
        self.act(self.usdc, "mint", SELLER.address, 10**12)
        self.act(self.usdc, "approve", self.shares.address, 10**12, sender=SELLER)
        self.act(self.shares, "deposit", 10**11, SELLER.address, sender=SELLER)

    manager = property(lambda self: self.contracts["manager"])
    usdc = property(lambda self: self.contracts["usdc"])
    eurc = property(lambda self: self.contracts["eurc"])
    shares = property(lambda self: self.contracts["shares"])
    seeder = property(lambda self: self.contracts["seeder"])
    vault = property(lambda self: self.contracts["vault"])
    puller = property(lambda self: self.contracts["puller"])
    hook = property(lambda self: self.contracts["hook"])
    balancer = property(lambda self: self.contracts["balancer"])

    # ---- the pool

    @property
    def eurc_is_currency0(self) -> bool:
        return self.side == "eurc_first"

    def pool_key(self, **changes: Any) -> tuple[Any, ...]:
        """The pool's key, or one that is wrong on purpose."""
        pair = sorted((self.usdc.address, self.eurc.address), key=str.lower)
        key = {
            "currency0": pair[0],
            "currency1": pair[1],
            "fee": DYNAMIC_FEE,
            "tickSpacing": TICK_SPACING,
            "hooks": self.contracts["hook"].address,
        }
        return tuple((key | changes).values())

    def sqrt_price(self, rate_e8: int = RATE_E8) -> int:
        """v4's price of currency0 in currency1, from USDC for one EURC."""
        numerator, denominator = (rate_e8, 10**8) if self.eurc_is_currency0 else (10**8, rate_e8)
        return isqrt((numerator << 192) // denominator)

    def set_rate(
        self,
        rate_e8: int = RATE_E8,
        band_bps: int = BAND_BPS,
        max_age_s: int = MAX_AGE_S,
        lp_fee_pips: int = LP_FEE_PIPS,
    ) -> Receipt:
        return self.act(self.hook, "setRate", rate_e8, band_bps, max_age_s, lp_fee_pips)

    def add_liquidity(self, delta: int, ticks: tuple[int, int] = FULL_RANGE) -> Receipt:
        """Adds the admin's liquidity, or removes it where delta is negative."""
        return self.act(self.seeder, "modify", self.pool_key(), *ticks, delta)

    def allow_balancer(self, account: str) -> Receipt:
        """Gives an account the hook's BALANCER_ROLE."""
        return self.act(self.hook, "grantRole", self.ask(self.hook, "BALANCER_ROLE"), account)

    def rebalance(
        self, eurc_in: bool, amount: int, rate_e8: int = RATE_E8, sender: Party = BALANCER
    ) -> Receipt:
        """The balancer swaps `amount`, or less where the price comes to `rate_e8` first."""
        # v4's price is rounded down. One more, where it falls, and so never past the rate.
        limit = self.sqrt_price(rate_e8) + (eurc_in == self.eurc_is_currency0)
        key = self.pool_key()
        return self.act(self.balancer, "balance", key, eurc_in, amount, limit, sender=sender)

    def price_e8(self) -> int:
        """The pool's USDC for one EURC, times 10**8, rounded down: out of PoolManager's storage."""
        kinds = ["address", "address", "uint24", "int24", "address"]
        pool = keccak(encode(kinds, self.pool_key()))
        slot = "0x" + keccak(pool + (6).to_bytes(32, "big")).hex()
        word = self.node.rpc("eth_getStorageAt", self.manager.address, slot, "latest")
        square = (int(word, 16) & (2**160 - 1)) ** 2
        if self.eurc_is_currency0:
            return square * 10**8 >> 192
        return (10**8 << 192) // square

    # ---- signatures

"""The whole settlement machinery on a chain, its parties and the verbs of a settlement."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, fields, replace
from math import isqrt
from typing import Any, Literal

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.contract import Contract

from tests.contracts.harness import (
    CREATE2_DEPLOYER,
    DEPLOYER,
    GAS_LIMIT,
    GENESIS_TIME,
    Anvil,
    Artifact,
    Chain,
    Party,
    Receipt,
    mine_address,
    sign,
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


class World(Chain):
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

    def domain(self, contract: Contract) -> dict[str, Any]:
        """The EIP-712 domain that the contract itself reports (EIP-5267)."""
        if contract.address not in self.domains:
            _, name, version, chain_id, address, _, _ = self.ask(contract, "eip712Domain")
            words = ("name", "version", "chainId", "verifyingContract")
            values = (name, version, chain_id, address)
            self.domains[contract.address] = dict(zip(words, values, strict=True))
        return self.domains[contract.address]

    def sign_terms(self, terms: Terms, party: Party, **domain: Any) -> bytes:
        """A party's consent; altered domain fields make it a consent to something else."""
        message = {f.name: value for f, value in zip(fields(terms), terms.words, strict=True)}
        return sign(party, self.domain(self.vault) | domain, "Settlement", TERMS_TYPE, message)

    def permit(
        self,
        token: Contract,
        party: Party,
        value: int,
        deadline: int = FOREVER,
        nonce: int | None = None,
    ) -> PermitTuple:
        """An EIP-2612 permit for the puller."""
        if nonce is None:
            nonce = self.ask(token, "nonces", party.address)
        message = {
            "owner": party.address,
            "spender": self.puller.address,
            "value": value,
            "nonce": nonce,
            "deadline": deadline,
        }
        kinds = [
            ("owner", "address"),
            ("spender", "address"),
            ("value", "uint256"),
            ("nonce", "uint256"),
            ("deadline", "uint256"),
        ]
        types = [{"name": name, "type": kind} for name, kind in kinds]
        signature = sign(party, self.domain(token), "Permit", types, message)
        return (value, deadline, signature[64], signature[:32], signature[32:64])

    def authorise(self, terms: Terms, party: Party = BUYER, **changes: Any) -> bytes:
        """An ERC-3009 authorisation of the buyer's leg, valid from zero to FOREVER."""
        message = {
            "from": terms.buyer,
            "to": self.vault.address,
            "value": terms.maxEurc,
            "validAfter": 0,
            "validBefore": FOREVER,
            "nonce": self.id_of(terms),
        } | changes
        kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
        types = [{"name": name, "type": kind} for name, kind in zip(message, kinds, strict=True)]
        return sign(party, self.domain(self.eurc), "ReceiveWithAuthorization", types, message)

    def receive_with_authorization(
        self, terms: Terms, signature: bytes, sender: Party | str
    ) -> Receipt:
        """The token's own function, called by whoever tries."""
        words = (terms.buyer, self.vault.address, terms.maxEurc, 0, FOREVER, self.id_of(terms))
        overload = f"receiveWithAuthorization({RECEIVE_KINDS},bytes)"
        return self.act(self.eurc, overload, *words, signature, sender=sender)

    def cancel_authorization(self, terms: Terms, party: Party = BUYER) -> Receipt:
        """The buyer takes back what it signed with `authorise`."""
        message = {"authorizer": terms.buyer, "nonce": self.id_of(terms)}
        types = [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}]
        signed = sign(party, self.domain(self.eurc), "CancelAuthorization", types, message)
        parts = (signed[64], signed[:32], signed[32:64])
        return self.act(
            self.eurc, "cancelAuthorization", *message.values(), *parts, sender=STRANGER
        )

    # ---- a settlement

    def terms(self, **changes: Any) -> Terms:
        """The ordinary deal: 100 YPS for 110 USDC, at most 121 EURC."""
        return Terms(BUYER.address, SELLER.address, self.shares.address).altered(**changes)

    def id_of(self, terms: Terms) -> bytes:
        key = (self.vault.address, terms)
        if key not in self.ids:
            self.ids[key] = bytes(self.ask(self.vault, "settlementId", terms.words))
        return self.ids[key]

    def status_of(self, terms: Terms) -> str:
        return STATUS[self.ask(self.vault, "statusOf", self.id_of(terms))]

    def create(
        self,
        terms: Terms,
        sender: Party = SELLER,
        buyer_signature: bytes | None = None,
        seller_signature: bytes = b"",
    ) -> Receipt:
        if buyer_signature is None:
            buyer_signature = self.sign_terms(terms, BUYER)
        self.deals.add(terms)
        return self.act(
            self.vault,
            "createSettlement",
            terms.words,
            buyer_signature,
            seller_signature,
            sender=sender,
        )

    def fund(
        self,
        terms: Terms,
        buyer_permit: PermitTuple | None = None,
        seller_permit: PermitTuple | None = None,
        sender: Party = FACILITATOR,
    ) -> Receipt:
        """Funds by permits, made here unless given."""
        if buyer_permit is None:
            buyer_permit = self.permit(self.eurc, BUYER, terms.maxEurc)
        if seller_permit is None:
            seller_permit = self.permit(self.shares, SELLER, terms.assetAmount)
        return self.act(self.vault, "fund", terms.words, buyer_permit, seller_permit, sender=sender)

    def fund_with_authorization(
        self,
        terms: Terms,
        signature: bytes | None = None,
        seller_permit: PermitTuple | None = None,
        sender: Party = FACILITATOR,
    ) -> Receipt:
        if signature is None:
            signature = self.authorise(terms)
        if seller_permit is None:
            seller_permit = self.permit(self.shares, SELLER, terms.assetAmount)
        return self.act(
            self.vault,
            "fundWithAuthorization",
            terms.words,
            0,
            FOREVER,
            signature,
            seller_permit,
            sender=sender,
        )

    def swap(self, terms: Terms, sender: Party = FACILITATOR) -> Receipt:
        return self.act(self.vault, "executeSwap", terms.words, sender=sender)

    def execute(
        self,
        terms: Terms,
        block_hash: bytes = bytes(32),
        sender: Party = FACILITATOR,
        gas: int = GAS_LIMIT,
    ) -> Receipt:
        return self.act(
            self.vault, "executeSettlement", terms.words, block_hash, sender=sender, gas=gas
        )

    def refund(self, terms: Terms, reason: bytes = b"", sender: Party = FACILITATOR) -> Receipt:
        return self.act(self.vault, "refund", terms.words, reason.ljust(32, b"\0"), sender=sender)

    def reach(self, terms: Terms, status: str) -> Receipt | None:
        """Brings a new settlement to a status on the main path, final but not executed."""
        receipt = None
        for name, step in (("Created", self.create), ("Funded", self.fund), ("Swapped", self.swap)):
            if STATUS.index(status) >= STATUS.index(name):
                receipt = step(terms)
        if status == "Swapped":
            self.mine(FINALITY_BLOCKS - 1)
        return receipt

    # ---- balances and the invariants

    def balance(self, token: Contract, owner: Party | Contract | str) -> int:
        address = owner if isinstance(owner, str) else owner.address
        return int(self.ask(token, "balanceOf", address))

    def escrowed(self, token: Contract) -> int:
        return int(self.ask(self.vault, "escrowed", token.address))

    def claimable(self, token: Contract, owner: Party | str) -> int:
        address = owner if isinstance(owner, str) else owner.address
        return int(self.ask(self.vault, "claimable", token.address, address))

    def liabilities(self) -> Counter[str]:
        """What the vault owes by token, reckoned from the deals and not from `escrowed`."""
        owed: Counter[str] = Counter()
        for token in {deal.asset for deal in self.deals} | {self.usdc.address, self.eurc.address}:
            for owner in {deal.buyer for deal in self.deals} | {d.seller for d in self.deals}:
                owed[token] += self.ask(self.vault, "claimable", token, owner)
        for deal in self.deals:
            code, _, spent = self.ask(self.vault, "settlements", self.id_of(deal))
            if STATUS[code] == "Funded":
                owed += Counter({deal.asset: deal.assetAmount, self.eurc.address: deal.maxEurc})
            if STATUS[code] == "Swapped":
                owed += Counter({deal.asset: deal.assetAmount})
                owed += Counter({self.usdc.address: deal.requiredUsdc})
                owed += Counter({self.eurc.address: deal.maxEurc - spent})
        return owed

    def assert_conserved(self, *more_tokens: Contract, surplus: int = 0) -> None:
        """I1 and I8: the vault holds exactly what it owes, and its helpers hold nothing."""
        owed = self.liabilities()
        for token in (self.usdc, self.eurc, self.shares, *more_tokens):
            assert self.escrowed(token) == owed[token.address]
            assert self.balance(token, self.vault) == owed[token.address] + surplus
            for helper in (self.puller, self.hook, self.seeder, self.balancer):
                assert self.balance(token, helper) == 0

    def predicted_spend(
        self, usdc_out: int, fee_pips: int = LP_FEE_PIPS, liquidity: int = DEEP_LIQUIDITY
    ) -> int:
        """What an exact-output swap costs in the fresh full-range pool: v4's own rounding,
        written down a second time in integers (SqrtPriceMath, SwapMath)."""
        price, shifted = self.sqrt_price(), liquidity << 96
        if self.eurc_is_currency0:
            after = price - ceil_div(usdc_out << 96, liquidity)
            amount_in = ceil_div(ceil_div(shifted * (price - after), price), after)
        else:
            after = ceil_div(shifted * price, shifted - usdc_out * price)
            amount_in = ceil_div(liquidity * (after - price), 1 << 96)
        return amount_in + ceil_div(amount_in * fee_pips, 10**6 - fee_pips)


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)

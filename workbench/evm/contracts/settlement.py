"""The settlement contracts on one chain, behind the `SettlementContracts` port."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from eth_abi.abi import encode

from workbench.core.errors import ContractNotFound, WorkbenchError, WrongChain
from workbench.core.ports import Addresses, ContractCall, Head, PrecedingCall, ReferenceRate
from workbench.core.records import replace
from workbench.core.settlement import FACILITATOR_REASONS
from workbench.core.x402 import (
    DOMAIN_NAME,
    DOMAIN_VERSION,
    TERMS_TYPE,
    Domain,
    Payment,
    Permit,
    Terms,
    TransferAuthorization,
)
from workbench.evm.codec import abi, eip712, reverts
from workbench.evm.codec.abi import hex_bytes, number_of, to_hex
from workbench.evm.codec.fast_abi import EncodedStruct, keccak
from workbench.evm.codec.jsonrpc import invalid
from workbench.evm.contracts import funding
from workbench.evm.rpc.client import NodeRevert, Rpc
from workbench.evm.transactions.signer import recover

TERMS_STRUCT = f"Settlement({','.join(f'{kind} {name}' for kind, name in TERMS_TYPE)})"
RECEIVE_STRUCT = (
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce)"
)
ERC1271_MAGIC = bytes.fromhex("1626ba7e")
"""ERC-1271: the answer of isValidSignature(bytes32,bytes) for a valid signature; also its
selector."""
PERMIT_STRUCT = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
DYNAMIC_FEE, TICK_SPACING, POOLS_SLOT, LIQUIDITY_OFFSET = 0x800000, 10, 6, 3
RATE_SCALE = 10**8
ERC1271_GAS = 500_000
"""Gas of a signature check: more than any wallet needs, and a bound for hostile ones."""
ERC20 = "MockUSDC"
"""The ABI for ERC-20 and EIP-2612 functions of any token."""


class EvmChain:
    """Reads, digests and calls. One instance for each service. It holds no keys."""

    def __init__(self, rpc: Rpc, chain_id: int, addresses: Addresses) -> None:
        self.rpc, self.addresses = rpc, addresses
        self.domain = Domain(chain_id, addresses.vault)
        self._separators: dict[str, bytes] = {}
        self._gate: int | None = None
        self._read_before: set[tuple[str, str]] = set()

    async def check(self) -> None:
        """Raise WrongChain or ContractNotFound before any request is served."""
        chain_id = int(await self.rpc.call("eth_chainId"), 16)
        if chain_id != self.domain.chain_id:
            raise WrongChain(
                f"the node is on chain {chain_id}, the settings say {self.domain.chain_id}.",
                hint="Correct CHAIN_ID or the RPC URL.",
            )
        for name in Addresses.__dataclass_fields__:
            at = getattr(self.addresses, name)
            if await self.rpc.call("eth_getCode", at, "latest") in ("0x", None):
                raise ContractNotFound(
                    f"Contract not found: no code at {at} ({name}).",
                    hint="Set all contract addresses in .env, and deploy to this chain.",
                )

    # --- Reads ---

    async def head(self) -> Head:
        block = await self.rpc.call("eth_getBlockByNumber", "latest", False)
        return _head(block["number"], block["hash"], block["timestamp"])

    async def block_hash(self, number: int) -> str | None:
        block = await self.rpc.call("eth_getBlockByNumber", hex(number), False)
        return block["hash"] if block else None

    async def finality_gate(self) -> int:
        if self._gate is None:
            vault = self.addresses.vault
            (self._gate,) = await self._read("SettlementVault", vault, "finalityBlocks")
        return int(self._gate)

    async def rate(self) -> ReferenceRate:
        result = await self._read("FacilitatorHook", self.addresses.hook, "rate")
        e8, set_at, band, age, fee = result[0] if isinstance(result[0], tuple) else result
        return ReferenceRate(e8, set_at, age, band, fee)

    async def balance(self, token: str, owner: str) -> int:
        return int((await self._read(ERC20, token, "balanceOf", owner))[0])

    def foresee_balance(self, token: str, owner: str, *, next_block: bool = False) -> None:
        """See `core.ports.Chain.foresee_balance`."""
        data = _call_data(ERC20, "balanceOf", owner)
        asked = ("eth_call", {"to": token, "data": data}, "latest")
        if next_block:
            self.rpc.prefetch([asked])
        else:
            self.rpc.ask([asked])

    async def supply(self, token: str) -> int:
        """Return the total supply of a token, in base units."""
        return int((await self._read(ERC20, token, "totalSupply"))[0])

    async def allowance(self, token: str, owner: str) -> int:
        puller = self.addresses.puller
        return int((await self._read(ERC20, token, "allowance", owner, puller))[0])

    async def vault_word(self, name: str) -> Any:
        """Return a public value of the vault: `usdc`, `eurc`, `puller`, `hook`."""
        return (await self._read("SettlementVault", self.addresses.vault, name))[0]

    async def has_role(self, contract: str, at: str, role: str, account: str) -> bool:
        """Return True if `account` has a role such as FACILITATOR_ROLE (AccessControl)."""
        return bool((await self._read(contract, at, "hasRole", keccak(role.encode()), account))[0])

    async def pool_liquidity(self) -> int:
        """Return the liquidity in range of the EURC/USDC pool."""
        return await self._pool_word(LIQUIDITY_OFFSET) & (2**128 - 1)

    async def pool_price(self) -> int:
        """Return the pool's USDC for one EURC, times 10**8, rounded down, as FacilitatorHook
        computes it."""
        sqrt_x96 = await self._pool_word(0) & (2**160 - 1)
        if not sqrt_x96:
            raise ContractNotFound(
                "the EURC/USDC pool has no price: it is not initialised.",
                hint="`workbench deploy` initialises it; or correct the addresses of this chain.",
            )
        if self.addresses.eurc < self.addresses.usdc:
            return sqrt_x96 * sqrt_x96 * RATE_SCALE >> 192
        return (RATE_SCALE << 192) // (sqrt_x96 * sqrt_x96)

    async def _pool_word(self, offset: int) -> int:
        """Return a word of the EURC/USDC pool from PoolManager's storage.

        v4-core keeps pools by id in slot 6. The first word of a pool holds its price, the fourth
        its liquidity (`StateLibrary`).
        """
        vault = self.addresses.vault
        (manager,) = await self._read("SettlementVault", vault, "poolManager")
        low, high = sorted((self.addresses.usdc, self.addresses.eurc))
        kinds = ["address", "address", "uint24", "int24", "address"]
        key = encode(kinds, [low, high, DYNAMIC_FEE, TICK_SPACING, self.addresses.hook])
        state = int.from_bytes(keccak(keccak(key) + POOLS_SLOT.to_bytes(32, "big")), "big")
        word = await self.rpc.call("eth_getStorageAt", manager, hex(state + offset), "latest")
        return int(word, 16)

    async def status(self, identity: str) -> int:
        """Return the vault's number of a settlement's state: 0 none, 1 created, … 5 refunded."""
        vault = self.addresses.vault
        return int((await self._read("SettlementVault", vault, "statusOf", hex_bytes(identity)))[0])

    async def escrowed(self, token: str) -> int:
        """Return the vault's escrow of a token, in base units."""
        vault = self.addresses.vault
        return int((await self._read("SettlementVault", vault, "escrowed", token))[0])

    async def claimable(self, token: str, owner: str) -> int:
        """Return what the vault keeps for `owner` to claim, in base units."""
        vault = self.addresses.vault
        return int((await self._read("SettlementVault", vault, "claimable", token, owner))[0])

    async def all_claimable(self, token: str, owners: Sequence[str]) -> list[int]:
        """Return `claimable` of each owner, read in one batch."""
        at, name = self.addresses.vault, "claimable"
        datas = [abi.encode_call("SettlementVault", name, token, owner) for owner in owners]
        answers = await self.rpc.simulate_all([{"to": at, "data": to_hex(data)} for data in datas])
        for answer in answers:
            if isinstance(answer, WorkbenchError):
                raise answer
        return [number_of(answer) for answer in answers]

    async def _read(self, contract: str, at: str, function: str, *args: Any) -> tuple[Any, ...]:
        """Return the decoded answer of a contract read. Raises ContractNotFound for an empty
        one."""
        data = _call_data(contract, function, *args)
        try:
            raw = await self.rpc.call("eth_call", {"to": at, "data": data}, "latest")
        except NodeRevert as why:
            raise reverts.explain_revert(hex_bytes(why.data)) from why
        with suppress(*abi.DECODING_ERRORS):
            if raw != "0x":
                told = abi.decode_result(contract, function, hex_bytes(raw))
                self._read_before.add((at, function))
                return told
        if (at, function) in self._read_before:  # The contract exists, so the node is at fault.
            raise invalid("eth_call", f"it is nothing that {function}() returns")
        raise ContractNotFound(
            f"Contract not found: {at} has no {function}().",
            hint="Set all contract addresses in .env, and deploy to this chain.",
        )

    # --- Digests and signatures ---

    def terms_digest(self, terms: Terms) -> bytes:
        return _terms_digest(self.domain, terms)

    async def _separator(self, token: str) -> bytes:
        """Return the token's EIP-712 domain separator, computed once."""
        if token not in self._separators:
            # The domain version is "1" at OpenZeppelin and "2" at Circle: read it from the token
            # (EIP-5267).
            _, name, version, chain_id, at, _, _ = await self._read(ERC20, token, "eip712Domain")
            self._separators[token] = eip712.domain_separator(name, version, chain_id, at)
        return self._separators[token]

    async def permit_digest(self, token: str, owner: str, value: int, deadline: int) -> bytes:
        (nonce,) = await self._read(ERC20, token, "nonces", owner)
        kinds = ["address", "address", "uint256", "uint256", "uint256"]
        values = [owner, self.addresses.puller, value, nonce, deadline]
        return eip712.typed_digest(await self._separator(token), PERMIT_STRUCT, kinds, values)

    async def authorization_digest(self, terms: Terms, after: int, before: int) -> bytes:
        kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
        vault, nonce = self.addresses.vault, self.terms_digest(terms)
        values = [terms.buyer, vault, terms.max_eurc, after, before, nonce]
        separator = await self._separator(self.addresses.eurc)
        return eip712.typed_digest(separator, RECEIVE_STRUCT, kinds, values)

    async def token_digest(self, token: str, struct: str, kinds: list[str], values: Any) -> bytes:
        """Return the EIP-712 digest of a struct in the token's domain."""
        return eip712.typed_digest(await self._separator(token), struct, kinds, values)

    async def valid_signature(self, signer: str, digest: bytes, signature: str) -> bool:
        """Return True for a valid signature of an account or a contract wallet (ERC-1271)."""
        if recover(digest, signature) == signer:
            return True
        if await self.rpc.call("eth_getCode", signer, "latest") in ("0x", None):
            return False
        data = ERC1271_MAGIC + encode(["bytes32", "bytes"], [digest, hex_bytes(signature)])
        try:
            call = {"to": signer, "data": to_hex(data), "gas": hex(ERC1271_GAS)}
            told = await self.rpc.call("eth_call", call, "latest")
        except NodeRevert:
            return False
        return hex_bytes(told)[:32] == ERC1271_MAGIC.ljust(32, b"\0")

    async def payment_refusal(self, payment: Payment) -> WorkbenchError | None:
        """See `core.ports.Chain.payment_refusal`."""
        return await funding.refusal(self, payment, self._pull(payment))

    def _pull(self, payment: Payment) -> PrecedingCall:
        digest = self.terms_digest(payment.terms)
        return funding.pull(self.addresses.eurc, self.addresses.vault, payment, digest)

    def checksum(self, address: str) -> str:
        return checksum(address)

    def resource_hash(self, resource: str) -> str:
        return to_hex(keccak(resource.encode()))

    # --- Calls ---

    def create_settlement(self, terms: Terms, buyer_sig: str, seller_sig: str) -> ContractCall:
        signatures = (hex_bytes(buyer_sig), hex_bytes(seller_sig))
        return self._vault("create", "createSettlement", _abi_terms(terms), *signatures)

    def if_paid(self, call: ContractCall, payment: Payment) -> ContractCall:
        """See `core.ports.Chain.if_paid`."""
        return replace(call, also=self._pull(payment))

    def fund(self, terms: Terms, buyer: Permit, seller: Permit) -> ContractCall:
        return self._vault(
            "fund", "fund", _abi_terms(terms), _abi_permit(buyer), _abi_permit(seller)
        )

    def fund_with_authorization(
        self, terms: Terms, buyer: TransferAuthorization, seller: Permit
    ) -> ContractCall:
        window = (buyer.valid_after, buyer.valid_before, hex_bytes(buyer.signature))
        arguments = (_abi_terms(terms), *window, _abi_permit(seller))
        return self._vault("fund", "fundWithAuthorization", *arguments)

    def execute_swap(self, terms: Terms) -> ContractCall:
        return self._vault("swap", "executeSwap", _abi_terms(terms))

    def execute_settlement(self, terms: Terms, swap_block_hash: str) -> ContractCall:
        pin = hex_bytes(swap_block_hash)
        return self._vault("execute", "executeSettlement", _abi_terms(terms), pin)

    def refund(self, terms: Terms, reason: str) -> ContractCall:
        word = abi.text_to_word(reason[:FACILITATOR_REASONS])
        return self._vault("refund", "refund", _abi_terms(terms), word)

    def cancel(self, terms: Terms) -> ContractCall:
        """Return the cancellation, by buyer or seller, while the state is Created."""
        return self._vault("cancel", "cancel", _abi_terms(terms))

    def claim(self, token: str, to: str) -> ContractCall:
        """Return the claim of what is parked for the sender."""
        return self._vault("claim", "claim", token, to)

    def rescue(self, token: str, to: str) -> ContractCall:
        """Return the rescue of tokens that are owed to nobody, by the vault's admin."""
        return self._vault("rescue", "rescue", token, to)

    def set_rate(self, rate: ReferenceRate) -> ContractCall:
        values = (rate.usdc_per_eurc_e8, rate.band_bps, rate.max_age_s, rate.lp_fee_pips)
        data = abi.encode_call("FacilitatorHook", "setRate", *values)
        return ContractCall("set_rate", self.addresses.hook, data)

    def _vault(self, act: str, function: str, *arguments: Any) -> ContractCall:
        data = abi.encode_call("SettlementVault", function, *arguments)
        return ContractCall(act, self.addresses.vault, data)


@cache
def checksum(address: str) -> str:
    """Return an address in the mixed case of EIP-55."""
    digits = address.removeprefix("0x").lower()
    digest = keccak(digits.encode()).hex()
    pairs = zip(digits, digest, strict=False)
    return "0x" + "".join(c.upper() if int(h, 16) > 7 else c for c, h in pairs)


@lru_cache(64)
def _head(number: str, block_hash: str, timestamp: str) -> Head:
    return Head(int(number, 16), block_hash, int(timestamp, 16))


@lru_cache(1_024)
def _terms_digest(domain: Domain, terms: Terms) -> bytes:
    """Return the digest of terms. Cached: every step of a settlement needs it."""
    where = (DOMAIN_NAME, DOMAIN_VERSION, domain.chain_id, domain.vault)
    return eip712.struct_digest(eip712.domain_separator(*where), TERMS_STRUCT, _abi_terms(terms))


@lru_cache(1_024)
def _call_data(contract: str, function: str, *args: Any) -> str:
    """Return the calldata of a read as 0x hex. Cached, because most reads repeat."""
    return to_hex(abi.encode_call(contract, function, *args))


@lru_cache(1_024)
def _abi_terms(terms: Terms) -> EncodedStruct:
    """Return the encoded terms. Cached: one digest and four calls use them."""
    *plain, resource_hash, salt = terms.as_tuple()
    values = (*plain, hex_bytes(str(resource_hash)), hex_bytes(str(salt)))
    return eip712.encode_members([kind for kind, _ in TERMS_TYPE], values)


def _abi_permit(permit: Permit) -> tuple[Any, ...]:
    return (permit.value, permit.deadline, permit.v, hex_bytes(permit.r), hex_bytes(permit.s))

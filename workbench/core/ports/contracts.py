"""Ports of the chain: the settlement contracts, the node, the watcher of logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workbench.core.errors import WorkbenchError
from workbench.core.ports.transactions import ContractCall
from workbench.core.records import quick
from workbench.core.x402 import Domain, Payment, Permit, Terms, TransferAuthorization


@quick
@dataclass(frozen=True, slots=True)
class Head:
    """The newest block."""

    number: int
    hash: str
    timestamp: int
    """Unix seconds."""


@quick
@dataclass(frozen=True, slots=True)
class ReferenceRate:
    """The reference rate of the pool hook."""

    usdc_per_eurc_e8: int
    """USDC for one EURC, times 10**8."""
    set_at: int
    """Unix seconds."""
    max_age_s: int
    band_bps: int
    """Allowed distance of the executed rate, in 1/100 %."""
    lp_fee_pips: int
    """Fee of the pool, in 1/10,000 %."""

    def stale(self, now: int) -> bool:
        """True if the rate is too old at `now` (Unix seconds)."""
        return now > self.set_at + self.max_age_s


@quick
@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of the contracts, in lower case."""

    usdc: str
    eurc: str
    asset: str
    vault: str
    puller: str
    hook: str


class SettlementContracts(Protocol):
    """The settlement contracts on one chain: reads, digests, and calls ready to be sent."""

    addresses: Addresses
    domain: Domain

    async def head(self) -> Head: ...
    async def block_hash(self, number: int) -> str | None: ...
    async def finality_gate(self) -> int: ...
    async def rate(self) -> ReferenceRate: ...
    async def balance(self, token: str, owner: str) -> int: ...
    def foresee_balance(self, token: str, owner: str, *, next_block: bool = False) -> None:
        """Announce a read of a balance, so that a client may prefetch it.

        `next_block`: the read will happen after the next block.
        """

    async def allowance(self, token: str, owner: str) -> int:
        """Return what PermitPuller may pull, in base units."""

    async def permit_digest(self, token: str, owner: str, value: int, deadline: int) -> bytes:
        """Return the EIP-2612 digest for PermitPuller, with the owner's next nonce."""

    async def authorization_digest(self, terms: Terms, after: int, before: int) -> bytes:
        """Return the ERC-3009 ReceiveWithAuthorization digest of the budget; nonce = id."""

    def terms_digest(self, terms: Terms) -> bytes:
        """Return the EIP-712 digest of the terms. It is the settlement id."""

    async def valid_signature(self, signer: str, digest: bytes, signature: str) -> bool:
        """Check an ECDSA signature of an account, or an ERC-1271 signature of a contract."""

    async def payment_refusal(self, payment: Payment) -> WorkbenchError | None:
        """Simulate the transfer of the payment's budget to the vault. None: it would succeed.

        Otherwise returns InsufficientFunds, AuthorizationUsed, BadSignature or TokenRefused.
        Raises RpcUnreachable and RpcFault.
        """

    async def status(self, identity: str) -> int:
        """Return the vault's state of a settlement; see `lifecycle.CONTRACT_WORDS`."""

    def checksum(self, address: str) -> str:
        """Return the address with its EIP-55 checksum, which outside clients require."""

    def resource_hash(self, resource: str) -> str:
        """Return keccak256 of the resource's text, as 0x hex."""

    def create_settlement(self, terms: Terms, buyer_sig: str, seller_sig: str) -> ContractCall: ...
    def if_paid(self, call: ContractCall, payment: Payment) -> ContractCall:
        """Return the call with a simulated transfer of the budget that must succeed before it."""

    def fund(self, terms: Terms, buyer: Permit, seller: Permit) -> ContractCall: ...
    def fund_with_authorization(
        self, terms: Terms, buyer: TransferAuthorization, seller: Permit
    ) -> ContractCall: ...
    def execute_swap(self, terms: Terms) -> ContractCall: ...
    def execute_settlement(self, terms: Terms, swap_block_hash: str) -> ContractCall: ...
    def refund(self, terms: Terms, reason: str) -> ContractCall: ...
    def set_rate(self, rate: ReferenceRate) -> ContractCall: ...


@dataclass(frozen=True, slots=True)
class NodeState:
    """The newest block, and balances in it."""

    number: int
    timestamp: int
    """Unix seconds."""
    base_fee: int | None
    """Wei per gas. None on a chain without EIP-1559."""
    balances: dict[str, int]
    """Wei by account."""


class Node(Protocol):
    """The state of a node. Methods raise RpcUnreachable or RpcFault."""

    async def chain_id(self) -> int: ...
    async def state(self, accounts: Sequence[str]) -> NodeState: ...


class Watcher(Protocol):
    """Follows the logs of a chain."""

    async def poll(self) -> None:
        """Append the new facts and orphaned blocks to the journal, up to the head of the chain."""

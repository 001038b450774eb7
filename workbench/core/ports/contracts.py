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
    """The newest block: number, hash, Unix seconds."""

    number: int
    hash: str
    timestamp: int


@quick
@dataclass(frozen=True, slots=True)
class ReferenceRate:
    """The hook's reference rate: USDC per EURC × 1e8, Unix seconds, lifetime in seconds."""

    usdc_per_eurc_e8: int
    set_at: int
    max_age_s: int
    band_bps: int
    lp_fee_pips: int

    def stale(self, now: int) -> bool:
        return now > self.set_at + self.max_age_s


@quick
@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the contracts are, in lower case."""

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
        """A balance will be asked for: where the node can, it looks it up meanwhile.

        `next_block`: as it is then, and not before.
        """

    async def allowance(self, token: str, owner: str) -> int:
        """What PermitPuller may pull."""

    async def permit_digest(self, token: str, owner: str, value: int, deadline: int) -> bytes:
        """EIP-2612 digest for PermitPuller, with the owner's next nonce."""

    async def authorization_digest(self, terms: Terms, after: int, before: int) -> bytes:
        """ERC-3009 ReceiveWithAuthorization of the buyer's budget to the vault, nonce = id."""

    def terms_digest(self, terms: Terms) -> bytes:
        """EIP-712 digest: the settlement id."""

    async def valid_signature(self, signer: str, digest: bytes, signature: str) -> bool:
        """ECDSA of an account, or ERC-1271 of a contract."""

    async def payment_refusal(self, payment: Payment) -> WorkbenchError | None:
        """Why EURC would not move this payment's budget to the vault now, by a simulation.

        None if it would. Else InsufficientFunds, AuthorizationUsed, BadSignature or TokenRefused.
        Raises RpcUnreachable and RpcFault.
        """

    async def status(self, identity: str) -> int:
        """Where the vault says a settlement is: 0 none, 1 created, … 5 refunded."""

    def checksum(self, address: str) -> str:
        """The address as EIP-55 writes it: outside clients take no other form."""

    def resource_hash(self, resource: str) -> str:
        """keccak256 of the resource's text, as 0x hex."""

    def create_settlement(self, terms: Terms, buyer_sig: str, seller_sig: str) -> ContractCall: ...
    def if_paid(self, call: ContractCall, payment: Payment) -> ContractCall:
        """The call, refused before it is sent where EURC would not move the payment's budget."""

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
    """The newest block and what accounts hold in it.

    `timestamp`: Unix seconds. `base_fee`: wei of a gas, None on a chain without EIP-1559.
    `balances`: wei by account.
    """

    number: int
    timestamp: int
    base_fee: int | None
    balances: dict[str, int]


class Node(Protocol):
    """What can be asked of any node, about itself. Raises RpcUnreachable or RpcFault."""

    async def chain_id(self) -> int: ...
    async def state(self, accounts: Sequence[str]) -> NodeState: ...


class Watcher(Protocol):
    async def poll(self) -> None:
        """Bring the journal up to the chain's head: new facts, and orphaned blocks."""

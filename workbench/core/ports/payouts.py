"""Ports of the payout service: its ledger, its wallet, its payments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from workbench.core.facts import Event
from workbench.core.ledger import Account, LedgerTransfer
from workbench.core.payout import Payout, PayoutState, PayoutVerdict
from workbench.core.ports.store import StoreTransaction
from workbench.core.ports.transactions import ContractCall, Sender, Slot
from workbench.core.records import quick
from workbench.core.webhooks import WebhookDelivery


class PayoutSender(Sender, Protocol):
    """A sender that no other program shares its key with."""

    async def check(self) -> None:
        """Raise Quarantined if the chain has used nonces that the database does not know."""

    def suspicion(self) -> str:
        """Return a possible reason to stop, after one reading; "" if none. A second decides."""

    async def cancel(self, subject: str, act: str, attempt: int = 1) -> str:
        """Replace the transaction of the slot by a transfer of 0. Raises StateMoved if too late."""

    def capped(self) -> Sequence[str]:
        """Describe the pending transactions whose fee has reached its limit."""

    async def left_chain(self, slots: Sequence[Slot]) -> Sequence[Slot]:
        """Return the slots that were mined in a block that a reorg replaced."""

    async def reopen(self, slot: Slot, *, pays: bool) -> None:
        """Open a slot again that was final and no longer is: find it in another block or resend.

        `pays` False: the payout is no longer wanted, so the nonce is filled with a transfer of 0.
        """

    async def stop(self, nonce: int, reason: str) -> None:
        """Quarantine the signer until a person has checked the reason."""

    async def release(self, by: str, why: str) -> None:
        """End the quarantine: continue at the next nonce of the chain, and record a fact."""


@quick
@dataclass(frozen=True, slots=True)
class IdempotentAnswer:
    """The permanent answer under an idempotency key."""

    fingerprint: str
    """Digest of the request."""
    status: int
    """HTTP status."""
    body: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A fact as a row of the database."""

    id: str
    """See `core.facts.fact_id`."""
    type: str
    subject: str
    block_hash: str | None
    line: str
    """The JSON line of the fact."""


@quick
@dataclass(frozen=True, slots=True)
class SignerState:
    """A signer in the database."""

    first_nonce: int
    """The first nonce that this database used."""
    quarantine: str = ""
    """The reason of the quarantine; "" if there is none."""


@dataclass(frozen=True, slots=True)
class PayoutBacklog:
    """Totals of the payouts in some states."""

    count: int = 0
    credits: int = 0
    oldest_ms: int | None = None
    """When the oldest was requested, in Unix milliseconds. None: there is none."""

    def age_s(self, now_ms: int) -> int:
        """Return the age of the oldest, in seconds."""
        return 0 if self.oldest_ms is None else max(0, now_ms - self.oldest_ms) // 1000


class Ledger(StoreTransaction, Protocol):
    """A database transaction that also has accounts, transfers and payouts."""

    async def account(self, account_id: str) -> Account | None: ...
    async def accounts(self) -> Sequence[Account]: ...
    async def open_account(self, account: Account) -> None:
        """Insert an account; do nothing if it exists."""

    async def transfer(self, transfer: LedgerTransfer) -> None:
        """Append a transfer. Raises InsufficientCredits (overdraft) or LedgerRefused (a defect)."""

    async def transfer_all(self, lines: Sequence[LedgerTransfer]) -> None:
        """Append transfers in this order; see `transfer`."""

    async def transfers(
        self, after: int = 0, limit: int | None = None, account_id: str | None = None
    ) -> Sequence[tuple[int, str, LedgerTransfer]]:
        """Return (sequence number, hash, transfer) of the transfers after number `after`."""

    async def payout(self, payout_id: str) -> Payout | None: ...
    async def payouts_of(self, payout_ids: Sequence[str]) -> dict[str, Payout]:
        """Return the known payouts by id."""

    async def put_payout(self, payout: Payout) -> None:
        """Insert or replace."""

    async def move_payouts(self, moves: Sequence[tuple[Payout, Payout]]) -> None:
        """Replace (before, after) pairs. Raises StateMoved if a stored one is in another state."""

    async def final_payouts(
        self, chain_id: int, signer_address: str
    ) -> Sequence[tuple[Payout, Slot]]:
        """Return the open payouts whose nonce is used in a final block, with their slots."""

    async def payouts(
        self,
        *states: PayoutState,
        user_id: str | None = None,
        tx: str | None = None,
        batch: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Payout]:
        """Return payouts in these states (none: all), oldest first; of one user, newest first."""

    async def take_payouts(self, now_ms: int, until_ms: int, limit: int) -> Sequence[Payout]:
        """Reserve approved payouts, oldest first, until `until_ms` (Unix milliseconds).

        Payouts that another process is reserving at this moment are skipped.
        """

    async def give_back(self, payout_ids: Sequence[str], again_ms: int) -> None:
        """Release reserved payouts that were not signed. They are free again at `again_ms`."""

    async def count_nonces(self) -> int:
        """Count the nonces of open payouts. The payouts of a batch share one."""

    async def count_unmined(self, chain_id: int, signer_address: str) -> int:
        """Count the signed nonces that are in no block, including those after a reorg."""

    async def facts_of(self, payout_ids: Sequence[str]) -> dict[str, list[Event]]:
        """Return all facts of each payout, in journal order."""

    async def count_taken(self, at_ms: int) -> int:
        """Count the payouts that are reserved beyond `at_ms`."""

    async def count_payouts(self) -> dict[PayoutState, int]: ...
    async def backlog(self, *states: PayoutState) -> PayoutBacklog: ...
    async def credits_since(
        self, at_ms: int, *, user_id: str | None = None, address: str | None = None
    ) -> int:
        """Sum the credits of payouts requested after `at_ms` and not given back."""

    async def answered(self, scope: str, key: str) -> IdempotentAnswer | None: ...
    async def answer(
        self, scope: str, key: str, answered: IdempotentAnswer, at_ms: int
    ) -> None: ...
    async def signer(
        self, chain_id: int, address: str, *, locked: bool = False
    ) -> SignerState | None:
        """Return a signer. `locked`: other `locked` reads wait until this transaction ends."""

    async def put_signer(self, chain_id: int, address: str, standing: SignerState) -> None: ...
    async def reconciled(self) -> tuple[int, str] | None:
        """Return block and result (JSON) of the newest reconciliation."""

    async def reconcile(self, block: int, at_ms: int, data: str) -> None: ...
    async def delivery(self, endpoint: str) -> WebhookDelivery | None: ...
    async def put_delivery(self, delivery: WebhookDelivery) -> None:
        """Insert or replace."""

    async def to_tell(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Return (sequence number, fact) of facts for webhook subscribers, after `after`."""

    async def count_to_tell(self, after: int, limit: int) -> int:
        """Count the facts of `to_tell`, up to `limit`."""


class LedgerStorePort(Protocol):
    """The database of the payout service."""

    aliases: dict[str, str]
    """Stored user ids that are not in Unicode form NFC, by their NFC form."""

    @property
    def is_shared(self) -> bool:
        """True if several processes may sign at once. Otherwise only the lease holder signs."""

    def beside(self) -> AbstractAsyncContextManager[Ledger]:
        """Open a transaction that waits for no other one, for `take_payouts` only."""

    def unit(self) -> AbstractAsyncContextManager[Ledger]:
        """Open a transaction: commit on exit, roll back on an exception. Raises StoreError."""

    def version(self) -> object:
        """See `Store.version`."""

    def lease(self) -> bool:
        """Take the lease if it is free. True if this process holds it, until the process ends.

        The holder tracks sent transactions and reconciles.
        """


@quick
@dataclass(frozen=True, slots=True)
class Wallet:
    """The paying account at a block."""

    block: int
    asset: int
    """Base units of the asset."""
    native: int
    """Wei."""
    nonce: int


@quick
@dataclass(frozen=True, slots=True)
class WalletTransfer:
    """One transfer from or to the wallet in a final block."""

    tx: str
    log_index: int
    block: int
    incoming: bool
    amount: int
    """Base units."""


class BatchContract(Protocol):
    """A contract that makes many payouts in one transaction, each at most once."""

    address: str
    most: int
    """Largest number of payouts in one transaction."""

    async def check(self) -> None:
        """Raise ContractNotFound or InvalidSetting unless the right contract is at the address."""

    def name(self, payouts: Sequence[Payout]) -> str:
        """Return the id of a batch: a digest of its content."""

    def call(self, payouts: Sequence[Payout]) -> ContractCall:
        """Return the transaction that makes all these payouts."""

    async def would_pay(self, payouts: Sequence[Payout]) -> list[bool]:
        """Simulate: True for each payout that would succeed now, or was already paid."""

    async def may_move(self, units: int) -> bool:
        """True if the wallet's allowance covers `units`. The native currency needs none."""

    def allow(self) -> ContractCall:
        """Return the transaction that gives the contract this allowance."""


class Payments(Protocol):
    """One wallet that pays one asset on one chain."""

    asset: str
    """The asset of payouts, as stored with them."""
    native: str
    symbol: str
    decimals: int
    address: str
    token: str | None
    batcher: BatchContract | None
    """None: each payout has its own transaction."""

    def receiver(self, text: str) -> str:
        """Return a receiver's address in lower case. Raises InvalidAddress."""

    def checksum(self, address: str) -> str: ...
    def explorer(self, tx: str) -> str:
        """Return the URL of a block explorer page; "" if none is known."""

    async def check(self) -> None:
        """Raise WrongChain, ContractNotFound or InvalidSetting if payouts cannot be made."""

    async def call(self, payout: Payout) -> ContractCall:
        """Return the transaction of a payout, and allow the signer to sign it."""

    def authorize_signing(self, payout: Payout) -> None:
        """Allow the signer to sign for this payout, also again after a restart."""

    def revoke_signing(self, payout: Payout) -> None: ...
    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[PayoutVerdict]:
        """Return the verdict on each payout at the final block, over all attempts of its slot.

        Raises RpcUnreachable or RpcFault.
        """

    async def cost(self, slot: Slot) -> PayoutVerdict | None:
        """Return the cost of a final slot, whatever it did. None: not known yet."""

    async def wallet(self, final: bool = True) -> Wallet:
        """Return the wallet at the final block, or at the newest one."""

    async def movements(self, after: int, upto: int) -> Sequence[WalletTransfer]:
        """Return the token transfers of the wallet in blocks `after` to `upto`. Native: none."""

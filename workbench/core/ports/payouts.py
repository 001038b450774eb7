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
    """A sender whose key is nobody else's."""

    async def check(self) -> None:
        """Raise Quarantined if the chain has used nonces that our database does not know."""

    def suspicion(self) -> str:
        """What a first reading says against going on, "" for nothing: a second one decides."""

    async def cancel(self, subject: str, act: str, attempt: int = 1) -> str:
        """Put a transfer of nothing into the slot. Raises StateMoved where it is too late."""

    def capped(self) -> Sequence[str]:
        """What waits to be mined with a fee that cannot be raised any more, in words."""

    async def left_chain(self, slots: Sequence[Slot]) -> Sequence[Slot]:
        """Those that were mined in a block that the chain has replaced by another."""

    async def reopen(self, slot: Slot, *, pays: bool) -> None:
        """It was final, and is not: find it elsewhere, or send it again.

        `pays` False: what it did is not wanted any more, so nothing is done under its nonce.
        """

    async def stop(self, nonce: int, reason: str) -> None:
        """Quarantine the signer: something was found that a person must look at."""

    async def release(self, by: str, why: str) -> None:
        """A person has looked: the signer goes on at the chain's next nonce. A fact says so."""


@quick
@dataclass(frozen=True, slots=True)
class IdempotentAnswer:
    """What was answered under an idempotency key, for ever; `fingerprint` of what was asked."""

    fingerprint: str
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A fact as a database has it: its id (see `core.events.fact_id`), what it is looked for by,
    and its line of JSON."""

    id: str
    type: str
    subject: str
    block_hash: str | None
    line: str


@quick
@dataclass(frozen=True, slots=True)
class SignerState:
    """A signer in our database: its first nonce here, and why it stands still ("" if it acts)."""

    first_nonce: int
    quarantine: str = ""


@dataclass(frozen=True, slots=True)
class PayoutBacklog:
    """Payouts in some states: how many, their credits, and since when the oldest was asked for."""

    count: int = 0
    credits: int = 0
    oldest_ms: int | None = None

    def age_s(self, now_ms: int) -> int:
        """How long the oldest has waited, in seconds."""
        return 0 if self.oldest_ms is None else max(0, now_ms - self.oldest_ms) // 1000


class Ledger(StoreTransaction, Protocol):
    """A transaction of a store that also keeps accounts, transfers and payouts."""

    async def account(self, account_id: str) -> Account | None: ...
    async def accounts(self) -> Sequence[Account]: ...
    async def open_account(self, account: Account) -> None:
        """A new account, unless it is there."""

    async def transfer(self, transfer: LedgerTransfer) -> None:
        """One line more. Raises InsufficientCredits (an overdraft), LedgerRefused (nonsense)."""

    async def transfer_all(self, lines: Sequence[LedgerTransfer]) -> None:
        """`transfer` for each, in this order."""

    async def transfers(
        self, after: int = 0, limit: int | None = None, account_id: str | None = None
    ) -> Sequence[tuple[int, str, LedgerTransfer]]:
        """Lines by sequence number, with their hashes, those after `after` only."""

    async def payout(self, payout_id: str) -> Payout | None: ...
    async def payouts_of(self, payout_ids: Sequence[str]) -> dict[str, Payout]:
        """Those of these ids that there are, by id."""

    async def put_payout(self, payout: Payout) -> None:
        """Insert or replace."""

    async def move_payouts(self, moves: Sequence[tuple[Payout, Payout]]) -> None:
        """Replace each first one by its second. Raises StateMoved where one is in another state."""

    async def final_payouts(
        self, chain_id: int, signer_address: str
    ) -> Sequence[tuple[Payout, Slot]]:
        """Payouts that have a nonce and no end yet, though it is used in a final block."""

    async def payouts(
        self,
        *states: PayoutState,
        user_id: str | None = None,
        tx: str | None = None,
        batch: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Payout]:
        """Payouts in these states (none named: in any), oldest first; a user's newest first."""

    async def take_payouts(self, now_ms: int, until_ms: int, limit: int) -> Sequence[Payout]:
        """Approved payouts whose turn it is, oldest first: until then nobody else gets them.

        Where several processes share the work, those that another one is taking are passed over.
        """

    async def give_back(self, payout_ids: Sequence[str], again_ms: int) -> None:
        """Taken and not signed: whoever is next may take them, but not before `again_ms`."""

    async def count_nonces(self) -> int:
        """Nonces of payouts without an end; those of a batch have one."""

    async def count_unmined(self, chain_id: int, signer_address: str) -> int:
        """Nonces that are signed and in no block, also those that a reorg put back."""

    async def facts_of(self, payout_ids: Sequence[str]) -> dict[str, list[Event]]:
        """All facts about each of them, in order."""

    async def count_taken(self, at_ms: int) -> int:
        """Payouts that somebody is about to sign: taken until after that time."""

    async def count_payouts(self) -> dict[PayoutState, int]: ...
    async def backlog(self, *states: PayoutState) -> PayoutBacklog: ...
    async def credits_since(
        self, at_ms: int, *, user_id: str | None = None, address: str | None = None
    ) -> int:
        """Credits of payouts requested after `at_ms` that were not taken back."""

    async def answered(self, scope: str, key: str) -> IdempotentAnswer | None: ...
    async def answer(
        self, scope: str, key: str, answered: IdempotentAnswer, at_ms: int
    ) -> None: ...
    async def signer(
        self, chain_id: int, address: str, *, locked: bool = False
    ) -> SignerState | None:
        """`locked`: until this transaction ends, who else asks so waits: a nonce is being taken."""

    async def put_signer(self, chain_id: int, address: str, standing: SignerState) -> None: ...
    async def reconciled(self) -> tuple[int, str] | None:
        """Block and result (JSON) of the newest reconciliation."""

    async def reconcile(self, block: int, at_ms: int, data: str) -> None: ...
    async def delivery(self, endpoint: str) -> WebhookDelivery | None: ...
    async def put_delivery(self, delivery: WebhookDelivery) -> None:
        """Insert or replace."""

    async def to_tell(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Facts that subscribers are told, with their sequence numbers, those after `after`."""

    async def count_to_tell(self, after: int, limit: int) -> int:
        """How many those are; counted no further than `limit`."""


class LedgerStorePort(Protocol):
    """The payout service's database.

    `aliases`: the ids of users that are not in Unicode's form NFC, by their names that are.
    """

    aliases: dict[str, str]

    @property
    def is_shared(self) -> bool:
        """Whether several processes may sign at once. Else only the one with the lease does."""

    def beside(self) -> AbstractAsyncContextManager[Ledger]:
        """A unit that waits for no other one: for `take_payouts`; no fact and no line in it."""

    def unit(self) -> AbstractAsyncContextManager[Ledger]:
        """Commits on leaving, rolls back on an exception. Raises StoreError."""

    def version(self) -> object:
        """See `Store.version`."""

    def lease(self) -> bool:
        """Whether this process is the one that looks after what was sent, and reconciles.

        Taken if it is free, kept until the process ends.
        """


@quick
@dataclass(frozen=True, slots=True)
class Wallet:
    """The paying account at a final block: its balances in base units, its nonce."""

    block: int
    asset: int
    native: int
    nonce: int


@quick
@dataclass(frozen=True, slots=True)
class WalletTransfer:
    """One transfer out of the wallet, or into it, in a final block."""

    tx: str
    log_index: int
    block: int
    incoming: bool
    amount: int


class BatchContract(Protocol):
    """A contract that pays many in one transaction, and no payout twice."""

    address: str
    most: int

    async def check(self) -> None:
        """Raise ContractNotFound or InvalidSetting unless it is there, and is what it should be."""

    def name(self, payouts: Sequence[Payout]) -> str:
        """A batch's own name, by what is in it."""

    def call(self, payouts: Sequence[Payout]) -> ContractCall:
        """The one transaction that pays them all."""

    async def would_pay(self, payouts: Sequence[Payout]) -> list[bool]:
        """Which of them it would pay now, or has paid; the others it would tell as failed."""

    async def may_move(self, units: int) -> bool:
        """Whether the wallet's allowance covers so many units of the token; native needs none."""

    def allow(self) -> ContractCall:
        """The transaction that gives it that allowance."""


class Payments(Protocol):
    """One wallet that pays one asset on one chain. `batcher`: None where each is paid alone."""

    asset: str
    native: str
    symbol: str
    decimals: int
    address: str
    token: str | None
    batcher: BatchContract | None

    def receiver(self, text: str) -> str:
        """An address in lower case. Raises InvalidAddress for what cannot be one of a receiver."""

    def checksum(self, address: str) -> str: ...
    def explorer(self, tx: str) -> str:
        """A page about a transaction, "" where none is known."""

    async def check(self) -> None:
        """Raise WrongChain, ContractNotFound or InvalidSetting before anything is promised."""

    async def call(self, payout: Payout) -> ContractCall:
        """The transaction that pays it; from now on the signer may sign it."""

    def authorize_signing(self, payout: Payout) -> None:
        """The signer may sign for this payout (again, after a restart)."""

    def revoke_signing(self, payout: Payout) -> None: ...
    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[PayoutVerdict]:
        """What the final block says of each, read at that block for all attempts.

        Raises RpcUnreachable or RpcFault.
        """

    async def cost(self, slot: Slot) -> PayoutVerdict | None:
        """What a slot that is final has cost, whatever it did; None where that is not clear yet."""

    async def wallet(self, final: bool = True) -> Wallet:
        """At the final block, or at the newest."""

    async def movements(self, after: int, upto: int) -> Sequence[WalletTransfer]:
        """The token's transfers from and to the wallet in blocks after..upto; none for native."""

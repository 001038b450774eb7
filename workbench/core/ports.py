"""What services see of the world: a few Protocols, each with a small fake possible.

Everything that waits is async, and only async (agreement 1). Adapters live in `chain`, `store`,
`web` and `sim`; `app` alone wires them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from workbench.core import strict_json
from workbench.core.errors import InputError, WorkbenchError
from workbench.core.events import BlockRef, Event
from workbench.core.ledger import Account, Transfer
from workbench.core.payout import Payout, State, Verdict
from workbench.core.records import quick
from workbench.core.webhooks import Delivery
from workbench.core.x402 import (
    Authorization,
    Domain,
    Payment,
    Permit,
    Terms,
    TransferAuthorization,
)


class Clock(Protocol):
    """Time as a service may know it. Deadlines are judged by the chain's time, not by this."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    async def sleep(self, seconds: float) -> None: ...


class Randomness(Protocol):
    def token(self) -> str:
        """32 random bytes as 0x hex."""


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `url` is absolute for clients, a path for services. `client`: the address
    that asks, "" within this process."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client: str = ""

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON, each name once. Raises InputError."""
        try:
            return strict_json.loads(self.body)
        except strict_json.Refused as why:
            raise InputError(str(why), hint="Give each field once.") from why
        except (ValueError, RecursionError) as why:
            raise InputError("the body is not JSON.") from why


class Content(Protocol):
    """A body that is made when somebody asks for bytes: within one process nobody does."""

    def encoded(self) -> bytes: ...
    def data(self) -> Any:
        """What a reader of those bytes would find; not to be changed."""


@quick
@dataclass(frozen=True, slots=True)
class Json:
    """JSON-ready data as a body."""

    value: Any

    def encoded(self) -> bytes:
        return json.dumps(self.value).encode()

    def data(self) -> Any:
        return self.value


@quick
@dataclass(frozen=True, slots=True)
class Response:
    """`stream`, where set, follows the body until it ends or the client leaves."""

    status: int
    content: bytes | Content = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = field(default=None, compare=False)

    @classmethod
    def json(cls, status: int, data: Any) -> Response:
        return cls(status, Json(data), headers=(("Cache-Control", "no-store"),))

    @property
    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.encoded()

    def data(self) -> Any:
        """The body as JSON, not to be changed. Raises ValueError."""
        return json.loads(self.content) if isinstance(self.content, bytes) else self.content.data()


class Handler(Protocol):
    """Whatever answers requests."""

    name: str

    async def handle(self, request: Request) -> Response: ...


class Service(Handler, Protocol):
    """Seller, facilitator, tracker: one async function, and work of their own."""

    async def run(self) -> None:
        """Until cancelled."""


class Http(Protocol):
    async def send(self, request: Request) -> Response:
        """Raises PeerUnreachable."""


@quick
@dataclass(frozen=True, slots=True)
class Head:
    """The newest block: number, hash, Unix seconds."""

    number: int
    hash: str
    timestamp: int


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """A transaction's content, before it has a nonce: `act` is its name in facts.

    `gas`: what it is given at least, where an estimate could be too low. `also`: what is simulated
    with it.
    """

    act: str
    to: str
    data: bytes
    value: int = 0
    gas: int = 0
    also: Beside | None = None


@quick
@dataclass(frozen=True, slots=True)
class Beside:
    """A call of `sender` that must pass as well, or its transaction is not worth its gas.

    It is simulated beside the transaction, and never sent.
    """

    sender: str
    to: str
    data: bytes


class Within(Protocol):
    """What else belongs to the transaction (a Unit) that stores new slots; one for many acts."""

    async def refused(
        self, unit: Any, acts: Sequence[Act]
    ) -> dict[tuple[str, str, int], WorkbenchError]:
        """By key, those that may not be done any more, and why. They are not signed."""

    async def mark(self, unit: Any, slots: Sequence[Slot]) -> None:
        """The others are signed, and stored after this. What it raises (an error of ours) leaves
        no slot of the transaction."""


@quick
@dataclass(frozen=True, slots=True)
class Act:
    """A call to be made, once, under the key (subject, call's act, attempt).

    `within`: see there; in the transaction that stores the new slot.
    """

    subject: str
    call: Call
    attempt: int = 1
    within: Within | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.subject, self.call.act, self.attempt)


@quick
@dataclass(frozen=True, slots=True)
class Rate:
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


class Chain(Protocol):
    """The settlement contracts on one chain: reads, digests, and calls ready to be sent."""

    addresses: Addresses
    domain: Domain

    async def head(self) -> Head: ...
    async def block_hash(self, number: int) -> str | None: ...
    async def finality_gate(self) -> int: ...
    async def rate(self) -> Rate: ...
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

    def create_settlement(self, terms: Terms, buyer_sig: str, seller_sig: str) -> Call: ...
    def if_paid(self, call: Call, payment: Payment) -> Call:
        """The call, refused before it is sent where EURC would not move the payment's budget."""

    def fund(self, terms: Terms, buyer: Permit, seller: Permit) -> Call: ...
    def fund_with_authorization(
        self, terms: Terms, buyer: TransferAuthorization, seller: Permit
    ) -> Call: ...
    def execute_swap(self, terms: Terms) -> Call: ...
    def execute_settlement(self, terms: Terms, swap_block_hash: str) -> Call: ...
    def refund(self, terms: Terms, reason: str) -> Call: ...
    def set_rate(self, rate: Rate) -> Call: ...


class Signer(Protocol):
    """Holds one key, which never leaves it."""

    address: str

    def sign_digest(self, digest: bytes) -> str:
        """r ‖ s ‖ v, 65 bytes as 0x hex."""

    def sign_permit(self, digest: bytes, value: int, deadline: int) -> Permit: ...
    def sign_transaction(self, fields: dict[str, Any]) -> tuple[str, str]:
        """EIP-1559 transaction: its raw bytes and its hash, as 0x hex."""


class Sender(Protocol):
    """One signer's nonce slots. Acts are keyed, so that asking twice acts once."""

    address: str

    async def submit(self, subject: str, call: Call, attempt: int = 1) -> str:
        """Sign, store and send `call` under the key (subject, act, attempt): its tx hash.

        A key that has a slot already gets its hash back. Raises what the node's simulation says
        before any slot is taken.
        """

    async def submit_many(self, acts: Sequence[Act]) -> list[str | WorkbenchError]:
        """`submit` for each, in this order: its tx hash, or the error that it would have raised.

        Those whose simulation fails take no slot and hold up nobody else.
        """

    async def pump(self) -> None:
        """Look after open slots: receipts, finality, sending again."""

    async def mined(self, subject: str, act: str, attempt: int, timeout_s: float) -> BlockRef:
        """Wait until the act is mined. Raises TransactionTimeout, or the revert's error."""


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


class Reports(Protocol):
    """Where the state of a check is reported, by its name; see `services.common.checks`."""

    def ok(self, name: str, key: str = "") -> None:
        """The check has succeeded; with `key`, for that one of several things."""

    def fails(self, name: str, reason: str, key: str = "") -> None:
        """The check has failed, or could not run, because of `reason` (one sentence)."""


class Unreported:
    """Reports that nobody reads: of a part that is used outside a service."""

    def ok(self, name: str, key: str = "") -> None: ...
    def fails(self, name: str, reason: str, key: str = "") -> None: ...


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


class SlotState(Enum):
    """The life of a nonce slot. Only FINAL and LOST are ends."""

    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    LOST = "lost"

    __hash__ = object.__hash__  # As `core.settlement.State`.


OPEN_SLOTS = (SlotState.SIGNED, SlotState.SENT, SlotState.MINED)


@quick
@dataclass(frozen=True, slots=True)
class Attempt:
    """One set of signed bytes for a slot; `tx` is their hash."""

    tx: str
    raw: str


@quick
@dataclass(frozen=True, slots=True)
class Slot:
    """One nonce of one signer, and the one act it stands for: (subject, act, attempt) is unique.

    All attempts of a slot carry the same act, so the chain executes it at most once.
    """

    chain_id: int
    signer: str
    nonce: int
    subject: str
    act: str
    attempt: int
    state: SlotState
    attempts: tuple[Attempt, ...]
    sent_ms: int = 0
    ok: bool = True
    block: BlockRef | None = None

    @property
    def tx(self) -> str:
        """The transaction that was mined, else the newest attempt."""
        return self.block.tx if self.block else self.attempts[-1].tx


class Unit(Protocol):
    """One database transaction: rows and facts together, or not at all."""

    async def record(self, fact: Event) -> bool:
        """Append to the journal. False if that very fact already stands there."""

    async def record_all(self, facts: Sequence[Event]) -> None:
        """`record` for each, in this order."""

    async def facts(
        self, after: int = 0, subject: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[int, Event]]:
        """Facts with their sequence numbers, in order, those after `after` only."""

    async def standing(self, subject: str) -> Sequence[Event]:
        """The facts about a subject that still stand (see `core.events.canonical`)."""

    async def facts_in_block(self, block_hash: str) -> Sequence[Event]: ...
    async def last_seq(self) -> int:
        """Sequence number of the newest fact, 0 for an empty journal."""

    async def authorization(self, settlement_id: str) -> Authorization | None: ...
    async def authorize(self, authorization: Authorization) -> bool:
        """Claim the settlement id and its offer for ever. False if either was claimed before."""

    async def sold(self, offer: str) -> str | None:
        """The settlement id that has claimed an offer (`Authorization.offer`)."""

    async def slot(self, chain_id: int, signer: str, key: tuple[str, str, int]) -> Slot | None:
        """The slot of (subject, act, attempt), if it was ever signed."""

    async def slots(self, chain_id: int, signer: str, *states: SlotState) -> Sequence[Slot]:
        """Slots in these states, by nonce."""

    async def slots_from(self, chain_id: int, signer: str, nonce: int) -> Sequence[Slot]:
        """All from this nonce on, by nonce."""

    async def next_nonce(self, chain_id: int, signer: str) -> int:
        """One above the highest stored nonce; 0 if there is none."""

    async def put_slot(self, slot: Slot) -> None:
        """Insert or replace, with all its attempts."""

    async def take_slots(self, slots: Sequence[Slot]) -> None:
        """Insert all. Raises StoreError where one is taken, its nonce or its key."""

    async def move_slots(self, moves: Sequence[tuple[Slot, Slot]]) -> list[bool]:
        """Replace each `before` by its `after`. False for what is not any more as it was."""

    async def unproven(self, after: int) -> Sequence[Event]:
        """Standing facts after `after` about blocks that the watcher neither saw nor read."""

    async def last_block(self, below: int | None = None) -> tuple[int, str] | None:
        """Number and hash of the newest block (below a number) that the watcher took in."""

    async def see_block(self, number: int, block_hash: str) -> None: ...
    async def unsee_block(self, number: int) -> None: ...


class Store(Protocol):
    """One service's one database."""

    def version(self) -> object:
        """Another one whenever something was committed, by whomever."""

    def unit(self) -> AbstractAsyncContextManager[Unit]:
        """Commits on leaving, rolls back on an exception. Raises StoreError."""


@quick
@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered under an idempotency key, for ever; `fingerprint` of what was asked."""

    fingerprint: str
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Written:
    """A fact as a database has it: its id (see `core.events.fact_id`), what it is looked for by,
    and its line of JSON."""

    id: str
    type: str
    subject: str
    block_hash: str | None
    line: str


@quick
@dataclass(frozen=True, slots=True)
class Standing:
    """A signer in our database: its first nonce here, and why it stands still ("" if it acts)."""

    first_nonce: int
    quarantine: str = ""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Payouts in some states: how many, their credits, and since when the oldest was asked for."""

    count: int = 0
    credits: int = 0
    oldest_ms: int | None = None

    def age_s(self, now_ms: int) -> int:
        """How long the oldest has waited, in seconds."""
        return 0 if self.oldest_ms is None else max(0, now_ms - self.oldest_ms) // 1000


class Ledger(Unit, Protocol):
    """A transaction of a store that also keeps accounts, transfers and payouts."""

    async def account(self, account_id: str) -> Account | None: ...
    async def accounts(self) -> Sequence[Account]: ...
    async def open_account(self, account: Account) -> None:
        """A new account, unless it is there."""

    async def transfer(self, transfer: Transfer) -> None:
        """One line more. Raises InsufficientCredits (an overdraft), LedgerRefused (nonsense)."""

    async def transfer_all(self, lines: Sequence[Transfer]) -> None:
        """`transfer` for each, in this order."""

    async def transfers(
        self, after: int = 0, limit: int | None = None, account_id: str | None = None
    ) -> Sequence[tuple[int, str, Transfer]]:
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
        *states: State,
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

    async def count_payouts(self) -> dict[State, int]: ...
    async def backlog(self, *states: State) -> Backlog: ...
    async def credits_since(
        self, at_ms: int, *, user_id: str | None = None, address: str | None = None
    ) -> int:
        """Credits of payouts requested after `at_ms` that were not taken back."""

    async def answered(self, scope: str, key: str) -> Answered | None: ...
    async def answer(self, scope: str, key: str, answered: Answered, at_ms: int) -> None: ...
    async def signer(self, chain_id: int, address: str, *, locked: bool = False) -> Standing | None:
        """`locked`: until this transaction ends, who else asks so waits: a nonce is being taken."""

    async def put_signer(self, chain_id: int, address: str, standing: Standing) -> None: ...
    async def reconciled(self) -> tuple[int, str] | None:
        """Block and result (JSON) of the newest reconciliation."""

    async def reconcile(self, block: int, at_ms: int, data: str) -> None: ...
    async def delivery(self, endpoint: str) -> Delivery | None: ...
    async def put_delivery(self, delivery: Delivery) -> None:
        """Insert or replace."""

    async def to_tell(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Facts that subscribers are told, with their sequence numbers, those after `after`."""

    async def count_to_tell(self, after: int, limit: int) -> int:
        """How many those are; counted no further than `limit`."""


class LedgerBook(Protocol):
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
class Movement:
    """One transfer out of the wallet, or into it, in a final block."""

    tx: str
    log_index: int
    block: int
    incoming: bool
    amount: int


class Batcher(Protocol):
    """A contract that pays many in one transaction, and no payout twice."""

    address: str
    most: int

    async def check(self) -> None:
        """Raise ContractNotFound or InvalidSetting unless it is there, and is what it should be."""

    def name(self, payouts: Sequence[Payout]) -> str:
        """A batch's own name, by what is in it."""

    def call(self, payouts: Sequence[Payout]) -> Call:
        """The one transaction that pays them all."""

    async def would_pay(self, payouts: Sequence[Payout]) -> list[bool]:
        """Which of them it would pay now, or has paid; the others it would tell as failed."""

    async def may_move(self, units: int) -> bool:
        """Whether the wallet's allowance covers so many units of the token; native needs none."""

    def allow(self) -> Call:
        """The transaction that gives it that allowance."""


class Payments(Protocol):
    """One wallet that pays one asset on one chain. `batcher`: None where each is paid alone."""

    asset: str
    native: str
    symbol: str
    decimals: int
    address: str
    token: str | None
    batcher: Batcher | None

    def receiver(self, text: str) -> str:
        """An address in lower case. Raises InvalidAddress for what cannot be one of a receiver."""

    def checksum(self, address: str) -> str: ...
    def explorer(self, tx: str) -> str:
        """A page about a transaction, "" where none is known."""

    async def check(self) -> None:
        """Raise WrongChain, ContractNotFound or InvalidSetting before anything is promised."""

    async def call(self, payout: Payout) -> Call:
        """The transaction that pays it; from now on the signer may sign it."""

    def expect(self, payout: Payout) -> None:
        """The signer may sign for this payout (again, after a restart)."""

    def forget(self, payout: Payout) -> None: ...
    async def judge(self, cases: Sequence[tuple[Payout, Slot]]) -> list[Verdict]:
        """What the final block says of each, read at that block for all attempts.

        Raises RpcUnreachable or RpcFault.
        """

    async def cost(self, slot: Slot) -> Verdict | None:
        """What a slot that is final has cost, whatever it did; None where that is not clear yet."""

    async def wallet(self, final: bool = True) -> Wallet:
        """At the final block, or at the newest."""

    async def movements(self, after: int, upto: int) -> Sequence[Movement]:
        """The token's transfers from and to the wallet in blocks after..upto; none for native."""

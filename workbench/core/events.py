"""Every fact the workbench can know: one frozen record each, named in the past tense.

Contract event = class here = journal `type` = frame `type` = chart label. To add a fact, add a
class; journal, frames, tracker and charts take it from `Event.kinds`. A class whose `contract` is
set is decoded from that contract's event of the same name: camelCase arguments become snake_case
fields, `settlementId` becomes `subject`, a struct is flattened into its members.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from workbench.core.errors import StoreError
from workbench.core.records import compiled, quick


@quick
@dataclass(frozen=True, slots=True)
class BlockRef:
    """Where on the chain a fact was seen. An orphaned block takes its facts with it.

    `log_index` is the log's index in the block, -1 for facts about a whole transaction.
    """

    number: int
    hash: str
    tx: str
    log_index: int


class _Written:
    """Where a fact keeps its line and that line's id, once somebody asked: it never changes."""

    __slots__ = ("_id", "_line")
    _line: str
    _id: str


_keep_line: Callable[[Any, str], None] = _Written.__dict__["_line"].__set__
_keep_id: Callable[[Any, str], None] = _Written.__dict__["_id"].__set__


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(_Written):
    """What all facts share.

    `subject`: the settlement, payout, quote or block the fact is about (0x hex, or "").
    `at_ms`: Unix milliseconds; the block's time for chain facts. `source`: who emitted it.
    """

    subject: str
    at_ms: int
    source: str
    block: BlockRef | None = None

    kinds: ClassVar[dict[str, type[Event]]] = {}
    contract: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        Event.kinds[cls.__name__] = cls

    @property
    def type(self) -> str:
        return type(self).__name__


# --- The seller, off chain ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequested(Event):
    """HTTP 402 was answered. The subject is the quote: the salt of the offered terms."""

    seller: str
    asset: str
    asset_amount: int
    required_usdc: int
    fund_deadline: int
    swap_deadline: int
    resource_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAuthorized(Event):
    """The seller claimed the buyer's signed terms."""

    quote: str
    buyer: str
    seller: str
    asset: str
    asset_amount: int
    required_usdc: int
    max_eurc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRejected(Event):
    """The payment was claimed, and then could not be brought on chain."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDelivered(Event):
    """The seller saw the execution with all its confirmations."""

    buyer: str
    asset_amount: int


# --- The vault and the hook ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementCreated(Event):
    contract: ClassVar[str] = "SettlementVault"
    buyer: str
    seller: str
    asset: str
    asset_amount: int
    required_usdc: int
    max_eurc: int
    fund_deadline: int
    swap_deadline: int
    resource_hash: str
    salt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementFunded(Event):
    contract: ClassVar[str] = "SettlementVault"
    eurc_amount: int
    asset_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementSwapped(Event):
    contract: ClassVar[str] = "SettlementVault"
    eurc_spent: int
    usdc_received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementExecuted(Event):
    contract: ClassVar[str] = "SettlementVault"
    asset_to_buyer: int
    usdc_to_seller: int
    eurc_returned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRefunded(Event):
    contract: ClassVar[str] = "SettlementVault"
    eurc_returned: int
    asset_returned: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentParked(Event):
    """A token refused a push; the amount waits in the vault for its owner to `claim`."""

    contract: ClassVar[str] = "SettlementVault"
    token: str
    owner: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSwapChecked(Event):
    """The pool's side of the swap, as the hook measured it."""

    contract: ClassVar[str] = "FacilitatorHook"
    pool_id: str
    eurc_in: int
    usdc_out: int
    reference_rate_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBalanced(Event):
    """A balancer brought the pool's price nearer to the reference rate. About no settlement.

    `eurc_in` is below zero where EURC came out, `usdc_out` where USDC went in. Prices are USDC for
    one EURC, times 10**8, rounded down.
    """

    contract: ClassVar[str] = "FacilitatorHook"
    pool_id: str
    balancer: str
    eurc_in: int
    usdc_out: int
    price_before_e8: int
    price_after_e8: int
    reference_rate_e8: int


# --- The watcher ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityReached(Event):
    """The swap has its confirmations, and its block still has the hash that was first seen."""

    swap_block: int
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOrphaned(Event):
    """The chain took back a block. The subject is its hash; nothing is ever deleted."""

    number: int


# --- The sender -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSigned(Event):
    """A nonce slot has its first bytes, stored before anything was sent."""

    act: str
    signer: str
    nonce: int
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSent(Event):
    act: str
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionMined(Event):
    act: str
    tx: str
    ok: bool
    gas_used: int
    gas_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReplaced(Event):
    act: str
    tx: str
    old_tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFinalized(Event):
    act: str
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFailed(Event):
    """An act was refused: by the node's simulation (no `tx`) or on the chain (`tx` reverted)."""

    act: str
    tx: str
    code: str
    message: str
    transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerQuarantined(Event):
    """Somebody else used our signer's nonce. Nothing more is signed until a person looks."""

    signer: str
    nonce: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerReleased(Event):
    """A person lets a quarantined signer go on. `reason`: why it stood still."""

    signer: str
    reason: str
    by: str
    why: str


# --- The simulator --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(Event):
    """A fault was made to happen. `source`: `simulator` (drawn by chance) or `hand` (ordered).

    The subject is the settlement it hit, or the name of the simulated buyer, where one of them is
    known. `site`: its name in scenario files. `target`: the message, service or chain it hit.
    `parameter`: in the site's own unit (see `scenario.FAULT_SITES`). `tx`: the hash of the
    transaction it hit, or "".
    """

    site: str
    target: str
    parameter: int
    tx: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOrdered(Event):
    """A person ordered a fault while the run went on. `at_ms`: the moment from which it may fire.

    `passes`: how many of the site's next passes it hits, those alone whose target contains `target`
    ("": any). `parameter`: in the site's own unit.
    """

    site: str
    parameter: int
    passes: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRestarted(Event):
    """A service that had crashed is back, from what its store holds. `target`: its name."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMoved(Event):
    """The market's EUR/USD: USDC for one EURC, times 10**8."""

    usdc_per_eurc_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerPlanned(Event):
    """The scenario ordered this buyer, who comes once. The subject is the buyer's name.

    `comes_ms`: when (Unix milliseconds). `address`: the account it pays from. `units`: base units
    of the asset that it wants.
    """

    kind: str
    address: str
    comes_ms: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerServed(Event):
    """A simulated buyer has done what it came for. The subject is the buyer's name.

    `settlement_id`: what it followed to its end, and `status`, how that was: `executed`, `refunded`
    or `rejected`. Both are empty for one who only asks for the price.
    """

    kind: str
    settlement_id: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerGaveUp(Event):
    """A simulated buyer saw no end of its purchase. The subject is the buyer's name.

    `code`: the error's; `out_of_time` where the scenario ended, or was stopped, before.
    `settlement_id`: the settlement that it had authorized, or "". `address`: its account.
    """

    kind: str
    code: str
    message: str
    settlement_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutAnswered(Event):
    """A simulated user's request for a payout came to an answer, or to none.

    The subject is the payout, or the user's name where there is none. `status`: of HTTP, 0 for no
    answer in time; `code`: the error's. `replayed`: it is the answer of an earlier request.
    """

    user_id: str
    kind: str
    status: int
    code: str
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantBroken(Event):
    """What must always hold did not. The subject is the settlement it is about, if it is one."""

    invariant: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceObserved(Event):
    """An account's balance at the end of a run, in base units."""

    account: str
    token: str
    amount: int


# --- Payouts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsEarned(Event):
    """A user's balance grew. The subject is the ledger's transfer."""

    user_id: str
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequested(Event):
    """`units`: base units of `asset` that these credits are worth; `key`: its idempotency key."""

    user_id: str
    key: str
    address: str
    credits: int
    units: int
    asset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutHeld(Event):
    """The credits are set aside: nobody can spend them twice."""

    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutApproved(Event):
    """It may be sent. `by`: `rules`, or a person."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutBatched(Event):
    """It is signed together with others, in one transaction; `place` is its own among them."""

    batch: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceGiven(Event):
    """In a final block: the contract that pays batches may move the wallet's token."""

    tx: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSent(Event):
    """It has a nonce and signed bytes, stored together with this fact."""

    signer: str
    nonce: int
    tx: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutPaid(Event):
    """In a final block: status, transfer and amount are what was owed. The credits are spent."""

    tx: str
    units: int
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRefunded(Event):
    """In a final block: its nonce is used, and nothing was paid. The credits are back."""

    tx: str
    reason: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCancelled(Event):
    """Taken back before it was signed, or by a no-op of the same nonce. The credits are back."""

    tx: str
    reason: str
    gas_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutMismatched(Event):
    """In a final block: its transaction moved something else than what was owed.

    `moved`: base units that left the wallet. A person decides what it counts as.
    """

    tx: str
    reason: str
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutResolved(Event):
    """A person has decided what a payout counts as; the payout's last fact follows.

    `outcome`: `paid` or `refunded`. `by`, `why`: who said so, and the reason given.
    """

    outcome: str
    by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutOrphaned(Event):
    """The block of its transaction has left the chain after it was final; it is sent again.

    `number` and `hash` are that block's. What the payout had come to stays.
    """

    tx: str
    number: int
    hash: str


for _kind in list(Event.kinds.values()):
    Event.kinds[_kind.__name__] = quick(_kind)  # Again, since what `quick` makes is put there, too.


# --- Reading and writing --------------------------------------------------------------------------


_NAMES: dict[type[Event], tuple[str, ...]] = {}


def _names(kind: type[Event]) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(f.name for f in fields(kind))
    return _NAMES[kind]


def to_dict(event: Event) -> dict[str, Any]:
    """JSON-ready form; `type` first, then the fields by name."""
    data: dict[str, Any] = {"type": type(event).__name__}
    for name in _names(type(event)):
        data[name] = getattr(event, name)
    at = event.block
    if at is not None:
        place = {"number": at.number, "hash": at.hash, "tx": at.tx, "log_index": at.log_index}
        data["block"] = place
    return data


_quoted = json.encoder.encode_basestring_ascii
_Writer = Callable[["Event"], str]
_WRITERS: dict[type[Event], _Writer] = {}


def _writer(kind: type[Event]) -> _Writer:
    """What writes the line of a kind of facts: each value as its own type is written."""
    places = {name: f"{{write[type(event.{name})](event.{name})}}" for name in _names(kind)}
    places["type"] = _quoted(kind.__name__)
    parts = [f"{_quoted(name)}:{places[name]}" for name in sorted(places)]
    return compiled(f"lambda event: f'{{{{{','.join(parts)}}}}}'", {"write": _JSON})


def to_json(event: Event) -> str:
    """One canonical line: sorted keys, no spaces, integers as integers.

    What `json.dumps` would write; written by hand, and once in a fact's life, since a settlement
    is told 70 times over.
    """
    try:
        return event._line
    except AttributeError:
        line = _line(event)
        _keep_line(event, line)
        return line


def _line(event: Event) -> str:
    kind = type(event)
    write = _WRITERS.get(kind)
    if write is None:
        write = _WRITERS[kind] = _writer(kind)
    return write(event)


def _place(at: BlockRef) -> str:
    where = f'"log_index":{at.log_index},"number":{at.number}'
    return f'{{"hash":{_quoted(at.hash)},{where},"tx":{_quoted(at.tx)}}}'


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class _Ways(dict[type, Callable[[Any], str]]):
    """How a value of exactly this type is written; all others as `json` has it."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return _dumped


_JSON = _Ways(
    {
        str: _quoted,
        int: str,
        bool: {True: "true", False: "false"}.__getitem__,
        type(None): {None: "null"}.__getitem__,
        BlockRef: _place,
    }
)


_PLACE = {f.name for f in fields(BlockRef)}


ADDED_IN_FORMAT_3: dict[str, dict[str, Any]] = {
    "FaultInjected": {"tx": ""},
    "BuyerGaveUp": {"settlement_id": "", "address": ""},
}
"""Fields that run folders of format 2 lack, with the values they are read with."""


def from_dict(data: dict[str, Any], added: dict[str, dict[str, Any]] | None = None) -> Event:
    """The reverse of `to_dict`. Raises StoreError for a fact this version does not know.

    `added`: by type of fact, values for fields that an older format does not have.
    """
    data = dict(data)
    kind = Event.kinds.get(str(data.pop("type", "")))
    if kind is None:
        raise StoreError("the journal holds a fact of an unknown type", hint="Update workbench.")
    names = _names(kind)
    if added and kind.__name__ in added:
        data = added[kind.__name__] | data
    if len(data) != len(names) or not all(name in data for name in names):
        odd = sorted(set(data) ^ set(names))
        raise StoreError(f"{kind.__name__} with fields {odd} out of place")
    block = data.pop("block")
    if block is not None and not (isinstance(block, dict) and block.keys() == _PLACE):
        raise StoreError(f"{kind.__name__} with a block that is not {sorted(_PLACE)}")
    return kind(**data, block=None if block is None else BlockRef(**block))


def from_json(line: str, added: dict[str, dict[str, Any]] | None = None) -> Event:
    """The reverse of `to_json`. `added`: as for `from_dict`."""
    return from_dict(json.loads(line), added)


def from_line(line: str, added: dict[str, dict[str, Any]] | None = None) -> Event:
    """`from_json` of what `to_json` wrote, which is kept and not written again."""
    event = from_json(line, added)
    _keep_line(event, line)
    return event


def fact_id(event: Event, times_orphaned: int = 0) -> str:
    """A content id. A fact of a block that left the chain and came back counts anew."""
    if times_orphaned:
        return _id(to_json(event), times_orphaned)
    try:
        return event._id
    except AttributeError:
        known = _id(to_json(event), 0)
        _keep_id(event, known)
        return known


def _id(line: str, times_orphaned: int) -> str:
    return hashlib.sha256(f"{line}#{times_orphaned}".encode()).hexdigest()


def canonical(events: list[Event]) -> list[Event]:
    """The facts that still stand: those of a block count if recorded after its last orphaning."""
    last_orphaned = {e.subject: n for n, e in enumerate(events) if isinstance(e, BlockOrphaned)}
    return [
        e
        for n, e in enumerate(events)
        if e.block is None or n > last_orphaned.get(e.block.hash, -1)
    ]

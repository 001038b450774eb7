"""Realistic facts for everybody's tests: whole lives of settlements, as a journal would hold them.

`happy()`, `refunded()`, `reorged()` and `pending()` each tell one settlement; `journal(n)` tells
many that overlap; `one_of_each()` holds one fact of every kind there is. Everything derives from
`seed`, so two calls give equal facts. Amounts are base units, times Unix milliseconds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from workbench.core import facts as ev

GENESIS_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
GENESIS_BLOCK = 40
ASSET_AMOUNT = 100 * 10**18
REQUIRED_USDC = 110_000_000
MAX_EURC = 101_000_000
EURC_SPENT = 100_301_504
GAS = {
    "createSettlement": 176_412,
    "fund": 231_870,
    "executeSwap": 248_305,
    "executeSettlement": 121_944,
    "refund": 98_215,
}
GAS_PRICE = 1_500_000_000
CONFIRMATIONS = 2


def digest(*parts: object) -> str:
    """32 bytes as 0x hex that look like a hash, the same for the same parts."""
    return "0x" + hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def address(*parts: object) -> str:
    """20 bytes as 0x hex."""
    return digest("address", *parts)[:42]


SELLER, ASSET, VAULT = address("seller"), address("YPS"), address("vault")
FACILITATOR = address("facilitator")


@dataclass
class Story:
    """Tells one settlement in order. The clock (`now_ms`) moves only by `wait`.

    A block a second is mined, `GENESIS_BLOCK` at `GENESIS_MS`; `fork` names the branch of the
    chain, so that the same height has another hash after a reorg.
    """

    seed: object = 0
    now_ms: int = GENESIS_MS
    asset_amount: int = ASSET_AMOUNT
    fork: int = 0
    facts: list[ev.Event] = field(default_factory=list)

    @property
    def id(self) -> str:
        return digest("settlement", self.seed)

    @property
    def quote(self) -> str:
        return digest("quote", self.seed)

    @property
    def buyer(self) -> str:
        return address("buyer", self.seed)

    @property
    def required_usdc(self) -> int:
        return self.asset_amount * REQUIRED_USDC // ASSET_AMOUNT

    def eurc(self, units: int) -> int:
        """`units` of EURC at the usual amount, in proportion to this one's."""
        return self.asset_amount * units // ASSET_AMOUNT

    def wait(self, ms: int) -> Story:
        self.now_ms += ms
        return self

    def block(self, act: str, log_index: int = -1) -> ev.BlockRef:
        """The block that is mined next, and in it the transaction that does `act`."""
        number = GENESIS_BLOCK + -(-(self.now_ms - GENESIS_MS) // 1000)
        return ev.BlockRef(
            number, digest("block", number, self.fork), digest("tx", self.seed, act), log_index
        )

    def tell(self, kind: type[ev.Event], source: str, **details: Any) -> Story:
        self.facts.append(
            kind(**{"subject": self.id, "at_ms": self.now_ms, **details, "source": source})
        )
        return self

    def offered(self) -> Story:
        """HTTP 402 is answered, and the buyer's signed terms come back."""
        deadline = self.now_ms // 1000 + 600
        terms = {
            "seller": SELLER,
            "asset": ASSET,
            "asset_amount": self.asset_amount,
            "required_usdc": self.required_usdc,
        }
        self.tell(
            ev.PaymentRequested,
            "seller",
            subject=self.quote,
            **terms,
            fund_deadline=deadline,
            swap_deadline=deadline + 600,
            resource_hash=digest("resource"),
        )
        return self.wait(184).tell(
            ev.PaymentAuthorized,
            "seller",
            quote=self.quote,
            buyer=self.buyer,
            max_eurc=self.eurc(MAX_EURC),
            **terms,
        )

    def created(self) -> Story:
        deadline = self.now_ms // 1000 + 600
        return self.on_chain(
            "createSettlement",
            ev.SettlementCreated,
            "seller",
            buyer=self.buyer,
            seller=SELLER,
            asset=ASSET,
            asset_amount=self.asset_amount,
            required_usdc=self.required_usdc,
            max_eurc=self.eurc(MAX_EURC),
            fund_deadline=deadline,
            swap_deadline=deadline + 600,
            resource_hash=digest("resource"),
            salt=self.quote,
        )

    def funded(self) -> Story:
        return self.on_chain(
            "fund",
            ev.SettlementFunded,
            "facilitator",
            eurc_amount=self.eurc(MAX_EURC),
            asset_amount=self.asset_amount,
        )

    def swapped(self) -> Story:
        self.on_chain(
            "executeSwap",
            ev.SettlementSwapped,
            "facilitator",
            eurc_spent=self.eurc(EURC_SPENT),
            usdc_received=self.required_usdc,
        )
        swap = self.facts[-3]
        return self.tell(
            ev.PoolSwapChecked,
            "FacilitatorHook",
            at_ms=swap.at_ms,
            pool_id=digest("pool"),
            block=replace(swap.block, log_index=0) if swap.block else None,
            eurc_in=self.eurc(EURC_SPENT),
            usdc_out=self.required_usdc,
            reference_rate_e8=110_000_000,
        )

    def final(self) -> Story:
        """The swap has its confirmations; the fact stands and falls with the swap's block."""
        swap = next(f for f in reversed(self.facts) if isinstance(f, ev.SettlementSwapped))
        assert swap.block is not None
        self.wait(CONFIRMATIONS * 1000)
        return self.tell(
            ev.FinalityReached,
            "facilitator",
            swap_block=swap.block.number,
            block=swap.block,
            head=swap.block.number + CONFIRMATIONS,
        )

    def executed(self) -> Story:
        return self.on_chain(
            "executeSettlement",
            ev.SettlementExecuted,
            "facilitator",
            asset_to_buyer=self.asset_amount,
            usdc_to_seller=self.required_usdc,
            eurc_returned=self.eurc(MAX_EURC) - self.eurc(EURC_SPENT),
        )

    def delivered(self) -> Story:
        """The execution has its confirmations, and falls with its block."""
        done = next(f for f in reversed(self.facts) if isinstance(f, ev.SettlementExecuted))
        return self.wait(CONFIRMATIONS * 1000).tell(
            ev.AssetDelivered,
            "seller",
            buyer=self.buyer,
            asset_amount=self.asset_amount,
            block=done.block,
        )

    def on_chain(self, act: str, kind: type[ev.Event], signer: str, **details: Any) -> Story:
        """Sign, send and mine one act: the sender's facts and the vault's."""
        tx = self.block(act).tx
        self.wait(35)
        self.tell(ev.TransactionSigned, signer, act=act, tx=tx, signer=address(signer), nonce=7)
        self.wait(12).tell(ev.TransactionSent, signer, act=act, tx=tx)
        self.wait(430 + 7 * (len(str(self.seed)) + len(act)))
        mined = self.block(act)
        self.now_ms = 1000 * -(-self.now_ms // 1000)
        self.tell(kind, "SettlementVault", block=replace(mined, log_index=3), **details)
        self.tell(
            ev.TransactionMined,
            signer,
            act=act,
            tx=tx,
            ok=True,
            gas_used=GAS[act],
            gas_price=GAS_PRICE,
            block=mined,
        )
        return self.tell(ev.TransactionFinalized, signer, act=act, tx=tx)


def happy(
    seed: object = 0, at_ms: int = GENESIS_MS, asset_amount: int = ASSET_AMOUNT
) -> list[ev.Event]:
    """From HTTP 402 to the delivered asset."""
    story = Story(seed, at_ms, asset_amount).offered().created().funded().swapped()
    return story.final().executed().delivered().facts


def pending(seed: object = 0, at_ms: int = GENESIS_MS) -> list[ev.Event]:
    """Swapped, and still waiting for finality."""
    return Story(seed, at_ms).offered().created().funded().swapped().facts


def refunded(
    seed: object = 0, at_ms: int = GENESIS_MS, reason: str = "insufficient_output"
) -> list[ev.Event]:
    """Funded; then the pool cannot give the USDC, and everybody gets their own back."""
    story = Story(seed, at_ms).offered().created().funded().wait(310)
    story.tell(
        ev.TransactionFailed,
        "facilitator",
        act="executeSwap",
        tx="",
        code=reason,
        message="the pool holds too little USDC.",
        transient=False,
    )
    return story.on_chain(
        "refund",
        ev.SettlementRefunded,
        "facilitator",
        reason=reason,
        eurc_returned=MAX_EURC,
        asset_returned=ASSET_AMOUNT,
    ).facts


def rejected(seed: object = 0, at_ms: int = GENESIS_MS) -> list[ev.Event]:
    """Authorised, and then the seller has no allowance: nothing reaches the chain."""
    return (
        Story(seed, at_ms)
        .offered()
        .wait(90)
        .tell(
            ev.PaymentRejected,
            "seller",
            code="insufficient_allowance",
            message="the seller's allowance for PermitPuller is 0.",
        )
        .facts
    )


def reorged(seed: object = 0, at_ms: int = GENESIS_MS) -> list[ev.Event]:
    """The block of the first swap is orphaned, and the swap is mined again two blocks later."""
    story = Story(seed, at_ms).offered().created().funded().swapped()
    lost = next(f.block for f in story.facts if isinstance(f, ev.SettlementSwapped))
    assert lost is not None
    story.wait(900).tell(ev.BlockOrphaned, "watcher", subject=lost.hash, number=lost.number)
    story.fork += 1
    return story.swapped().final().executed().delivered().facts


def journal(count: int = 12, gap_ms: int = 700) -> list[ev.Event]:
    """`count` settlements that overlap, one every `gap_ms`, in the order things happened.

    Every seventh is refunded, every eleventh loses a block to a reorg.
    """
    told: list[ev.Event] = []
    for n in range(count):
        at_ms = GENESIS_MS + n * gap_ms
        if n % 7 == 5:
            told += refunded(n, at_ms)
        elif n % 11 == 8:
            told += reorged(n, at_ms)
        else:
            told += happy(n, at_ms, ASSET_AMOUNT * (1 + n % 5))
    return _mined_again(sorted(told, key=lambda fact: fact.at_ms))


def _mined_again(told: list[ev.Event]) -> list[ev.Event]:
    """After a reorg the others' transactions land at the same height, in the new block."""
    swaps = Counter(fact.subject for fact in told if isinstance(fact, ev.SettlementSwapped))
    facts: list[ev.Event] = []
    for fact in told:
        facts.append(fact)
        if isinstance(fact, ev.BlockOrphaned):
            new = digest("block", fact.number, "again")
            facts += [
                replace(f, block=replace(f.block, hash=new))
                for f in facts
                if f.block and f.block.hash == fact.subject
                if swaps[f.subject] < 2 or f.block.tx != _swap_tx(told, f.subject)
            ]
    return facts


def _swap_tx(told: list[ev.Event], subject: str) -> str:
    """The transaction of a swap that its own story tells twice."""
    return next(
        f.block.tx
        for f in told
        if isinstance(f, ev.SettlementSwapped) and f.subject == subject and f.block
    )


def one_of_each(subject: str = "") -> list[ev.Event]:
    """One fact of every kind that core/events.py knows, now and later, with made-up fields."""
    subject = subject or digest("settlement", 0)
    facts = []
    for n, kind in enumerate(ev.Event.kinds.values()):
        own = [f for f in fields(kind) if f.name not in ("subject", "at_ms", "source", "block")]
        details = {f.name: _made_up(f.name, str(f.type)) for f in own if f.default is MISSING}
        facts.append(kind(subject=subject, at_ms=GENESIS_MS + n * 250, source="test", **details))
    return facts


def _made_up(name: str, kind: str) -> Any:
    """Amounts larger than 64 bits hold, small numbers else."""
    if kind == "int":
        money = ("amount", "usdc", "eurc", "_to_", "_out", "asset")
        return 10**20 + 7 if any(word in name for word in money) else 12
    return {"str": "0xfeed", "bool": True}.get(kind)

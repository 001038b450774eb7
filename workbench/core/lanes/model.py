"""The lanes, folded one fact at a time: what the tracker draws.

There is one lane for each planned buyer (BuyerPlanned), also if it gave up, only asked, or never
came; one for each settlement without such a buyer; and one for each payout. Planned buyers are in
the order of arrival, all others in the order first seen.

The model depends on the list of facts only, not on how it was split over calls of `add`. Facts may
come in any order and from several services. Times are Unix milliseconds, amounts base units.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from workbench.core import facts as ev
from workbench.core import payout as payouts
from workbench.core import settlement as settlements
from workbench.core.lanes.marks import LaneMarks
from workbench.core.lanes.rows import LaneRecord, LaneRow, LaneState, state_of
from workbench.core.lanes.segments import STAGE_OF, LaneMove, add_move

LOST_SITES = frozenset({"http.lost", "http.cut", "tx.dropped"})
"""Faults after which a message or a transaction did not arrive."""


class Lanes:
    """See the module. `with_blocks`: `marks` also has one for each block with a log.

    `count`: number of facts added. `block`: the highest block number seen, or None.
    """

    def __init__(self, *, with_blocks: bool = False) -> None:
        self.marks = LaneMarks(with_blocks=with_blocks)
        self.count = 0
        self.block: int | None = None
        self.last_ms: int | None = None
        self._began_ms: int | None = None
        self._first_ms: int | None = None
        self._rows: list[LaneRow] = []
        self._planning_from: int | None = None
        self._renumber_from: int | None = None
        self._comings: list[tuple[int, str]] = []
        self._changed: dict[LaneRow, None] = {}
        self._records: dict[str, LaneRecord] = {}
        self._buyers: dict[str, LaneRow] = {}
        self._by_address: dict[str, LaneRow] = {}
        self._loose: dict[str, LaneRow] = {}
        self._early: dict[str, ev.Event] = {}
        self._asked: dict[str, int] = {}
        self._by_quote: dict[str, LaneRecord] = {}
        self._batches: dict[str, list[LaneRecord]] = {}
        self._subject_of_tx: dict[str, str] = {}
        self._lost_of_tx: dict[str, list[ev.FaultInjected]] = {}
        self._lost: dict[str, list[int]] = {}
        self._told: defaultdict[str, list[tuple[int, ev.Event]]] = defaultdict(list)
        self._standing_on: dict[str, list[tuple[LaneRecord, LaneMove]]] = {}
        self._gas_in: dict[str, list[tuple[LaneRecord, str]]] = {}
        self._orphaned: dict[str, int] = {}
        self._acts: dict[type[ev.Event], Callable[..., None]] = {
            **dict.fromkeys(settlements.TRANSITION_EVENTS, self._settlement),
            **dict.fromkeys(payouts.MOVING, self._payout),
            ev.PayoutBatched: self._batched,
            ev.BuyerPlanned: self._planned,
            ev.BuyerServed: self._buyer_ended,
            ev.BuyerGaveUp: self._buyer_ended,
            ev.PaymentRequested: self._requested,
            ev.TransactionSigned: self._signed,
            ev.TransactionReplaced: self._signed,
            ev.TransactionMined: self._mined,
            ev.FaultInjected: self._fault,
            ev.MarketMoved: self._market,
            ev.BlockOrphaned: self._orphan,
        }

    # --- In ---

    def add(self, facts: Iterable[ev.Event]) -> None:
        """Add facts that follow those added before."""
        acts, told, mark = self._acts, self._told, self.marks.add
        for fact in facts:
            self.count += 1
            if fact.subject:
                told[fact.subject].append((self.count, fact))
            if self._first_ms is None:
                self._first_ms = fact.at_ms
            if self.last_ms is None or fact.at_ms > self.last_ms:
                self.last_ms = fact.at_ms
            if fact.block is not None and (self.block is None or fact.block.number > self.block):
                self.block = fact.block.number
            act = acts.get(type(fact))
            if act is not None:
                act(fact)
            mark(fact)

    # --- Out ---

    @property
    def origin_ms(self) -> int:
        """The start: the first market move or plan, else the first fact, else 0.

        It is the smallest `at_ms` among those, so it may change while facts come in.
        """
        known = self._began_ms if self._began_ms is not None else self._first_ms
        return known or 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[LaneState]:
        return (self.lane(number) for number in range(len(self._rows)))

    def lane(self, number: int) -> LaneState:
        """Return the lane of this number, from 0. Raises IndexError."""
        self._number()
        row = self._rows[range(len(self._rows))[number]]
        if row.state is None:
            row.state = state_of(row, self._asked, self._lost)
        return row.state

    def changed(self) -> tuple[int, ...]:
        """Return the numbers of lanes that changed since the last `take`, ascending."""
        self._number()
        return tuple(sorted(row.number for row in self._changed))

    def take(self) -> tuple[int, ...]:
        """Return `changed`, and start counting anew."""
        numbers = self.changed()
        self._changed.clear()
        return numbers

    def coming(self, after_ms: int, upto_ms: int) -> tuple[int, ...]:
        """Return the lanes of planned buyers who come after the first time, and not after the
        second."""
        self._number()
        first = bisect_right(self._comings, after_ms, key=lambda each: each[0])
        last = bisect_right(self._comings, upto_ms, key=lambda each: each[0])
        return tuple(sorted(self._buyers[name].number for _, name in self._comings[first:last]))

    def outcomes(self, now_ms: int | None = None) -> Counter[str]:
        """Return the number of lanes by outcome (a word of `lifecycle.OUTCOMES`), without payouts.

        `now_ms`: buyers planned for later have not come; None: all have.
        """
        return Counter(lane.outcome_at(now_ms) for lane in self if not lane.is_payout)

    def facts_of(self, number: int) -> list[tuple[ev.Event, bool]]:
        """Return the facts of a lane by time, each once. True: its block was removed.

        Raises IndexError.
        """
        self.lane(number)
        row = self._rows[range(len(self._rows))[number]]
        told = [each for subject in row.subjects() for each in self._told.get(subject, ())]
        once: dict[tuple[object, ...], tuple[ev.Event, bool]] = {}
        for place, fact in sorted(told, key=lambda each: each[0]):
            at = fact.block
            struck = at is not None and place < self._orphaned.get(at.hash, 0)
            same = (at.hash, at.tx, at.log_index) if at else (fact.at_ms, ev.to_json(fact))
            key = (type(fact).__name__, fact.subject, *same)
            if key not in once or not struck:
                once[key] = (fact, struck)
        return sorted(once.values(), key=lambda each: each[0].at_ms)

    # --- Rows ---

    def _number(self) -> None:
        """Number and name the rows again, from the first that moved."""
        first = self._renumber_from
        if first is None:
            return
        self._renumber_from = None
        counts = {True: 0, False: 0}
        if first:
            before = self._rows[first - 1]
            counts = dict(before.counts)
        for number in range(first, len(self._rows)):
            row = self._rows[number]
            counts[row.is_payout] += 1
            row.number, row.counts = number, dict(counts)
            self._touch(row)

    def _append(self, row: LaneRow, at: int | None = None) -> None:
        place = len(self._rows) if at is None else at
        self._rows.insert(place, row)
        if self._renumber_from is None or place < self._renumber_from:
            self._renumber_from = place
        self._changed[row] = None

    def _touch(self, row: LaneRow | None) -> None:
        if row is not None:
            row.state = None
            self._changed[row] = None

    def _touch_subject(self, subject: str) -> None:
        record = self._records.get(subject)
        self._touch(record.row if record else self._buyers.get(subject))
        for each in self._batches.get(subject, ()):
            self._touch(each.row)

    # --- Buyers ---

    def _planned(self, fact: ev.BuyerPlanned) -> None:
        """Add the lane of a planned buyer."""
        if self._began_ms is None or fact.at_ms < self._began_ms:
            self._began_ms = fact.at_ms
        if fact.subject in self._buyers:
            return
        address = fact.address.lower()
        row = self._loose.pop(address, None)
        if row is None:
            row = LaneRow(is_payout=False)
            self._place(row, fact.comes_ms)
        row.plan = fact
        self._comings.insert(
            bisect_right(self._comings, (fact.comes_ms, fact.subject)),
            (fact.comes_ms, fact.subject),
        )
        self._buyers[fact.subject] = row
        self._by_address.setdefault(address, row)
        self._touch(row)
        early = self._early.pop(fact.subject, None)
        if early is not None:
            self._buyer_ended(early)

    def _place(self, row: LaneRow, comes_ms: int) -> None:
        """Insert the row among the planned buyers before it, by arrival."""
        if self._planning_from is None:
            self._planning_from = len(self._rows)
        place = bisect_right(
            self._rows,
            comes_ms,
            lo=self._planning_from,
            key=lambda other: other.plan.comes_ms if other.plan else 0,
        )
        self._append(row, place)

    def _buyer_ended(self, fact: ev.Event) -> None:
        """Record that a buyer was served or gave up."""
        assert isinstance(fact, ev.BuyerServed | ev.BuyerGaveUp)
        row = self._buyers.get(fact.subject)
        if row is None:
            self._early[fact.subject] = fact
            return
        row.said = fact
        if fact.settlement_id and row.record is None:
            record = self._record(fact.settlement_id)
            if record.row is None:
                row.record, record.row = record, row
        self._touch(row)

    # --- Settlements and payouts ---

    def _record(self, subject: str) -> LaneRecord:
        record = self._records.get(subject)
        if record is None:
            record = self._records[subject] = LaneRecord(subject)
        return record

    def _settlement(self, fact: ev.Event) -> None:
        """Apply a fact that moves a settlement."""
        record = self._record(fact.subject)
        if not self._move(record, fact):
            return
        if isinstance(fact, ev.PaymentAuthorized | ev.SettlementCreated):
            quote = fact.quote if isinstance(fact, ev.PaymentAuthorized) else fact.salt
            self._by_quote[quote] = record
            if record.birth is None:
                record.birth, record.quote = fact, quote
            if record.row is None:
                self._settle_row(record, fact.buyer.lower())
        self._touch(record.row)

    def _settle_row(self, record: LaneRecord, address: str) -> None:
        """Return the lane of the planned buyer with this address, who buys once; else a new one."""
        row = self._by_address.get(address)
        if row is None or row.record is not None:
            row = LaneRow(is_payout=False)
            self._planning_from = None
            self._append(row)
            if address not in self._by_address:
                self._loose.setdefault(address, row)
        row.record, record.row = record, row

    def _payout(self, fact: ev.Event) -> None:
        """Apply a fact that moves a payout."""
        record = self._record(fact.subject)
        if not self._move(record, fact):
            return
        if isinstance(fact, ev.PayoutRequested) and record.row is None:
            record.birth = fact
            record.row = LaneRow(is_payout=True)
            record.row.record = record
            self._planning_from = None
            self._append(record.row)
        self._touch(record.row)

    def _batched(self, fact: ev.PayoutBatched) -> None:
        """Record the batch of a payout."""
        record = self._record(fact.subject)
        if not record.batch:
            record.batch = fact.batch
            self._batches.setdefault(fact.batch, []).append(record)
            self._touch(record.row)

    def _move(self, record: LaneRecord, fact: ev.Event) -> bool:
        """Return True if the fact is new. It counts while its block is in the chain."""
        if type(fact) not in STAGE_OF:
            return False
        move = add_move(record.moves, fact)
        if move is None:
            return False
        if fact.block is not None:
            self._standing_on.setdefault(fact.block.hash, []).append((record, move))
        return True

    def _requested(self, fact: ev.PaymentRequested) -> None:
        if fact.subject not in self._asked:
            self._asked[fact.subject] = fact.at_ms
            record = self._by_quote.get(fact.subject)
            self._touch(record.row if record else None)

    def _orphan(self, fact: ev.BlockOrphaned) -> None:
        """Mark the facts of a block as removed."""
        self._orphaned[fact.subject] = self.count
        for record, move in self._standing_on.pop(fact.subject, ()):
            move.taken_ms = fact.at_ms
            self._touch(record.row)
        for record, tx in self._gas_in.pop(fact.subject, ()):
            record.gas.pop((fact.subject, tx), None)
            self._touch(record.row)

    # --- Transactions, faults, the market ---

    def _signed(self, fact: ev.TransactionSigned | ev.TransactionReplaced) -> None:
        self._subject_of_tx[fact.tx] = fact.subject
        for fault in self._lost_of_tx.pop(fact.tx, ()):
            self._hit(fact.subject, fault)

    def _mined(self, fact: ev.TransactionMined) -> None:
        """Add the gas of a mined transaction."""
        if fact.block is None:
            return
        record = self._record(fact.subject)
        record.gas[fact.block.hash, fact.tx] = fact.gas_used
        self._gas_in.setdefault(fact.block.hash, []).append((record, fact.tx))
        self._touch(record.row)

    def _fault(self, fact: ev.FaultInjected) -> None:
        """Record a lost message or transaction for its lane."""
        if fact.site not in LOST_SITES or not (fact.subject or fact.tx):
            return
        subject = fact.subject or self._subject_of_tx.get(fact.tx, "")
        if subject:
            self._hit(subject, fact)
        else:
            self._lost_of_tx.setdefault(fact.tx, []).append(fact)

    def _hit(self, subject: str, fault: ev.FaultInjected) -> None:
        self._lost.setdefault(subject, []).append(fault.at_ms)
        if subject != fault.subject:
            self._told[subject].append((self.count, fault))
        self._touch_subject(subject)

    def _market(self, fact: ev.MarketMoved) -> None:
        if self._began_ms is None or fact.at_ms < self._began_ms:
            self._began_ms = fact.at_ms

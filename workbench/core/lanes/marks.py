"""The marks above the lanes: rates, faults, outages of services, broken invariants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from workbench.core import facts as ev
from workbench.core.pricing import RATE_SCALE
from workbench.core.records import quick


class MarkKind(IntEnum):
    """The kind of a mark. The JavaScript module reads the number."""

    MARKET = 0
    REFERENCE = 1
    PAID = 2
    REORG = 3
    FEE = 4
    DOWN = 5
    UP = 6
    MESSAGE_LOST = 7
    LATE_OR_ERROR = 8
    POOL_DRAINED = 9
    CLOCK_SKEW = 10
    RULE_BROKEN = 11
    BLOCK = 12
    TRANSACTION = 13
    ORDERED = 14


@quick
@dataclass(frozen=True, slots=True)
class LaneMark:
    """One mark. `at_ms`: Unix milliseconds. `value`: rate times 10**8, depth in blocks, factor, %,
    s or block number, by `kind`. `what`: the service or the fault site. `by_hand`: True if a person
    ordered it."""

    kind: MarkKind
    at_ms: int
    value: int = 0
    what: str = ""
    by_hand: bool = False


SITES: dict[str, MarkKind] = {
    "http.lost": MarkKind.MESSAGE_LOST,
    "http.cut": MarkKind.MESSAGE_LOST,
    "http.duplicated": MarkKind.MESSAGE_LOST,
    "http.delayed": MarkKind.LATE_OR_ERROR,
    "rpc.error": MarkKind.LATE_OR_ERROR,
    "rpc.delayed": MarkKind.LATE_OR_ERROR,
    "rpc.stale": MarkKind.LATE_OR_ERROR,
    "tx.dropped": MarkKind.TRANSACTION,
    "tx.delayed": MarkKind.TRANSACTION,
    "tx.reordered": MarkKind.TRANSACTION,
    "chain.reorg": MarkKind.REORG,
    "clock.skew": MarkKind.CLOCK_SKEW,
    "fee.spike": MarkKind.FEE,
    "pool.drained": MarkKind.POOL_DRAINED,
}
"""The mark of a fault by its site. `crash.NAME` is the outage of a service."""
CRASH = "crash."
HAND = "hand"
"""The source of a fault that a person ordered."""


class LaneMarks:
    """The marks, folded one fact at a time, in journal order. `with_blocks`: also one for each
    block with a log."""

    def __init__(self, *, with_blocks: bool = False) -> None:
        self.broken = 0
        self._rows: list[tuple[str, LaneMark]] = []  # With the hash of its block.
        self._with_blocks = with_blocks
        self._new_from, self._reset = 0, True
        self._blocks: set[int] = set()
        self._swaps: dict[str, set[tuple[str, int]]] = {}
        self._orphaned: set[str] = set()
        self._simulated = self._restarts = False
        self._crashes: list[ev.FaultInjected] = []
        self.acts: dict[type[ev.Event], Callable[..., None]] = {
            ev.MarketMoved: self._market,
            ev.PoolSwapChecked: self._swap,
            ev.PoolBalanced: self._balanced,
            ev.FaultInjected: self._fault,
            ev.FaultOrdered: self._ordered,
            ev.ServiceRestarted: self._restarted,
            ev.InvariantBroken: self._rule,
            ev.BlockOrphaned: self._orphan,
        }

    def add(self, fact: ev.Event) -> None:
        """Add a fact."""
        act = self.acts.get(type(fact))
        if act is not None:
            act(fact)
        if self._with_blocks and fact.contract and fact.block is not None:
            self._block(fact.block.number, fact.at_ms)

    @property
    def rows(self) -> tuple[LaneMark, ...]:
        """Return all valid marks, in journal order."""
        return tuple(mark for _, mark in self._rows)

    def take(self) -> tuple[bool, tuple[LaneMark, ...]]:
        """Return the marks since the last call. True: earlier ones changed, and these are all."""
        reset, first = self._reset, 0 if self._reset else self._new_from
        self._new_from, self._reset = len(self._rows), False
        return reset, tuple(mark for _, mark in self._rows[first:])

    @property
    def has_news(self) -> bool:
        """Return True if marks were added or removed since `take`."""
        return self._reset or self._new_from < len(self._rows)

    def finished(self) -> tuple[LaneMark, ...]:
        """Return the ends of outages that facts do not hold: run folders of format 2 have only the
        length.

        Empty if any restart is a fact.
        """
        if self._restarts:
            return ()
        return tuple(
            LaneMark(MarkKind.UP, fact.at_ms + 1_000 * fact.parameter, 0, fact.site[len(CRASH) :])
            for fact in self._crashes
        )

    def _put(self, mark: LaneMark, block: str = "") -> None:
        self._rows.append((block, mark))

    def _market(self, fact: ev.MarketMoved) -> None:
        self._simulated = True
        self._put(LaneMark(MarkKind.MARKET, fact.at_ms, fact.usdc_per_eurc_e8))

    def _swap(self, fact: ev.PoolSwapChecked) -> None:
        """Count a swap once, unless its block was removed."""
        if min(fact.eurc_in, fact.usdc_out, fact.reference_rate_e8) <= 0:
            return
        block = ""
        if fact.block is not None:
            block, place = fact.block.hash, (fact.block.tx, fact.block.log_index)
            known = self._swaps.setdefault(block, set())
            if place in known:
                return
            known.add(place)
        rate_e8 = fact.usdc_out * RATE_SCALE // fact.eurc_in
        self._put(LaneMark(MarkKind.REFERENCE, fact.at_ms, fact.reference_rate_e8), block)
        self._put(LaneMark(MarkKind.PAID, fact.at_ms, rate_e8), block)

    def _balanced(self, fact: ev.PoolBalanced) -> None:
        self._put(LaneMark(MarkKind.REFERENCE, fact.at_ms, fact.reference_rate_e8))

    def _fault(self, fact: ev.FaultInjected) -> None:
        """Add the mark of a fault."""
        self._simulated = True
        by_hand = fact.source == HAND
        if fact.site.startswith(CRASH):
            name = fact.site[len(CRASH) :]
            self._crashes.append(fact)
            self._put(LaneMark(MarkKind.DOWN, fact.at_ms, fact.parameter, name, by_hand))
        elif fact.site in SITES:
            kind = SITES[fact.site]
            self._put(LaneMark(kind, fact.at_ms, fact.parameter, fact.site, by_hand))

    def _ordered(self, fact: ev.FaultOrdered) -> None:
        self._put(LaneMark(MarkKind.ORDERED, fact.at_ms, fact.parameter, fact.site, True))

    def _restarted(self, fact: ev.ServiceRestarted) -> None:
        self._restarts = True
        self._put(LaneMark(MarkKind.UP, fact.at_ms, 0, fact.target))

    def _rule(self, fact: ev.InvariantBroken) -> None:
        self.broken += 1
        self._put(LaneMark(MarkKind.RULE_BROKEN, fact.at_ms, 0, fact.invariant))

    def _orphan(self, fact: ev.BlockOrphaned) -> None:
        """Remove the swaps of the block. A reorg of a live chain, which no fault caused, is a
        mark."""
        if self._swaps.pop(fact.subject, None):
            self._rows = [row for row in self._rows if row[0] != fact.subject]
            self._reset = True
        if self._simulated or fact.subject in self._orphaned:
            return
        self._orphaned.add(fact.subject)
        last = self._rows[-1][1] if self._rows else None
        if last and last.kind is MarkKind.REORG and last.at_ms == fact.at_ms:
            self._rows[-1] = ("", LaneMark(MarkKind.REORG, fact.at_ms, last.value + 1))
            self._reset = True
        else:
            self._put(LaneMark(MarkKind.REORG, fact.at_ms, 1))

    def _block(self, number: int, at_ms: int) -> None:
        if number not in self._blocks:
            self._blocks.add(number)
            self._put(LaneMark(MarkKind.BLOCK, at_ms, number))

"""The settlements of one journal, folded and kept current."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from workbench.core.facts import BlockOrphaned, Event
from workbench.core.ports import Store, StoreTransaction
from workbench.core.settlement import (
    OPEN,
    RELEVANT_EVENTS,
    TRANSITION_EVENTS,
    InconsistentJournals,
    Settlement,
    SettlementState,
    fold_into,
    merge_into,
    rank_of,
)


class SettlementIndex:
    """The index. It holds nothing that the journal does not hold.

    `seller`: the account whose sales are counted (`assets`, `open_of`, `sold`). `merged`: the
    journal gathers facts of several emitters without a common order. There an inconsistent
    settlement is listed in `torn` and does not affect others.
    """

    def __init__(self, store: Store, *, merged: bool = False, seller: str = "") -> None:
        self._store, self._merged, self._seller = store, merged, seller
        self._seq = 0
        self._version: object = None
        self._furthest: dict[str, int] = {}
        self._open: dict[str, Settlement] = {}
        self._by_state: dict[SettlementState, dict[str, Settlement]] = {
            state: {} for state in SettlementState
        }
        self._assets: dict[tuple[str, SettlementState], int] = {}
        self._of_buyer: dict[str, dict[str, Settlement]] = {}
        self._sold: dict[str, str] = {}
        self._early: set[str] = set()
        self._refreshing = asyncio.Lock()
        self.folds = 0
        """Number of changes that settlements depend on."""
        self.settlements: dict[str, Settlement] = {}
        self.torn: InconsistentJournals = {}

    async def refresh(self) -> list[str]:
        """Fold new facts. Return their subjects in the order of the facts.

        Raises IllegalTransition unless the journal is merged; then nothing has changed.
        """
        version = self._store.version()
        if version == self._version:
            return []
        async with self._refreshing:
            async with self._store.unit() as unit:
                page = await unit.facts(after=self._seq)
                if not page:
                    self._version = version
                    return []
                facts = [fact for _, fact in page]
                histories = await self._histories(unit, facts)
            news: dict[str, list[Event]] = {subject: [] for subject in histories}
            for fact in facts:
                if type(fact) in RELEVANT_EVENTS and fact.subject:
                    news.setdefault(fact.subject, []).append(fact)
            folded = {s: self._fold(s, told, histories.get(s)) for s, told in news.items()}
            for subject, settlement in folded.items():
                self._keep(subject, settlement, histories.get(subject, news[subject]))
            self._seq, self._version = page[-1][0], version
            self.folds += bool(folded)
            return list(dict.fromkeys([*histories, *(f.subject for f in facts if f.subject)]))

    async def _histories(
        self, unit: StoreTransaction, facts: Sequence[Event]
    ) -> dict[str, Sequence[Event]]:
        """Return all valid facts of the settlements that cannot be folded from where they are."""
        if not (self._merged or self._early or BlockOrphaned in map(type, facts)):
            return {}  # The usual case: each fact follows the known ones.
        anew: dict[str, None] = {}
        for fact in facts:
            if isinstance(fact, BlockOrphaned):
                anew.update((f.subject, None) for f in await unit.facts_in_block(fact.subject))
            elif self._is_late(fact) or (fact.subject in self._early and self._is_birth(fact)):
                anew[fact.subject] = None
        anew.pop("", None)
        return {subject: await unit.standing(subject) for subject in anew}

    def _is_birth(self, fact: Event) -> bool:
        """Return True if the fact creates a settlement. Earlier details wait for it in the
        journal."""
        return type(fact) in TRANSITION_EVENTS and fact.subject not in self.settlements

    def _is_late(self, fact: Event) -> bool:
        place = rank_of(fact) if self._merged else None
        return place is not None and place < self._furthest.get(fact.subject, 0)

    def _fold(
        self, subject: str, told: Iterable[Event], history: Iterable[Event] | None
    ) -> Settlement | None:
        """Return the settlement after new facts, or None if its creation is missing."""
        known = None if history is not None else self.settlements.get(subject)
        before = {subject: known} if known else {}
        facts = told if history is None else history
        if not self._merged:
            return fold_into(before, facts).get(subject)
        if history is not None:
            self.torn.pop(subject, None)
        return merge_into(before, facts, self.torn).get(subject)

    def _keep(self, subject: str, settlement: Settlement | None, told: Iterable[Event]) -> None:
        """Store the settlement, and update the counts."""
        if self._merged:
            places = [place for fact in told if (place := rank_of(fact)) is not None]
            self._furthest[subject] = max(places, default=self._furthest.get(subject, 0))
        before = self.settlements.get(subject)
        if self._seller:
            self._count(before, settlement)
        if before is not None:
            self._by_state[before.state].pop(subject)
        if settlement is None:
            self._early.add(subject)
            self.settlements.pop(subject, None)
            self._open.pop(subject, None)
            return
        self._early.discard(subject)
        self.settlements[subject] = settlement
        self._by_state[settlement.state][subject] = settlement
        if settlement.state in OPEN:
            self._open[subject] = settlement
        else:
            self._open.pop(subject, None)

    def _count(self, before: Settlement | None, after: Settlement | None) -> None:
        """Update the counts behind `assets`, `open_of` and `sold`, for the seller's own
        settlements."""
        if before is not None and before.seller == self._seller:
            self._assets[before.asset, before.state] -= before.asset_amount
            self._of_buyer[before.buyer].pop(before.id, None)
        if after is None or after.seller != self._seller:
            return
        place = after.asset, after.state
        self._assets[place] = self._assets.get(place, 0) + after.asset_amount
        of_buyer = self._of_buyer.setdefault(after.buyer, {})
        if after.state in OPEN:
            of_buyer[after.id] = after
        self._sold.setdefault(after.quote, after.id)

    def get(self, settlement_id: str) -> Settlement | None:
        return self.settlements.get(settlement_id)

    def open(self) -> list[Settlement]:
        """Return the settlements without an end, oldest first."""
        return list(self._open.values())

    def of(self, *states: SettlementState) -> list[Settlement]:
        """Return the settlements in these states, state by state. Others cost nothing."""
        return [each for state in states for each in self._by_state[state].values()]

    def assets(self, asset: str, *states: SettlementState) -> int:
        """Return the base units of an asset in the seller's settlements in these states."""
        return sum(self._assets.get((asset, state), 0) for state in states)

    def open_of(self, buyer: str) -> list[Settlement]:
        """Return the seller's open settlements with one buyer."""
        return list(self._of_buyer.get(buyer, {}).values())

    def sold(self, salt: str) -> str | None:
        """Return the first known settlement of the seller's offer with this salt."""
        return self._sold.get(salt)

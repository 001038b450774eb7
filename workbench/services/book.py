"""The settlements of one journal, folded, and kept up to date as the journal grows."""

from __future__ import annotations

from workbench.core.events import BlockOrphaned
from workbench.core.ports import Store
from workbench.core.settlement import OPEN, Settlement, fold_into


class Book:
    """Nothing here that the journal does not hold: a new Book of the same store is equal."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = 0
        self.settlements: dict[str, Settlement] = {}

    async def refresh(self) -> list[str]:
        """Fold what is new; the subjects it was about, in the order of the facts."""
        async with self._store.unit() as unit:
            page = await unit.facts(after=self._seq)
            if not page:
                return []
            facts = [fact for _, fact in page]
            # A settlement with facts in an orphaned block is folded anew, from what still stands.
            orphaned = [f.subject for f in facts if isinstance(f, BlockOrphaned)]
            touched = [f.subject for h in orphaned for f in await unit.facts_in_block(h)]
            histories = {
                subject: await unit.standing(subject) for subject in dict.fromkeys(touched)
            }
        self._seq = page[-1][0]
        for subject, history in histories.items():
            self.settlements.pop(subject, None)
            fold_into(self.settlements, history)
        fold_into(self.settlements, (f for f in facts if f.subject not in histories))
        return list(dict.fromkeys([*histories, *(f.subject for f in facts if f.subject)]))

    def get(self, settlement_id: str) -> Settlement | None:
        return self.settlements.get(settlement_id)

    def open(self) -> list[Settlement]:
        """Those that somebody still owes a step, oldest first."""
        return [s for s in self.settlements.values() if s.state in OPEN]

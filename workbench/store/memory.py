"""What is known of a database that nobody else writes: asking it again would find the same.

A world in memory asks for the same slots at each step and for the same new facts in each round.
The database stays what counts: all is written there, and what was rolled back is read from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.core.events import Event
from workbench.core.ports import Slot, SlotState

FACTS_KEPT = 32_768
Signer = tuple[int, str]
"""A chain's id, and an account."""


class Tail:
    """The newest facts of a journal: those after `after`, whose numbers follow each other."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, last: int) -> None:
        """Know what comes after this number, and nothing of what is before."""
        self._after, self._facts = last, list[Event]()

    def grow(self, facts: Iterable[Event]) -> None:
        """Facts that have the next numbers."""
        self._facts += facts
        if len(self._facts) > FACTS_KEPT:
            gone = len(self._facts) - FACTS_KEPT // 2
            del self._facts[:gone]
            self._after += gone

    def facts(self, after: int, limit: int | None) -> list[tuple[int, Event]] | None:
        """Those after `after`, with their numbers; None if some of them are not known here."""
        first = after - self._after
        if first < 0:
            return None
        last = None if not limit else first + limit
        return list(enumerate(self._facts[first:last], after + 1))


class Slots:
    """All slots of a database, by their keys and by where they stand."""

    def __init__(self) -> None:
        self.load(())

    def load(self, slots: Iterable[Slot]) -> None:
        """These, and no others."""
        self._by_nonce: dict[tuple[int, str, int], Slot] = {}
        self._by_key: dict[tuple[int, str, str, str, int], Slot] = {}
        self._by_state: dict[tuple[int, str, SlotState], dict[int, Slot]] = {}
        for each in slots:
            self.keep(each)

    def keep(self, slot: Slot) -> None:
        """A slot as it is from now on, in place of what had its nonce."""
        chain_id, signer, nonce = slot.chain_id, slot.signer, slot.nonce
        before = self._by_nonce.get((chain_id, signer, nonce))
        if before is not None:
            del self._by_key[chain_id, signer, before.subject, before.act, before.attempt]
            del self._by_state[chain_id, signer, before.state][nonce]
        self._by_nonce[chain_id, signer, nonce] = slot
        self._by_key[chain_id, signer, slot.subject, slot.act, slot.attempt] = slot
        self._by_state.setdefault((chain_id, signer, slot.state), {})[nonce] = slot

    def one(self, own: Signer, key: tuple[str, str, int]) -> Slot | None:
        return self._by_key.get((*own, *key))

    def those(self, own: Signer, states: Sequence[SlotState]) -> list[Slot]:
        """Slots in these states, by nonce."""
        found = (self._by_state.get((*own, state), {}) for state in states)
        return sorted((slot for each in found for slot in each.values()), key=_nonce)


def _nonce(slot: Slot) -> int:
    return slot.nonce

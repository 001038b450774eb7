"""What is known of a database that nobody else writes: asking it again would find the same.

A world in memory asks for the same slots at each step and for the same new facts in each round.
The database stays what counts: all is written there, and what was rolled back is read from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.core.facts import Event
from workbench.core.ports import Slot, SlotState

FACTS_KEPT = 32_768
SignerKey = tuple[int, str]
"""A chain's id, and an account."""


class JournalTail:
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

    @property
    def last(self) -> int:
        """The number of the newest one."""
        return self._after + len(self._facts)

    def facts(self, after: int, limit: int | None) -> list[tuple[int, Event]] | None:
        """Those after `after`, with their numbers; None if some of them are not known here."""
        first = after - self._after
        if first < 0:
            return None
        last = None if not limit else first + limit
        return list(enumerate(self._facts[first:last], after + 1))


class SlotCache:
    """All slots of a database, by their keys and by where they stand."""

    def __init__(self) -> None:
        self.load(())

    def load(self, slots: Iterable[Slot]) -> None:
        """These, and no others."""
        self._by_nonce: dict[tuple[int, str, int], Slot] = {}
        self._by_key: dict[tuple[int, str, str, str, int], Slot] = {}
        self._by_state: dict[tuple[int, str, SlotState], dict[int, Slot]] = {}
        self._txs: set[str] = set()
        self._next: dict[SignerKey, int] = {}
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
        if before is None or before.attempts is not slot.attempts:
            self._txs.update(attempt.tx for attempt in slot.attempts)
            self._next[chain_id, signer] = max(nonce + 1, self.next_nonce((chain_id, signer)))

    def next_nonce(self, own: SignerKey) -> int:
        """One above the highest of this signer; 0 if there is none."""
        return self._next.get(own, 0)

    def are_free(self, fresh: Sequence[Slot]) -> bool:
        """Whether nobody has the nonces, the keys and the transactions of these new slots."""
        txs = [attempt.tx for slot in fresh for attempt in slot.attempts]
        nonces = {(s.chain_id, s.signer, s.nonce) for s in fresh}
        keys = {(s.chain_id, s.signer, s.subject, s.act, s.attempt) for s in fresh}
        return (
            len(fresh) == len(nonces) == len(keys)
            and len(txs) == len(set(txs))
            and self._by_nonce.keys().isdisjoint(nonces)
            and self._by_key.keys().isdisjoint(keys)
            and self._txs.isdisjoint(txs)
        )

    def one(self, own: SignerKey, key: tuple[str, str, int]) -> Slot | None:
        return self._by_key.get((*own, *key))

    def those(self, own: SignerKey, states: Sequence[SlotState]) -> list[Slot]:
        """Slots in these states, by nonce."""
        found = (self._by_state.get((*own, state), {}) for state in states)
        return sorted((slot for each in found for slot in each.values()), key=_nonce)


def _nonce(slot: Slot) -> int:
    return slot.nonce

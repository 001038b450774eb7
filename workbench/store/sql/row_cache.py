"""Caches of committed rows.

A simulated world reads the same slots at each step and the same new facts in each round. In a
database that no other process can write, the cache has what a query would return. All rows are in
the database too: after a rollback the cache is read from there again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.core.facts import Event
from workbench.core.ports import Slot, SlotState
from workbench.core.x402 import SettlementRequest

CLAIMS_KEPT = 8_192
"""Size of the claim cache; beyond it, the cache starts again empty."""
FACTS_KEPT = 32_768
"""Size of the journal's tail; beyond it, the older half is dropped."""
SignerKey = tuple[int, str]
"""(chain id, address of the signer)."""


class ClaimCache:
    """Committed claims. A claim never changes, so it is cached even if others write."""

    def __init__(self, *, is_complete: bool) -> None:
        self.by_id: dict[str, SettlementRequest] = {}
        """By settlement id."""
        self.by_offer: dict[str, str] = {}
        """The settlement id that claimed an offer."""
        self.is_complete = is_complete
        """True while every claim of the database is here."""

    def add(self, claimed: SettlementRequest) -> None:
        """Add a committed claim."""
        if len(self.by_id) >= CLAIMS_KEPT:
            self.clear()
        self.by_id[claimed.settlement_id] = claimed
        self.by_offer[claimed.offer] = claimed.settlement_id

    def clear(self) -> None:
        """Forget all claims; the database may have more from now on."""
        self.is_complete = False
        self.by_id.clear()
        self.by_offer.clear()


class JournalTail:
    """The newest facts of a journal, with consecutive sequence numbers."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, last: int) -> None:
        """Drop all facts; the next one has the sequence number `last` + 1."""
        self._after, self._facts = last, list[Event]()

    def grow(self, facts: Iterable[Event]) -> None:
        """Append facts; they have the next sequence numbers."""
        self._facts += facts
        if len(self._facts) > FACTS_KEPT:
            dropped = len(self._facts) - FACTS_KEPT // 2
            del self._facts[:dropped]
            self._after += dropped

    @property
    def last(self) -> int:
        """The sequence number of the newest fact."""
        return self._after + len(self._facts)

    def facts(self, after: int, limit: int | None) -> list[tuple[int, Event]] | None:
        """Return (sequence number, fact) after number `after`; None if some were dropped."""
        first = after - self._after
        if first < 0:
            return None
        last = None if not limit else first + limit
        return list(enumerate(self._facts[first:last], after + 1))


class SlotCache:
    """All slots of a database: by nonce, by key, and by state."""

    def __init__(self) -> None:
        self.load(())

    def load(self, slots: Iterable[Slot]) -> None:
        """Replace the whole cache by these slots."""
        self._by_nonce: dict[tuple[int, str, int], Slot] = {}
        self._by_key: dict[tuple[int, str, str, str, int], Slot] = {}
        self._by_state: dict[tuple[int, str, SlotState], dict[int, Slot]] = {}
        self._txs: set[str] = set()
        self._next: dict[SignerKey, int] = {}
        for each in slots:
            self.put(each)

    def put(self, slot: Slot) -> None:
        """Insert a slot, or replace the slot of the same nonce."""
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

    def next_nonce(self, signer: SignerKey) -> int:
        """Return the highest nonce of a signer plus 1; 0 if there is none."""
        return self._next.get(signer, 0)

    def are_free(self, fresh: Sequence[Slot]) -> bool:
        """Return True if no nonce, key or transaction hash of these new slots is taken."""
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

    def by_key(self, signer: SignerKey, key: tuple[str, str, int]) -> Slot | None:
        """Return the slot of (subject, act, attempt)."""
        return self._by_key.get((*signer, *key))

    def in_states(self, signer: SignerKey, states: Sequence[SlotState]) -> list[Slot]:
        """Return the slots in these states, by nonce."""
        found = (self._by_state.get((*signer, state), {}) for state in states)
        return sorted((slot for each in found for slot in each.values()), key=_nonce)


def _nonce(slot: Slot) -> int:
    return slot.nonce

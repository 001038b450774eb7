"""Facts about blocks, and the facts that stand after a reorg."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityReached(Event):
    """The swap has its confirmations, and its block still has the same hash."""

    swap_block: int
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOrphaned(Event):
    """A reorg removed a block. The subject is its hash. Facts are never deleted."""

    number: int


def canonical(events: list[Event]) -> list[Event]:
    """Return the facts that stand: a fact of a block counts if it follows its last orphaning."""
    last_orphaned = {e.subject: n for n, e in enumerate(events) if isinstance(e, BlockOrphaned)}
    return [
        e
        for n, e in enumerate(events)
        if e.block is None or n > last_orphaned.get(e.block.hash, -1)
    ]

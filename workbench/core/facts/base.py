"""The base of all facts, and the reference to a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.core.records import quick


@quick
@dataclass(frozen=True, slots=True)
class BlockRef:
    """The place of a fact on the chain. If the block is orphaned, its facts no longer stand."""

    number: int
    hash: str
    tx: str
    log_index: int
    """Index of the log in the block; -1 for a fact about a whole transaction."""


class CachedLine:
    """Cache of the JSON line and of the id of a fact. Both are computed once."""

    __slots__ = ("_id", "_line")
    _line: str
    _id: str


_keep_line: Callable[[Any, str], None] = CachedLine.__dict__["_line"].__set__


_keep_id: Callable[[Any, str], None] = CachedLine.__dict__["_id"].__set__


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(CachedLine):
    """The base class of all facts."""

    subject: str
    """What the fact is about: settlement, payout, quote, block or buyer; 0x hex or a name."""
    at_ms: int
    """Unix milliseconds. For facts of the chain: the time of the block."""
    source: str
    """The emitter: a contract, a service or the simulator."""
    block: BlockRef | None = None
    """The block that the fact depends on. None: off chain."""

    kinds: ClassVar[dict[str, type[Event]]] = {}
    """All classes of facts by name."""
    contract: ClassVar[str] = ""
    """The contract that emits the event of the same name; "" for off-chain facts."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        Event.kinds[cls.__name__] = cls

    @property
    def type(self) -> str:
        """The name of the class, as in JSON."""
        return type(self).__name__

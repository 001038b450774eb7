"""The base of all facts: what each one has, and where on the chain it was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.core.records import quick


@quick
@dataclass(frozen=True, slots=True)
class BlockRef:
    """Where on the chain a fact was seen. An orphaned block takes its facts with it.

    `log_index` is the log's index in the block, -1 for facts about a whole transaction.
    """

    number: int
    hash: str
    tx: str
    log_index: int


class CachedLine:
    """Where a fact keeps its line and that line's id, once somebody asked: it never changes."""

    __slots__ = ("_id", "_line")
    _line: str
    _id: str


_keep_line: Callable[[Any, str], None] = CachedLine.__dict__["_line"].__set__


_keep_id: Callable[[Any, str], None] = CachedLine.__dict__["_id"].__set__


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(CachedLine):
    """What all facts share.

    `subject`: the settlement, payout, quote or block the fact is about (0x hex, or "").
    `at_ms`: Unix milliseconds; the block's time for chain facts. `source`: who emitted it.
    """

    subject: str
    at_ms: int
    source: str
    block: BlockRef | None = None

    kinds: ClassVar[dict[str, type[Event]]] = {}
    contract: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        Event.kinds[cls.__name__] = cls

    @property
    def type(self) -> str:
        return type(self).__name__

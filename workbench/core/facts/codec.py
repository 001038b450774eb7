"""Facts as JSON lines and back, and the id of a fact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from workbench.core.errors import StoreError
from workbench.core.facts.base import BlockRef, Event, _keep_id, _keep_line
from workbench.core.records import compiled

_NAMES: dict[type[Event], tuple[str, ...]] = {}


def _names(kind: type[Event]) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(f.name for f in fields(kind))
    return _NAMES[kind]


def to_dict(event: Event) -> dict[str, Any]:
    """Return the JSON-ready form: `type` first, then the fields."""
    data: dict[str, Any] = {"type": type(event).__name__}
    for name in _names(type(event)):
        data[name] = getattr(event, name)
    at = event.block
    if at is not None:
        reference = {"number": at.number, "hash": at.hash, "tx": at.tx, "log_index": at.log_index}
        data["block"] = reference
    return data


_quoted = json.encoder.encode_basestring_ascii


_Writer = Callable[["Event"], str]


_WRITERS: dict[type[Event], _Writer] = {}


def _writer(kind: type[Event]) -> _Writer:
    """Compile the function that writes the line of one class of facts."""
    places = {name: f"{{write[type(event.{name})](event.{name})}}" for name in _names(kind)}
    places["type"] = _quoted(kind.__name__)
    parts = [f"{_quoted(name)}:{places[name]}" for name in sorted(places)]
    return compiled(f"lambda event: f'{{{{{','.join(parts)}}}}}'", {"write": _JSON})


def to_json(event: Event) -> str:
    """Return the canonical line: sorted keys, no spaces, integers as integers.

    It equals the output of `json.dumps`. It is cached, because the facts of one settlement are
    written about 70 times.
    """
    try:
        return event._line
    except AttributeError:
        line = _line(event)
        _keep_line(event, line)
        return line


def _line(event: Event) -> str:
    """Return the JSON line of a fact."""
    kind = type(event)
    write = _WRITERS.get(kind)
    if write is None:
        write = _WRITERS[kind] = _writer(kind)
    return write(event)


def _place(at: BlockRef) -> str:
    where = f'"log_index":{at.log_index},"number":{at.number}'
    return f'{{"hash":{_quoted(at.hash)},{where},"tx":{_quoted(at.tx)}}}'


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class _Writers(dict[type, Callable[[Any], str]]):
    """Writers by exact type. Every other type uses `json`."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return _dumped


_JSON = _Writers(
    {
        str: _quoted,
        int: str,
        bool: {True: "true", False: "false"}.__getitem__,
        type(None): {None: "null"}.__getitem__,
        BlockRef: _place,
    }
)


_PLACE = {f.name for f in fields(BlockRef)}


ADDED_IN_FORMAT_3: dict[str, dict[str, Any]] = {
    "FaultInjected": {"tx": ""},
    "BuyerGaveUp": {"settlement_id": "", "address": ""},
}
"""Fields that run folders of format 2 lack, with their default values."""


def from_dict(data: dict[str, Any], added: dict[str, dict[str, Any]] | None = None) -> Event:
    """Read the form of `to_dict`. Raises StoreError for a fact of an unknown type or form.

    `added`: default values for fields that an older format lacks, by type of fact.
    """
    data = dict(data)
    kind = Event.kinds.get(str(data.pop("type", "")))
    if kind is None:
        raise StoreError("the journal holds a fact of an unknown type", hint="Update workbench.")
    names = _names(kind)
    if added and kind.__name__ in added:
        data = added[kind.__name__] | data
    if len(data) != len(names) or not all(name in data for name in names):
        odd = sorted(set(data) ^ set(names))
        raise StoreError(f"{kind.__name__}: missing or unknown fields {odd}")
    block = data.pop("block")
    if block is not None and not (isinstance(block, dict) and block.keys() == _PLACE):
        raise StoreError(f"{kind.__name__}: the block does not have the fields {sorted(_PLACE)}")
    return kind(**data, block=None if block is None else BlockRef(**block))


def from_json(line: str, added: dict[str, dict[str, Any]] | None = None) -> Event:
    """Read a line of `to_json`. `added`: see `from_dict`."""
    return from_dict(json.loads(line), added)


def from_line(line: str, added: dict[str, dict[str, Any]] | None = None) -> Event:
    """Read a line that `to_json` wrote, and cache it."""
    event = from_json(line, added)
    _keep_line(event, line)
    return event


def fact_id(event: Event, times_orphaned: int = 0) -> str:
    """Return the content id. A fact whose block was orphaned and came back has another id."""
    if times_orphaned:
        return _id(to_json(event), times_orphaned)
    try:
        return event._id
    except AttributeError:
        known = _id(to_json(event), 0)
        _keep_id(event, known)
        return known


def _id(line: str, times_orphaned: int) -> str:
    return hashlib.sha256(f"{line}#{times_orphaned}".encode()).hexdigest()

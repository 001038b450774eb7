"""Logs of the settlement contracts, decoded to events of `core.facts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Any

from eth_abi.abi import decode

from workbench.core.facts import BlockRef, Event
from workbench.core.x402 import snake
from workbench.evm.build.artifacts import interface
from workbench.evm.codec.abi import abi_type, hex_bytes, signature, to_hex, word_to_text
from workbench.evm.codec.fast_abi import WORD, WORDS, UnsupportedByFastAbi, keccak


def decode_log(log: dict[str, Any], at_ms: int) -> Event | None:
    """Return the event of a log, or None for an event without a class in `core.facts`.

    `at_ms`: the block's time in milliseconds. Raises one of `abi.DECODING_ERRORS`, StopIteration
    or LookupError for a log that does not fit the event. Cached: several watchers in one process
    read the same logs.
    """
    where = (log["blockNumber"], log["blockHash"], log["transactionHash"], log["logIndex"])
    return _decode_log(at_ms, *where, tuple(log["topics"]), log["data"], len(Event.kinds))


@lru_cache(4_096)
def _decode_log(
    at_ms: int,
    number: str,
    block_hash: str,
    tx: str,
    log_index: str,
    topics: tuple[str, ...],
    data: str,
    kinds: int,
) -> Event | None:
    """Return the fact of a log, or None for an unknown event."""
    decoder = _event_decoders(kinds).get(topics[0]) if topics else None
    if decoder is None:
        return None
    try:
        values = _values_by_fast_abi(decoder, topics, data)
    except UnsupportedByFastAbi:
        values = _values_by_eth_abi(decoder, topics, data)
    block = BlockRef(int(number, 16), block_hash, tx, int(log_index, 16))
    subject = values.pop("settlement_id", "")
    return decoder.kind(
        subject=subject, at_ms=at_ms, source=decoder.kind.contract, block=block, **values
    )


@dataclass(frozen=True, slots=True)
class EventDecoder:
    """How to decode one event."""

    kind: type[Event]
    """Its class in `core.facts`."""
    inputs: list[dict[str, Any]]
    """Its members as ABI items."""
    words: list[tuple[str | None, str]] | None
    """Name of the field (None: no such field) and type of each member, in the order of topics and
    data; None if a member is not a single word."""


@cache
def _event_decoders(kinds: int) -> dict[str, EventDecoder]:
    """Return the decoders by topic. `kinds`: the number of event classes, the cache's key."""
    table: dict[str, EventDecoder] = {}
    for kind in list(Event.kinds.values()):
        if not kind.contract:
            continue
        for item in interface(kind.contract):
            if item["type"] == "event" and item["name"] == kind.__name__:
                topic = to_hex(keccak(signature(item).encode()))
                table[topic] = EventDecoder(
                    kind, item["inputs"], _members_as_words(kind, item["inputs"])
                )
    return table


def _members_as_words(
    kind: type[Event], inputs: list[dict[str, Any]]
) -> list[tuple[str | None, str]] | None:
    """Return field name (None: not a field) and type of each word, or None if one is dynamic."""
    indexed = [item for item in inputs if item["indexed"]]
    flat = [item for item in inputs if not item["indexed"]]
    while any(item["type"] == "tuple" for item in flat):
        flat = [i for item in flat for i in item.get("components", [item])]
    if not all(item["type"] in WORDS for item in (*indexed, *flat)):
        return None
    wanted = {f.name for f in fields(kind)} | {"settlement_id"}
    named = [(snake(item["name"]), item["type"]) for item in (*indexed, *flat)]
    return [(name if name in wanted else None, kind_of_word) for name, kind_of_word in named]


def _values_by_fast_abi(decoder: EventDecoder, topics: Sequence[str], body: str) -> dict[str, Any]:
    """Return the members that have a field, if all members are words.

    Raises UnsupportedByFastAbi.
    """
    if decoder.words is None:
        raise UnsupportedByFastAbi
    data = hex_bytes("".join([topic[2:] for topic in topics[1:]]) + body[2:])
    if len(data) != WORD * len(decoder.words):
        raise UnsupportedByFastAbi
    values: dict[str, Any] = {}
    for n, (name, kind) in enumerate(decoder.words):
        value = WORDS[kind][1](data[n * WORD : (n + 1) * WORD])
        if name is not None:
            _store_member(values, name, kind, value)
    return values


def _values_by_eth_abi(decoder: EventDecoder, topics: Sequence[str], data: str) -> dict[str, Any]:
    """Return the members that have a field."""
    values: dict[str, Any] = {}
    indexed = iter(topics[1:])
    body = [i for i in decoder.inputs if not i["indexed"]]
    unindexed = iter(decode([abi_type(i) for i in body], hex_bytes(data)))
    for item in decoder.inputs:
        if item["indexed"]:
            (value,) = decode([abi_type(item)], hex_bytes(next(indexed)))
        else:
            value = next(unindexed)
        _flatten_into(values, item, value)
    wanted = {f.name for f in fields(decoder.kind)} | {"settlement_id"}
    return {k: v for k, v in values.items() if k in wanted}


def _flatten_into(values: dict[str, Any], item: dict[str, Any], value: Any) -> None:
    """Add the members of a struct under their own names."""
    if item["type"] == "tuple":
        for member, inner in zip(item["components"], value, strict=True):
            _flatten_into(values, member, inner)
    else:
        _store_member(values, snake(item["name"]), item["type"], value)


def _store_member(values: dict[str, Any], name: str, kind: str, value: Any) -> None:
    if name == "reason" and kind == "bytes32":
        value = word_to_text(value)
    values[name] = to_hex(value) if isinstance(value, bytes) else value

"""Logs of our contracts, decoded as web3 decodes them."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.codec.reference import AT, drawn, item, outside
from tests.hypothesis_profile import examples
from workbench.core import facts as ev
from workbench.core.x402 import snake
from workbench.evm.build.artifacts import load
from workbench.evm.codec import abi
from workbench.evm.codec.abi import abi_type, to_hex, word_to_text
from workbench.evm.codec.events import decode_log

CONTRACT_EVENTS = sorted(
    (kind for kind in ev.Event.kinds.values() if kind.contract), key=lambda kind: kind.__name__
)


def raw_log(entry: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """A log as a node gives it: topics and data by the ABI, numbers in hex."""
    pairs = list(zip(entry["inputs"], values, strict=True))
    topics = [to_hex(keccak(text=abi.signature(entry)))]
    topics += [to_hex(encode([abi_type(i)], [v])) for i, v in pairs if i["indexed"]]
    plain = [(abi_type(i), v) for i, v in pairs if not i["indexed"]]
    return {
        "address": AT.vault,
        "topics": topics,
        "data": to_hex(encode([k for k, _ in plain], [v for _, v in plain])),
        "blockNumber": "0x2a",
        "blockHash": "0x" + "bb" * 32,
        "transactionHash": "0x" + "cc" * 32,
        "transactionIndex": "0x1",
        "logIndex": "0x3",
        "removed": False,
    }


def as_web3_reads(name: str, entry: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    """What web3 makes of the log, flattened, in our spelling."""
    formatted = {
        **log,
        "topics": [HexBytes(topic) for topic in log["topics"]],
        "data": HexBytes(log["data"]),
        "blockHash": HexBytes(log["blockHash"]),
        "transactionHash": HexBytes(log["transactionHash"]),
        **{n: int(log[n], 16) for n in ("blockNumber", "transactionIndex", "logIndex")},
    }
    event = outside(name).events[entry["name"]]()
    flat: dict[str, Any] = {}
    for key, value in event.process_log(formatted)["args"].items():
        flat |= value if hasattr(value, "items") else {key: value}
    return {
        snake(key): (
            word_to_text(value) if key == "reason"
            else to_hex(value) if isinstance(value, bytes)
            else value.lower() if isinstance(value, str) else value
        )
        for key, value in flat.items()
    }  # fmt: skip


@examples(15)
@given(st.data(), st.integers(0, 2**53))
@pytest.mark.parametrize("kind", CONTRACT_EVENTS, ids=lambda kind: kind.__name__)
def test_a_log_is_decoded_as_web3_does(
    kind: type[ev.Event], data: st.DataObject, at_ms: int
) -> None:
    """Every contract event that is a fact: arguments, structs and indexed ones, block and place."""
    entry = item(kind.contract, "event", kind.__name__)
    log = raw_log(entry, drawn(data, entry["inputs"]))
    fact = decode_log(log, at_ms)
    assert fact is not None
    expected = as_web3_reads(kind.contract, entry, log)
    assert (kind, kind.contract, at_ms) == (type(fact), fact.source, fact.at_ms)
    assert expected.pop("settlement_id", "") == fact.subject
    assert ev.BlockRef(42, log["blockHash"], log["transactionHash"], 3) == fact.block
    ours = {n: v for n, v in ev.to_dict(fact).items()
            if n not in ("type", "subject", "at_ms", "source", "block")}  # fmt: skip
    assert expected == ours
    assert fact == ev.from_json(ev.to_json(fact)), "and it is plain enough for the journal"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CONTRACT_EVENTS if kind is not ev.PoolBalanced],  # About none.
    ids=lambda kind: kind.__name__,
)
def test_every_settlement_event_is_indexed_by_its_settlement(kind: type[ev.Event]) -> None:
    """Every settlement event has `bytes32 indexed settlementId` as its first argument."""
    first = item(kind.contract, "event", kind.__name__)["inputs"][0]
    assert ("settlementId", "bytes32", True) == (first["name"], first["type"], first["indexed"])


def test_one_emitter_for_each_fact() -> None:
    """No other of our contracts has an event by the same name: a reader by topic counts once."""
    names = {kind.__name__: kind.contract for kind in CONTRACT_EVENTS}
    emitters = [
        (entry["name"], contract)
        for contract in abi.OURS
        for entry in load(contract).abi
        if entry["type"] == "event" and entry["name"] in names
    ]
    assert sorted(names.items()) == sorted(emitters)


def test_logs_of_others_are_no_facts() -> None:
    """A transfer, an anonymous event, and a topic that nobody knows."""
    log = raw_log(item("MockUSDC", "event", "Transfer"), [AT.hook, AT.vault, 7])
    assert decode_log(log, 0) is None
    assert decode_log({**log, "topics": []}, 0) is None
    assert decode_log({**log, "topics": ["0x" + "00" * 32]}, 0) is None

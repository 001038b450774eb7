"""Property: any bytes are a consistent result or a named error."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.codec.jsonrpc_calls import GOOD, HOST, refused, told
from tests.evm.mutated import FORM, ODD, QUESTION, mutate, mutate_body
from tests.strategies import json_values
from workbench.core.errors import WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.jsonrpc import NodeRevert


@given(st.sampled_from(GOOD), st.one_of(st.binary(max_size=60), json_values.map(told)))
def test_any_bytes_are_a_result_or_our_error(good: tuple[RpcCall, Any], raw: bytes) -> None:
    """Nothing that a server may send leaves as a foreign exception."""
    read(good[0], raw)


@given(st.sampled_from(GOOD), st.randoms(use_true_random=False), st.booleans())
def test_a_changed_answer_is_a_consistent_result_or_a_named_fault(
    good: tuple[RpcCall, Any], chance: random.Random, whole: bool
) -> None:
    """Each method × null, a field missing, another type, huge, empty, of another question."""
    call, result = good
    plain = told({"jsonrpc": "2.0", "id": 7, "result": result})
    if whole:
        read(call, mutate_body(plain, call[0], chance, (FORM, QUESTION)))
    else:
        changed = mutate(call[0], result, chance, (FORM, QUESTION))
        read(call, told({"jsonrpc": "2.0", "id": 7, "result": changed}))


@pytest.mark.parametrize(("call", "result"), GOOD)
def test_odd_values_in_every_place(call: RpcCall, result: Any) -> None:
    """Each member of each answer in turn, so that none is left to chance."""
    for odd in ODD:
        read(call, told({"jsonrpc": "2.0", "id": 7, "result": odd}))
        for changed in changed_members(result, odd):
            read(call, told({"jsonrpc": "2.0", "id": 7, "result": changed}))


def changed_members(value: Any, odd: Any) -> list[Any]:
    """The value with one of its members, at any depth, replaced or missing."""
    found: list[Any] = []
    if not isinstance(value, dict | list):
        return found
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for place, inner in members:
        for other in (odd, *changed_members(inner, odd)):
            copy: Any = dict(value) if isinstance(value, dict) else list(value)
            copy[place] = other
            found.append(copy)
        if isinstance(value, dict):
            found.append({name: each for name, each in value.items() if name != place})
    return found


def read(call: RpcCall, raw: bytes) -> None:
    """A value that our code can work with, or an error that names the method."""
    try:
        result = jsonrpc.answer(HOST, 7, call, raw)
    except WorkbenchError as why:
        assert why.transient
        assert call[0] in f"{why.message} {why.details}" or isinstance(why, NodeRevert)
        return
    used(call, result)


def used(call: RpcCall, result: Any) -> None:
    """What the code does with results: numbers are read, and fields are there."""
    method = call[0]
    if method in ("eth_blockNumber", "eth_getTransactionCount", "eth_estimateGas"):
        assert int(result, 16) < 2**63
    elif method in ("eth_getBalance", "eth_gasPrice", "eth_maxPriorityFeePerGas"):
        assert int(result, 16) < 2**256
    elif method in ("eth_call", "eth_getCode"):
        bytes.fromhex(result[2:])
    elif method == "eth_getLogs":
        for log in result:
            used_log(log)
            if "blockHash" in call[1]:
                assert log["blockHash"] == call[1]["blockHash"]
    elif method.startswith("eth_getBlockBy") and result is not None:
        assert int(result["number"], 16) < 2**63
        assert call[1] in (result["hash"], hex(int(result["number"], 16)), "latest")
        assert int(result["timestamp"], 16) < 2**63
        assert len(result["transactions"]) <= 100_000
        assert int(result.get("baseFeePerGas") or "0x0", 16) < 2**256
    elif method == "eth_getTransactionReceipt" and result is not None:
        assert result["transactionHash"].lower() == call[1]
        assert int(result["gasUsed"], 16) * int(result["effectiveGasPrice"], 16) < 2**320
        assert result["status"] in ("0x0", "0x1")
        for log in result["logs"]:
            used_log(log)


def used_log(log: dict[str, Any]) -> None:
    bytes.fromhex(log["data"][2:])
    assert int(log["blockNumber"], 16) < 2**63
    assert int(log["logIndex"], 16) < 2**63
    assert all(int(topic, 16) < 2**256 for topic in log["topics"])


def test_a_request_is_json_rpc() -> None:
    """Version, id, method and parameters in order."""
    wanted = {"jsonrpc": "2.0", "id": 7, "method": "m", "params": ["0x1", True]}
    assert wanted == json.loads(jsonrpc.request(7, "m", ("0x1", True)))


def test_little_of_an_answer_is_quoted() -> None:
    """Nothing that could be a page, or a secret in one."""
    raw = b'{"oops": "' + b"s" * 500 + b'"'
    why = jsonrpc.outcome(HOST, 7, ("eth_blockNumber",), raw)
    assert "s" * 61 not in why.message
    upstream = {
        "code": 1,
        "message": "failed at https://user:secret@up.example.org/v2/secret?k=secret",
    }
    told_to_people = f"{refused(upstream)} {refused(upstream).to_json()}"
    assert "https://up.example.org" in told_to_people
    assert "secret" not in told_to_people

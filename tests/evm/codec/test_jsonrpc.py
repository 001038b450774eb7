"""JSON-RPC answers: typed values that belong to the question, or an error of ours that says why."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.mutated import FORM, ODD, QUESTION, mutate, mutate_body
from tests.strategies import json_values
from workbench.core.errors import RpcAnswerInvalid, RpcFault, RpcLimited, WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.jsonrpc import NodeRevert
from workbench.evm.codec.methods import RESULTS

HOST = "https://rpc.example.org"
A, B = "0x" + "aa" * 20, "0x" + "bb" * 20
H1, H2, H3 = ("0x" + each * 32 for each in ("11", "22", "33"))
LOG = {
    "address": A,
    "topics": [H3],
    "data": "0x" + "00" * 31 + "05",
    "blockHash": H1,
    "blockNumber": "0x10",
    "transactionHash": H2,
    "transactionIndex": "0x0",
    "logIndex": "0x0",
    "removed": False,
}
HEADER = {
    "number": "0x10",
    "hash": H1,
    "parentHash": H3,
    "timestamp": "0x6955b901",
    "gasLimit": "0x1c9c380",
    "gasUsed": "0x5208",
    "baseFeePerGas": "0x3b9aca00",
    "stateRoot": H3,
    "logsBloom": "0x" + "00" * 256,
    "uncles": [],
}
TX = {
    "hash": H2,
    "from": A,
    "to": None,
    "nonce": "0x1",
    "value": "0x0",
    "gas": "0x5208",
    "input": "0x",
    "blockNumber": "0x10",
    "blockHash": H1,
}
RECEIPT = {
    "transactionHash": H2,
    "blockNumber": "0x10",
    "blockHash": H1,
    "status": "0x1",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x3b9aca00",
    "logs": [LOG],
    "contractAddress": None,
}
TRY = {"from": A, "to": B, "data": "0x"}
TRIED = {"status": "0x1", "returnData": "0x01", "gasUsed": "0x5208", "logs": [LOG]}
REFUSED = {"status": "0x0", "returnData": "0x", "error": {"code": 3, "message": "reverted"}}
TRACE = {"gas": 1, "failed": False, "structLogs": []}
GOOD: list[tuple[RpcCall, Any]] = [
    (("eth_blockNumber",), "0x10"),
    (("eth_call", TRY, "latest"), "0x" + "00" * 32),
    (("eth_chainId",), "0x7a69"),
    (("eth_estimateGas", TRY, "latest"), "0x5208"),
    (("eth_gasPrice",), "0x3b9aca00"),
    (("eth_getBalance", A, "latest"), "0x21e19e0c9bab2400000"),
    (("eth_getBlockByHash", H1, False), HEADER | {"transactions": [H2]}),
    (("eth_getBlockByNumber", "0x10", False), HEADER | {"transactions": [H2]}),
    (("eth_getBlockByNumber", "latest", False), HEADER | {"transactions": []}),
    (("eth_getBlockByNumber", "0x10", True), HEADER | {"transactions": [TX]}),
    (("eth_getBlockByNumber", "0x11", False), None),
    (("eth_getBlockReceipts", "0x10"), [RECEIPT]),
    (("eth_getCode", A, "latest"), "0x60"),
    (("eth_getLogs", {"address": [A, B], "blockHash": H1}), [LOG]),
    (("eth_getLogs", {"address": A, "fromBlock": "0x1", "toBlock": "0x20"}), [LOG, LOG]),
    (("eth_getLogs", {"topics": [H3], "fromBlock": "0x10", "toBlock": "latest"}), [LOG]),
    (("eth_getLogs", {"fromBlock": "latest", "toBlock": "latest"}), []),
    (("eth_getRawTransactionByHash", H2), "0x02ab"),
    (("eth_getStorageAt", A, "0x0", "latest"), H1),
    (("eth_getTransactionByHash", H2), TX),
    (("eth_getTransactionByHash", H2), None),
    (("eth_getTransactionCount", A, "latest"), "0x7"),
    (("eth_getTransactionReceipt", H2), RECEIPT),
    (("eth_getTransactionReceipt", H2), None),
    (("eth_maxPriorityFeePerGas",), "0x1"),
    (("eth_sendRawTransaction", "0x02"), H2),
    (
        ("eth_simulateV1", {"blockStateCalls": [{"calls": [TRY, TRY]}]}, "latest"),
        [HEADER | {"calls": [TRIED, REFUSED]}],
    ),
    (("debug_traceBlockByNumber", "latest", {}), [{"txHash": H2, "result": TRACE}]),
    (("debug_traceTransaction", H2, {}), {"calls": [{"to": A, "value": "0x1"}]}),
    (("txpool_status",), {"pending": "0x0", "queued": "0x1"}),
    (("evm_snapshot",), "0x0"),
    (("evm_revert", "0x0"), True),
    (("evm_mine",), "0x0"),
    (("anvil_setBalance", A, "0x1"), None),
]  # fmt: skip
"""Questions, and an answer that is good."""


def told(data: Any) -> bytes:
    return json.dumps(data).encode()


def answered(call: RpcCall, **envelope: Any) -> Any:
    return jsonrpc.answer(HOST, 7, call, told({"jsonrpc": "2.0", "id": 7, **envelope}))


def refused(error: Any, method: str = "eth_call") -> WorkbenchError:
    """What an answer with this error is to us."""
    with pytest.raises(WorkbenchError) as caught:
        answered((method, TRY, "latest"), error=error)
    return caught.value


# --- Results --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "result"), GOOD)
def test_a_good_result_is_passed_on(call: RpcCall, result: Any) -> None:
    """Whatever our types know of it, and nothing else."""
    for found in (answered(call, result=result), answered(call, result=result, error=None)):
        assert is_part(found, result)


def is_part(found: Any, whole: Any) -> bool:
    """Whether it is the same but for members that were left out."""
    if isinstance(found, dict):
        return all(name in whole and is_part(found[name], whole[name]) for name in found)
    if isinstance(found, list):
        return len(found) == len(whole) and all(map(is_part, found, whole))
    return bool(found == whole)


def test_what_people_count_on_is_in_the_types() -> None:
    """A field that is dropped would read as missing."""
    block = answered(("eth_getBlockByNumber", "0x10", False), result=HEADER | {"transactions": []})
    assert {"number", "hash", "parentHash", "timestamp", "baseFeePerGas", "gasLimit"} < set(block)
    assert RECEIPT == answered(("eth_getTransactionReceipt", H2), result=RECEIPT) | {"logs": [LOG]}


BLOCK_16 = ("eth_getBlockByNumber", "0x10", False)
RECEIPT_2 = ("eth_getTransactionReceipt", H2)
ONE_TRY = ("eth_simulateV1", {"blockStateCalls": [{"calls": [TRY]}]}, "latest")
NEWEST = {"fromBlock": "latest", "toBlock": "latest"}
WITHOUT_PRICE = {name: value for name, value in RECEIPT.items() if name != "effectiveGasPrice"}
NO_HEX = "0x" + "zz" * 32
MOVED = HEADER | {"transactions": [TX | {"blockHash": H3}]}
ODD_ERROR = [{"calls": [REFUSED | {"error": "no"}]}]
BAD: list[tuple[RpcCall, Any, str]] = [
    (("eth_getBlockByNumber", "latest", False), None, ""),
    (BLOCK_16, HEADER, "transactions"),
    (("eth_getBlockByNumber", "0x11", False), HEADER | {"transactions": []}, "number"),
    (("eth_getBlockByHash", H2, False), HEADER | {"transactions": []}, "hash"),
    (BLOCK_16, HEADER | {"transactions": [NO_HEX]}, "transactions"),
    (("eth_getBlockByNumber", "0x10", True), MOVED, "transactions.blockHash"),
    (("eth_getBalance", A, "latest"), None, ""),
    (("eth_getBalance", A, "latest"), "0x", ""),
    (("eth_getBalance", A, "latest"), "0x1" + "0" * 64, ""),
    (("eth_getBalance", A, "latest"), "0x1\n", ""),
    (("eth_getCode", A, "latest"), None, ""),
    (("eth_getCode", A, "latest"), "0x1", ""),
    (("eth_getTransactionCount", A, "latest"), "0x8000000000000000", ""),
    (("eth_chainId",), None, ""),
    (("eth_chainId",), 1, ""),
    (("eth_blockNumber",), "latest", ""),
    (("eth_call", TRY, "latest"), None, ""),
    (("eth_call", TRY, "latest"), "10x", ""),
    (("eth_call", TRY, "latest"), "0x0x", ""),
    (("eth_getLogs", {}), None, ""),
    (("eth_getLogs", {}), [LOG | {"removed": True}], "removed"),
    (("eth_getLogs", {}), [LOG | {"data": "0x0"}], "data"),
    (("eth_getLogs", {}), [LOG | {"data": "0x０0"}], ""),
    (("eth_getLogs", {}), [LOG | {"topics": [H1] * 5}], "topics"),
    (("eth_getLogs", {"blockHash": H2}), [LOG], "blockHash"),
    (("eth_getLogs", {"address": [B]}), [LOG], "address"),
    (("eth_getLogs", {"topics": [None, H3]}), [LOG], "topics"),
    (("eth_getLogs", {"topics": [[H1, H2]]}), [LOG], "topics"),
    (("eth_getLogs", {"fromBlock": "0x11"}), [LOG], "blockNumber"),
    (("eth_getLogs", {"toBlock": "0xf"}), [LOG], "blockNumber"),
    (("eth_getLogs", {}), [LOG, LOG | {"blockNumber": "0x11"}], "blockNumber"),
    (("eth_getLogs", NEWEST), [LOG, LOG | {"blockHash": H2}], "blockHash"),
    (("eth_getTransactionReceipt", H1), RECEIPT, "transactionHash"),
    (RECEIPT_2, WITHOUT_PRICE, "effectiveGasPrice"),
    (RECEIPT_2, RECEIPT | {"status": "0x2"}, "status"),
    (RECEIPT_2, RECEIPT | {"logs": [LOG | {"blockHash": H2}]}, "logs.blockHash"),
    (RECEIPT_2, RECEIPT | {"logs": None}, "logs"),
    (("eth_getBlockReceipts", "0x11"), [RECEIPT], "blockNumber"),
    (("eth_getBlockReceipts", H2), [RECEIPT], "blockHash"),
    (("eth_getBlockReceipts", "0x10"), [RECEIPT, RECEIPT], "transactionHash"),
    (("eth_getTransactionByHash", H1), TX, "hash"),
    (("eth_sendRawTransaction", "0x02"), None, ""),
    (ONE_TRY, [], ""),
    (ONE_TRY, [{"calls": []}], "calls"),
    (ONE_TRY, ODD_ERROR, "calls"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "result", "field"), BAD)
def test_a_result_of_another_form_or_question_is_named(
    call: RpcCall, result: Any, field: str
) -> None:
    """Method, field and reason, in one sentence that quotes little."""
    with pytest.raises(RpcAnswerInvalid) as caught:
        answered(call, result=result)
    why = caught.value
    assert why.transient
    assert why.code == "rpc_answer_invalid"
    assert call[0] == why.details["method"]
    assert call[0] in why.message
    assert why.details["field"].startswith(field)
    assert why.details["reason"]
    assert len(why.message) < 260


def test_methods_of_a_table_are_all_tried_here() -> None:
    """What is asked of foreign nodes has an answer among those above."""
    tried = {call[0] for call, _ in GOOD}
    assert {name for name in RESULTS if name.startswith("eth_")} - tried == {"eth_sendTransaction"}


# --- Ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [None, 6, 8, "7", True, 7.5, [7], {}])
@pytest.mark.parametrize("said", [{"result": "0x1"}, {"error": {"code": 3, "message": "revert"}}])
def test_an_answer_to_another_request_is_none(identity: Any, said: Any) -> None:
    """Its result and its error are both refused, and the next reader gets an error."""
    raw = told({"jsonrpc": "2.0", "id": identity, **said})
    why = jsonrpc.outcome(HOST, 7, ("eth_blockNumber",), raw)
    assert isinstance(why, RpcAnswerInvalid)
    assert jsonrpc.is_truncated(why)
    assert not isinstance(why, NodeRevert)


def test_an_answer_without_any_id_is_none() -> None:
    for said in ({"result": "0x1"}, {"error": "odd"}):
        assert jsonrpc.is_truncated(jsonrpc.outcome(HOST, 7, ("eth_blockNumber",), told(said)))
    limited = {"jsonrpc": "2.0", "id": None, "error": {"code": -32005, "message": "slow down"}}
    assert isinstance(jsonrpc.outcome(HOST, 7, ("eth_blockNumber",), told(limited)), RpcLimited)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x08c379a0"}, "0x08c379a0"),
        ({"code": 3, "message": "execution reverted"}, "0x"),
        ({"code": -32000, "message": "VM Exception: Revert"}, "0x"),
        ({"code": -32015, "message": "error", "data": {"data": "0xabcd"}}, "0xabcd"),
        ({"code": 3, "message": "execution reverted", "data": "0xnonsense"}, "0x"),
        ({"code": 3, "message": "execution reverted", "data": "0x123"}, "0x"),
        ({"code": 3, "message": "execution reverted", "data": "0x12\n"}, "0x"),
    ],
)
def test_a_revert_is_told_with_its_data(error: dict[str, Any], data: str) -> None:
    """However a node words it: a revert, and data that can be decoded."""
    why = refused(error)
    assert isinstance(why, NodeRevert)
    assert data == why.data
    bytes.fromhex(why.data[2:])


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32601, "message": "the method does not exist"},
        {"code": -32000, "message": "exceeds block gas limit"},
        {"code": -32000, "message": "gas limit exceeded"},
        "forbidden",
        ["odd"],
        {"code": 1},
        {"code": 1, "message": "x" * 10_000},
        {"code": 1, "message": "two\nlines\x1b[31m"},
    ],
)
def test_an_error_of_the_node_is_a_fault(error: Any) -> None:
    """The node's own words are in the message, bounded, and the method that it refused."""
    why = refused(error)
    assert type(why) is RpcFault
    assert why.transient
    assert "eth_call" in why.message
    assert len(why.message) < 400
    assert why.message.isprintable()


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32005, "message": "limit exceeded"},
        {"code": -32005, "message": ""},
        {"code": 429, "message": "Too Many Requests"},
        {"code": -32000, "message": "daily request count exceeded, request rate limited"},
        {"code": -32097, "message": "Your app has exceeded its compute units per second"},
        "rate limit",
    ],
)
def test_a_limit_is_told_as_a_limit(error: Any) -> None:
    why = refused(error)
    assert isinstance(why, RpcLimited)
    assert why.transient
    assert f"the node at {HOST} limits requests" in why.message
    assert why.details == {"method": "eth_call"}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("query returned more than 10000 results", RpcFault),
        ("block range limit exceeded", RpcFault),
        ("limit exceeded", RpcFault),
        ("too many requests", RpcLimited),
    ],
)
def test_too_many_logs_are_no_limit_of_requests(message: str, kind: type[Any]) -> None:
    """Some nodes use one code for both: then fewer blocks are asked for."""
    assert kind is type(refused({"code": -32005, "message": message}, "eth_getLogs"))


@pytest.mark.parametrize(
    "raw", [b"", b"<html>502</html>", b"[]", b'"x"', b"null", b"{}", b'{"message":"slow down"}']
)
def test_what_is_no_answer_is_never_a_result(raw: bytes) -> None:
    """A gateway's page must not read as null: "no such receipt"."""
    with pytest.raises(RpcAnswerInvalid) as caught:
        jsonrpc.answer(HOST, 7, ("eth_getTransactionReceipt", H2), raw)
    assert caught.value.transient


# --- Anything at all ------------------------------------------------------------------------------


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


# --- Requests, and the texts of errors ------------------------------------------------------------


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

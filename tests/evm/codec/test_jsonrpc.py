"""JSON-RPC answers: typed values that belong to the question, or an error of ours that says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.evm.codec.jsonrpc_calls import (
    GOOD,
    H1,
    H2,
    H3,
    HEADER,
    HOST,
    LOG,
    RECEIPT,
    REFUSED,
    TRY,
    TX,
    A,
    B,
    answered,
    told,
)
from workbench.core.errors import RpcAnswerInvalid, RpcLimited
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.jsonrpc import NodeRevert
from workbench.evm.codec.methods import RESULTS


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

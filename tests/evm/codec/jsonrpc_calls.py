"""Example calls with good results, and helpers that decode an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.core.errors import WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall

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

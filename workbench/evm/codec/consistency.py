"""Whether an answer of the right form belongs to the question that was asked.

Each check takes the call (method and parameters as they were sent) and the result, decoded. It
raises Mismatch, which names the field and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from workbench.evm.codec.bloom import bloom_of

RpcCall = tuple[Any, ...]
HEX_DIGITS = b"0123456789abcdefABCDEF"
TAGS = frozenset({"latest", "safe", "finalized", "earliest"})
"""Names of blocks that every chain has. ("pending" is none: a node need not make one.)"""


class Mismatch(ValueError):
    """`field`: a path into the result."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


def _require_hex(field: str, texts: Sequence[str]) -> None:
    """All are 0x and hex digits. One look at all together takes a tenth of a pattern for each."""
    if not texts:
        return
    joined = "," + ",".join(texts)
    is_plain = joined.isascii() and joined.count(",0x") == len(texts)
    if not is_plain or joined.encode().translate(None, HEX_DIGITS) != b",x" * len(texts):
        raise Mismatch(field, "it is not all 0x and hex digits")


def _require_same(field: str, said: str, asked: str) -> None:
    if said != asked and said.lower() != asked.lower():
        raise Mismatch(field, "it is another one than was asked for")


def _data(call: RpcCall, data: str | None) -> None:
    if data is not None:
        _require_hex("", [data])
        _require_bytes("", data)


def _require_bytes(field: str, data: str) -> None:
    if len(data) & 1:
        raise Mismatch(field, "it has half a byte at its end")


# --- Blocks ---


def _block(call: RpcCall, block: dict[str, Any] | None) -> None:
    """Raise Mismatch unless the block is the requested one."""
    by_hash, asked = call[0] == "eth_getBlockByHash", call[1]
    if block is None:
        if asked in TAGS:
            raise Mismatch("", f"there is always a block {asked!r}, and the answer is null")
        return
    if by_hash:
        _require_same("hash", block["hash"], asked)
    elif asked not in TAGS and asked != "pending" and int(block["number"], 16) != int(asked, 16):
        raise Mismatch("number", "it is the block of another number than was asked for")
    transactions = block["transactions"]
    if transactions and isinstance(transactions[0], str):
        _require_hex("transactions", transactions)
    for each in transactions if transactions and isinstance(transactions[0], dict) else ():
        for field, own in (("blockHash", block["hash"]), ("blockNumber", block["number"])):
            if each.get(field) is not None:
                _require_same(f"transactions.{field}", each[field], own)


# --- Logs ---


def _texts(logs: Iterable[dict[str, Any]]) -> list[str]:
    """Return address, data and topics of the logs. Raises Mismatch for data that is not bytes."""
    texts: list[str] = []
    for log in logs:
        texts += (log["address"], log["data"], *log["topics"])
        _require_bytes("data", log["data"])
    return texts


def _logs(call: RpcCall, logs: list[dict[str, Any]]) -> None:
    """In the range, or the block, that was asked for, of the addresses and with the topics."""
    query = call[1]
    texts = _texts(logs)
    for log in logs:
        texts += (log["blockHash"], log["blockNumber"], log["transactionHash"], log["logIndex"])
        if log.get("removed"):
            raise Mismatch("removed", "a log of a block that is no more is among them")
    _require_hex("", texts)
    if not logs:
        return
    _require_place(query, logs)
    addresses = query.get("address")
    if addresses is not None:
        several = [addresses] if isinstance(addresses, str) else addresses
        wanted = {each.lower() for each in several}
        if wanted and not {log["address"].lower() for log in logs} <= wanted:
            raise Mismatch("address", "a log of another address is among them")
    for place, topic in enumerate(query.get("topics") or ()):
        if topic is not None:
            _require_topic(place, {topic} if isinstance(topic, str) else set(topic), logs)


def _require_place(query: dict[str, Any], logs: list[dict[str, Any]]) -> None:
    """Raise Mismatch for a log of another block, or outside of the requested range."""
    numbers = {log["blockNumber"] for log in logs}
    hashes = {log["blockHash"] for log in logs}
    if len(hashes) != len({(log["blockNumber"], log["blockHash"]) for log in logs}):
        raise Mismatch("blockNumber", "one block has two numbers")
    if "blockHash" in query:
        if {each.lower() for each in hashes} != {query["blockHash"].lower()}:
            raise Mismatch("blockHash", "a log of another block is among them")
        return
    if query.get("fromBlock") == query.get("toBlock") == "latest" and len(hashes) > 1:
        raise Mismatch("blockHash", "logs of two blocks stand for one")
    found = [int(each, 16) for each in numbers]
    first, last = (_number(query.get(name)) for name in ("fromBlock", "toBlock"))
    if (first is not None and min(found) < first) or (last is not None and max(found) > last):
        raise Mismatch("blockNumber", "a log of a block outside the range is among them")


def _number(tag: str | None) -> int | None:
    return int(tag, 16) if tag is not None and tag.startswith("0x") else None


def _require_topic(place: int, wanted: set[str], logs: list[dict[str, Any]]) -> None:
    wanted = {each.lower() for each in wanted}
    for log in logs:
        if len(log["topics"]) <= place or log["topics"][place].lower() not in wanted:
            raise Mismatch("topics", "a log with other topics is among them")


# --- Transactions ---


def _receipt(call: RpcCall, receipt: dict[str, Any] | None) -> None:
    if receipt is not None:
        _require_same("transactionHash", receipt["transactionHash"], call[1])
        _require_whole(receipt)


def _receipts(call: RpcCall, receipts: list[dict[str, Any]] | None) -> None:
    """Raise Mismatch unless the receipts are whole and of the requested block."""
    asked = call[1]
    for receipt in receipts or ():
        if len(asked) == len(receipt["blockHash"]):
            _require_same("blockHash", receipt["blockHash"], asked)
        elif asked not in TAGS and int(receipt["blockNumber"], 16) != int(asked, 16):
            raise Mismatch("blockNumber", "a receipt of another block is among them")
        _require_whole(receipt)
    if receipts:
        if len({(each["blockHash"], each["blockNumber"]) for each in receipts}) > 1:
            raise Mismatch("blockHash", "receipts of two blocks stand for one")
        if len({each["transactionHash"] for each in receipts}) < len(receipts):
            raise Mismatch("transactionHash", "one transaction has two receipts")


def _require_whole(receipt: dict[str, Any]) -> None:
    """Its logs are of its transaction, in its block, and none is missing."""
    logs = receipt["logs"]
    _require_hex("logs", _texts(logs))
    for log in logs:
        for field in ("transactionHash", "blockHash", "blockNumber"):
            _require_same(f"logs.{field}", log[field], receipt[field])
        _require_hex("logs.logIndex", [log["logIndex"]])
        if log.get("removed"):
            raise Mismatch("logs.removed", "a log of a block that is no more is among them")
    said = int(receipt.get("logsBloom") or "0x0", 16)
    if said and said != bloom_of(logs):  # Some chains fill no filters.
        raise Mismatch("logs", "they are not those that its bloom filter says")


def _transaction(call: RpcCall, transaction: dict[str, Any] | None) -> None:
    if transaction is not None:
        _require_same("hash", transaction["hash"], call[1])


# --- Trials and traces ---


def _simulated(call: RpcCall, blocks: list[dict[str, Any]]) -> None:
    """As many blocks and calls as were asked."""
    asked = call[1]["blockStateCalls"]
    if len(blocks) != len(asked):
        raise Mismatch("", f"{len(asked)} blocks were asked for, and {len(blocks)} are answered")
    for want, block in zip(asked, blocks, strict=True):
        calls = block["calls"]
        if len(calls) != len(want.get("calls", ())):
            raise Mismatch("calls", "another number of calls than was asked for is answered")
        _require_hex("calls.returnData", [each["returnData"] for each in calls])
        for each in calls:
            _require_bytes("calls.returnData", each["returnData"])
        _require_hex("calls.logs", _texts(log for each in calls for log in each.get("logs", ())))


def _traces(call: RpcCall, traces: list[dict[str, Any]]) -> None:
    _require_hex("txHash", [each["txHash"] for each in traces if "txHash" in each])


CHECKS: dict[str, Callable[[RpcCall, Any], None]] = {
    "anvil_dumpState": _data,
    "eth_call": _data,
    "eth_getCode": _data,
    "eth_getRawTransactionByHash": _data,
    "debug_traceBlockByNumber": _traces,
    "eth_getBlockByHash": _block,
    "eth_getBlockByNumber": _block,
    "eth_getBlockReceipts": _receipts,
    "eth_getLogs": _logs,
    "eth_getTransactionByHash": _transaction,
    "eth_getTransactionReceipt": _receipt,
    "eth_simulateV1": _simulated,
}
"""What is looked at beyond the form, by method."""

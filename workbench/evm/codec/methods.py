"""Every JSON-RPC method that is used, and the type of its result.

The forms are those of the execution API (github.com/ethereum/execution-apis): quantities and data
are texts of hex digits. Fields that nobody here reads are not in the types, and are dropped.
Where a type allows None, null has a meaning: no such block, transaction or receipt yet.

Texts that come by the thousand (in logs, in lists of hashes) are only bounded in length here:
`consistency` looks at their digits together, for a tenth of a pattern's time.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

MAX_ITEMS = 100_000
"""Of a list: more than any block or range of blocks holds."""
MAX_DATA = 2 + 2 * 4_000_000
"""Characters of one piece of data: code, calldata, a log's data, what a call returns."""
MAX_DUMP = 1 << 28
MAX_TEXT = 10_000

Quantity = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{1,64}\Z")]
"""Below 2**256."""
SmallQuantity = Annotated[str, Meta(pattern=r"^0x[0-7]?[0-9a-fA-F]{1,15}\Z")]
"""Below 2**63: block numbers, times, counts, amounts of gas."""
BitQuantity = Annotated[str, Meta(pattern=r"^0x[01]\Z")]
Hash = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{64}\Z")]
Bloom = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{512}\Z")]
Address = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Data = Annotated[str, Meta(pattern=r"^0x(?:[0-9a-fA-F]{2})*+\Z", max_length=MAX_DATA)]
BoundedText = Annotated[str, Meta(max_length=MAX_TEXT)]

# Their digits are looked at by `consistency`.
SizedHash = Annotated[str, Meta(min_length=66, max_length=66)]
SizedAddress = Annotated[str, Meta(min_length=42, max_length=42)]
BoundedData = Annotated[str, Meta(min_length=2, max_length=MAX_DATA)]
BoundedDump = Annotated[str, Meta(min_length=2, max_length=MAX_DUMP)]
BoundedQuantity = Annotated[str, Meta(min_length=3, max_length=17)]
"""Below 2**60."""
Hashes = Annotated[list[SizedHash], Meta(max_length=MAX_ITEMS)]
Topics = Annotated[list[SizedHash], Meta(max_length=4)]


class Log(TypedDict):
    address: SizedAddress
    topics: Topics
    data: BoundedData
    blockHash: SizedHash
    blockNumber: BoundedQuantity
    transactionHash: SizedHash
    logIndex: BoundedQuantity
    removed: NotRequired[bool]


class SimulatedLog(TypedDict):
    """Of a call that was simulated: it is in no block."""

    address: SizedAddress
    topics: Topics
    data: BoundedData


Logs = Annotated[list[Log], Meta(max_length=MAX_ITEMS)]


class BlockFields(TypedDict):
    number: SmallQuantity
    hash: Hash
    parentHash: Hash
    timestamp: SmallQuantity
    gasLimit: SmallQuantity
    gasUsed: SmallQuantity
    baseFeePerGas: NotRequired[Quantity | None]
    stateRoot: NotRequired[Hash]
    receiptsRoot: NotRequired[Hash]
    logsBloom: NotRequired[Bloom | None]


class BlockHeader(BlockFields):
    transactions: Hashes


_TRANSACTION = {
    "hash": Hash,
    "from": Address,
    "to": NotRequired[Address | None],
    "nonce": SmallQuantity,
    "value": Quantity,
    "gas": SmallQuantity,
    "gasPrice": NotRequired[Quantity | None],
    "maxFeePerGas": NotRequired[Quantity | None],
    "maxPriorityFeePerGas": NotRequired[Quantity | None],
    "input": Data,
    "type": NotRequired[SmallQuantity],
    "blockNumber": NotRequired[SmallQuantity | None],
    "blockHash": NotRequired[Hash | None],
    "transactionIndex": NotRequired[SmallQuantity | None],
}
Transaction = TypedDict("Transaction", _TRANSACTION)  # type: ignore[misc]


class FullBlock(BlockFields):
    transactions: Annotated[list[Transaction], Meta(max_length=MAX_ITEMS)]


_RECEIPT = {
    "transactionHash": Hash,
    "blockNumber": SmallQuantity,
    "blockHash": Hash,
    "status": BitQuantity,
    "gasUsed": SmallQuantity,
    "effectiveGasPrice": Quantity,
    "logs": Logs,
    "logsBloom": NotRequired[Bloom | None],
    "from": NotRequired[Address],
    "to": NotRequired[Address | None],
    "contractAddress": NotRequired[Address | None],
    "cumulativeGasUsed": NotRequired[SmallQuantity],
    "transactionIndex": NotRequired[SmallQuantity],
    "type": NotRequired[SmallQuantity],
    "l1Fee": NotRequired[Quantity | None],
}
Receipt = TypedDict("Receipt", _RECEIPT)  # type: ignore[misc]


class SimulatedError(TypedDict, total=False):
    code: int
    message: BoundedText
    data: Any


class SimulatedCall(TypedDict):
    """One call of `eth_simulateV1`."""

    status: BitQuantity
    returnData: BoundedData
    gasUsed: NotRequired[SmallQuantity]
    logs: NotRequired[Annotated[list[SimulatedLog], Meta(max_length=MAX_ITEMS)]]
    error: NotRequired[SimulatedError | None]


class SimulatedBlock(TypedDict):
    calls: Annotated[list[SimulatedCall], Meta(max_length=MAX_ITEMS)]


class TraceEnd(TypedDict):
    """A trace without steps. `gas`: what was used, in anvil by all so far."""

    gas: Annotated[int, Meta(ge=0)]
    failed: bool


class BlockTrace(TypedDict):
    txHash: NotRequired[SizedHash]
    result: NotRequired[TraceEnd | None]


_CALL = {
    "type": NotRequired[BoundedText],
    "from": NotRequired[Address],
    "to": NotRequired[Address | None],
    "value": NotRequired[Quantity | None],
    "input": NotRequired[Data],
    "output": NotRequired[Data | None],
    "error": NotRequired[BoundedText],
    "gas": NotRequired[SmallQuantity],
    "gasUsed": NotRequired[SmallQuantity],
    "calls": NotRequired[list["CallTrace"]],
}
CallTrace = TypedDict("CallTrace", _CALL)  # type: ignore[misc]


class PoolStatus(TypedDict):
    """How many transactions a pool holds."""

    pending: SmallQuantity
    queued: SmallQuantity


RESULTS: dict[str, Any] = {
    # The chain, as every node tells it.
    "eth_blockNumber": SmallQuantity,
    "eth_call": BoundedData,
    "eth_chainId": SmallQuantity,
    "eth_estimateGas": SmallQuantity,
    "eth_gasPrice": Quantity,
    "eth_getBalance": Quantity,
    "eth_getBlockByHash": BlockHeader | None,
    "eth_getBlockByNumber": BlockHeader | None,
    "eth_getBlockReceipts": Annotated[list[Receipt], Meta(max_length=MAX_ITEMS)] | None,
    "eth_getCode": BoundedData,
    "eth_getLogs": Logs,
    "eth_getRawTransactionByHash": BoundedData | None,
    "eth_getStorageAt": Hash,
    "eth_getTransactionByHash": Transaction | None,
    "eth_getTransactionCount": SmallQuantity,
    "eth_getTransactionReceipt": Receipt | None,
    "eth_maxPriorityFeePerGas": Quantity,
    "eth_sendRawTransaction": Hash,
    "eth_simulateV1": Annotated[list[SimulatedBlock], Meta(max_length=MAX_ITEMS)],
    # What nodes of our own are asked besides.
    "anvil_dropAllTransactions": None,
    "anvil_dropTransaction": Hash | None,
    "anvil_dumpState": BoundedDump,
    "anvil_impersonateAccount": None,
    "anvil_loadState": bool,
    "anvil_mine": None,
    "anvil_removeBlockTimestampInterval": bool,
    "anvil_reorg": None,
    "anvil_rollback": None,
    "anvil_setBalance": None,
    "anvil_setBlockTimestampInterval": None,
    "anvil_setCode": None,
    "anvil_setLoggingEnabled": None,
    "anvil_setNextBlockBaseFeePerGas": None,
    "anvil_setNonce": None,
    "anvil_setStorageAt": bool,
    "anvil_stopImpersonatingAccount": None,
    "debug_traceBlockByNumber": Annotated[list[BlockTrace], Meta(max_length=MAX_ITEMS)],
    "debug_traceTransaction": CallTrace,
    "eth_sendTransaction": Hash,
    "evm_increaseTime": int | Quantity,
    "evm_mine": BoundedText,
    "evm_revert": bool,
    "evm_setAutomine": None,
    "evm_setBlockGasLimit": bool,
    "evm_setIntervalMining": None,
    "evm_setNextBlockTimestamp": None,
    "evm_setTime": int | Quantity,
    "evm_snapshot": SmallQuantity,
    "txpool_status": PoolStatus,
}
"""Type of each method's result. A method that is not here may not be asked (`test_tidy`)."""
WITH_TRANSACTIONS: dict[str, Any] = {
    "eth_getBlockByHash": FullBlock | None,
    "eth_getBlockByNumber": FullBlock | None,
}
"""Of questions that end with True: transactions themselves instead of their hashes."""
REPEATABLE = frozenset(
    name
    for name in RESULTS
    if name.startswith(("eth_", "debug_", "txpool_"))
    and name not in ("eth_sendRawTransaction", "eth_sendTransaction")
)
"""Reads: asking once more changes nothing."""

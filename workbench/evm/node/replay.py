"""Blocks as they can be made again on another node, from the very same raw transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from workbench.core.errors import WorkbenchError
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import BLOCK, MINE, SEND

RAW = "eth_getRawTransactionByHash"


@dataclass(frozen=True)
class RecordedBlock:
    """What is needed to make a block again: Unix seconds, wei, gas, and signed bytes as 0x hex.

    `receipts_root` is what came of it: status, gas and logs of each transaction.
    """

    timestamp: int
    base_fee: int
    gas_limit: int
    receipts_root: str
    raws: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`. TypeError or KeyError for anything else."""
        return cls(**{**data, "raws": tuple(data["raws"])})


def recorded(rpc: BlockingRpc, first: int) -> list[RecordedBlock]:
    """The blocks from number `first` to the newest. Raises what the node answers."""
    head = int(rpc.now("eth_blockNumber"), 16)
    numbers = range(first, head + 1)
    found = _results(rpc, [(BLOCK, hex(number), False) for number in numbers])
    hashes = [tx for block in found for tx in block["transactions"]]
    raws = dict(zip(hashes, _results(rpc, [(RAW, tx) for tx in hashes]), strict=True))
    return [
        RecordedBlock(
            int(block["timestamp"], 16),
            int(block["baseFeePerGas"], 16),
            int(block["gasLimit"], 16),
            block["receiptsRoot"],
            tuple(raws[tx] for tx in block["transactions"]),
        )
        for block in found
    ]


def replay(rpc: BlockingRpc, blocks: Sequence[RecordedBlock]) -> None:
    """The same on a node that mines when told. Raises what it answers."""
    for block in blocks:
        sends = [(SEND, raw) for raw in block.raws]
        shape = [("evm_setBlockGasLimit", hex(block.gas_limit))]
        shape += [("anvil_setNextBlockBaseFeePerGas", hex(block.base_fee))]
        _results(rpc, [*sends, *shape, (MINE, {"timestamp": block.timestamp})])


def _results(rpc: BlockingRpc, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    answers = rpc.all_now(calls)
    for answer in answers:
        if isinstance(answer, WorkbenchError):
            raise answer
    return answers

"""Answers of a node that we mine ourselves: they hold until the next block."""

from __future__ import annotations

from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.rpc.client import BLOCK, MINE, RECEIPT, SEND, TRACES
from workbench.evm.rpc.pending import CacheKey, PendingRpc, cache_key

CACHEABLE = frozenset(
    {
        TRACES,
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getBlockReceipts",
        "eth_getCode",
        "eth_getLogs",
        "eth_getStorageAt",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
    }
)
"""Methods whose answers stay the same until a block is mined or the state is set by hand."""
UNCACHED_READS = frozenset(
    {
        SEND,
        "anvil_setNextBlockBaseFeePerGas",
        "eth_estimateGas",
        "eth_getRawTransactionByHash",
        "eth_getTransactionByHash",
        "eth_simulateV1",
        "evm_snapshot",
    }
)
"""Methods that change none of those answers, and are never cached themselves."""
MAX_BLOCKS = 1_024
"""How many blocks and receipts are kept across blocks."""


class AnswerCache:
    """Answers by call, and which calls are made in each block.

    A *generation* is the time between two changes of the chain. An answer is stored only if it was
    requested in the current generation.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.answers: dict[CacheKey, Any] = {}
        """Answers of this generation. It is always the same dictionary."""
        self.in_flight: dict[CacheKey, tuple[PendingRpc, int]] = {}
        """Calls that are written and not answered: where, and the place among its results."""
        self.unmined: set[str] = set()
        """Transactions that were sent in this generation: they have no receipt."""
        self._blocks: dict[CacheKey, Any] = {}
        """Blocks by number, and receipts: they stay valid in later generations."""
        self._calls: dict[CacheKey, RpcCall] = {}
        self._calls_before: dict[CacheKey, RpcCall] = {}

    def invalidate(self) -> None:
        """Forget everything: any answer may have changed."""
        self._blocks.clear()
        self.start_generation()

    def start_generation(self) -> None:
        """Forget what the next block changes; older blocks and receipts stay."""
        self.generation += 1
        self.answers.clear()
        self.in_flight.clear()
        self.unmined.clear()
        if len(self._blocks) > MAX_BLOCKS:
            self._blocks.clear()

    def find(self, key: CacheKey) -> tuple[bool, Any]:
        """Return whether an answer is cached, and the answer."""
        if key in self.answers:
            return True, self.answers[key]
        return key in self._blocks, self._blocks.get(key)

    def is_unmined_receipt(self, call: RpcCall) -> bool:
        """Return whether the call asks for the receipt of a transaction sent in this generation."""
        return call[0] == RECEIPT and call[1] in self.unmined

    def store(self, key: Any, answer: Any, generation: int) -> None:
        """Store an answer that was requested in `generation`. A key that is no tuple is ignored."""
        if not isinstance(key, tuple) or generation != self.generation:
            return
        self.in_flight.pop(key, None)
        if isinstance(answer, WorkbenchError):
            return
        self.answers[key] = answer
        if answer is not None and key[0] == RECEIPT:
            self._blocks[key] = answer
        elif answer is not None and key[0] == BLOCK and key[1].endswith(b",false]"):
            self._blocks[cache_key((BLOCK, answer["number"], False))] = answer

    # --- Calls that are made in every block ---

    def note(self, key: CacheKey, call: RpcCall) -> None:
        """Note that a call was made, if it is about the newest block."""
        if len(call) == 1 or "latest" in call:
            self._calls[key] = call

    def repeated_calls(self) -> dict[CacheKey, RpcCall]:
        """Return the calls made in this block and in the one before; then start a new block."""
        repeated = {key: call for key, call in self._calls.items() if key in self._calls_before}
        self._calls_before, self._calls = self._calls, {}
        return repeated


def changes_state(call: RpcCall) -> bool:
    """Return whether any cached answer may change, otherwise than by a new block."""
    return call[0] not in CACHEABLE and call[0] not in UNCACHED_READS and call[0] != MINE

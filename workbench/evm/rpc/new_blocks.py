"""Logs and transactions of the newest blocks of a node that we mine, read with the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.receipts import HEAD_CHARS, Inclusion, inclusions_from_traces
from workbench.evm.rpc.client import BLOCK, LOGS, TRACES

MAX_BLOCKS = 8
"""How many of the newest blocks are kept."""
MAX_TRANSACTIONS = 65_536
"""How many sent transactions are kept: most are mined soon, some never."""
HEAD: RpcCall = (BLOCK, "latest", False)
HEAD_TRACES: RpcCall = (TRACES, "latest", {})


class NewBlocks:
    """The newest blocks' logs from followed addresses, and the inclusions of our transactions.

    Both are kept by block hash, so a reorg does not make them wrong.
    """

    def __init__(self) -> None:
        self.current_inclusions: dict[str, Inclusion] | None = None
        """Our transactions in the newest blocks of the current chain; None: not computed."""
        self._addresses: frozenset[str] = frozenset()
        """Addresses whose logs are asked for."""
        self._with_traces = False
        """Whether inclusions are asked for."""
        self._logs: dict[str, tuple[frozenset[str], list[dict[str, Any]]]] = {}
        """By block: the addresses followed then, and their logs."""
        self._inclusions: dict[str, tuple[str, dict[str, Inclusion]]] = {}
        """By block: its parent, and our transactions in it."""
        self._sent: dict[str, str] = {}
        """The beginnings of sent raw transactions, by hash."""

    def calls(self) -> list[RpcCall]:
        """Return the calls to make when a block is mined."""
        calls = [HEAD]
        if self._addresses:
            calls.append(self.logs_call())
        if self._with_traces:
            calls.append(HEAD_TRACES)
        return calls

    def logs_call(self) -> RpcCall:
        """Return the call for the newest block's logs from all followed addresses."""
        block = {"fromBlock": "latest", "toBlock": "latest"}
        return LOGS, {"address": sorted(self._addresses), **block}

    def add_block(
        self,
        block: dict[str, Any],
        logs: list[dict[str, Any]] | None,
        traces: list[dict[str, Any]] | None,
    ) -> None:
        """Store the newest block: the answers to `calls`, None for those that were not made."""
        if logs is not None:
            self._logs[block["hash"]] = (self._addresses, logs)
            _drop_oldest(self._logs)
        if traces is not None:
            included = inclusions_from_traces(block, traces, self._sent)
            self._inclusions[block["hash"]] = (block["parentHash"], included)
            _drop_oldest(self._inclusions)
        for tx in block["transactions"]:
            self._sent.pop(tx, None)

    def add_sent(self, tx: str, raw: str) -> None:
        """Store a sent transaction, whose inclusion may be asked for."""
        if len(self._sent) >= MAX_TRANSACTIONS:
            self._sent.clear()  # Their inclusions then come from receipts.
        self._sent[tx] = raw[:HEAD_CHARS]

    def logs_of(self, call: RpcCall) -> list[dict[str, Any]] | None:
        """Return the answer to a call for one block's logs; None if it is not known.

        From the next block on, the call's addresses are followed.
        """
        if call[0] != LOGS or set(call[1]) != {"address", "blockHash"}:
            return None
        asked: str | Sequence[str] = call[1]["address"]
        wanted = frozenset([asked] if isinstance(asked, str) else asked)
        followed, logs = self._logs.get(call[1]["blockHash"], (frozenset(), []))
        if wanted <= followed:
            return [log for log in logs if log["address"] in wanted]
        # The node writes addresses in lower case.
        self._addresses |= {each for each in wanted if each == each.lower()}
        return None

    def follow_transactions(self) -> None:
        """From the next block on, find out which of our transactions it includes."""
        self._with_traces = True

    def inclusions_from(self, block_hash: str) -> dict[str, Inclusion]:
        """Return our transactions in a block and its ancestors, as far as they are kept."""
        found: dict[str, Inclusion] = {}
        while block_hash in self._inclusions:
            block_hash, included = self._inclusions[block_hash]
            found |= included
        return found


def _drop_oldest(by_block: dict[str, Any]) -> None:
    for old in list(by_block)[:-MAX_BLOCKS]:
        del by_block[old]

"""`eth_getLogs` in ranges as long as the node allows; every reader of logs uses it.

Providers limit a range by blocks, by results, or by both. A refused range is halved, down to one
block. After some successful ranges the length is doubled again.
"""

from __future__ import annotations

from typing import Any

from workbench.core.errors import RpcFault, RpcUnanswered
from workbench.core.ports import CheckReports, NoReports
from workbench.evm.rpc.client import LOGS, Rpc

MAX_SPAN = 500
"""Blocks in one range: the first length and the greatest."""
GROWS_AFTER = 8
"""How many successful ranges of full length double the length."""


class LogRanges:
    """The ranges of one node. `span`: the current length in blocks.

    The check `logs_refused` fails if the node refuses even a single block.
    """

    def __init__(self, rpc: Rpc, reports: CheckReports | None = None, max_span: int = 0) -> None:
        self._rpc, self._reports = rpc, reports or NoReports()
        self._max_span = max_span or MAX_SPAN
        self.span, self._successes = self._max_span, 0

    async def once(self, query: dict[str, Any], first: int, last: int) -> list[Any] | None:
        """Return the logs of blocks first..last in one request.

        None if the node refuses the range: `span` is then shorter. Raises RpcUnreachable, or
        RpcFault if it refuses a single block.
        """
        try:
            found = await self._read({**query, "fromBlock": hex(first), "toBlock": hex(last)})
        except RpcFault as why:
            # Shorter ranges would be more requests to a node that limits their number.
            if first == last or isinstance(why, RpcUnanswered):
                raise
            self.span, self._successes = max(1, min(self.span, last - first + 1) // 2), 0
            return None
        self._successes += last - first + 1 >= self.span
        if self._successes >= GROWS_AFTER and self.span < self._max_span:
            self.span, self._successes = min(self._max_span, 2 * self.span), 0
        return found

    async def between(self, query: dict[str, Any], first: int, last: int) -> list[Any]:
        """Return the logs of blocks first..last in order, in as many ranges as needed.

        Raises RpcUnreachable or RpcFault.
        """
        found: list[Any] = []
        while first <= last:
            end = min(first + self.span - 1, last)
            page = await self.once(query, first, end)
            if page is not None:
                found += page
                first = end + 1
        return found

    async def of_block(self, query: dict[str, Any], block_hash: str) -> list[Any]:
        """Return the logs of one block. Raises RpcUnreachable or RpcFault."""
        return await self._read({**query, "blockHash": block_hash})

    async def _read(self, query: dict[str, Any]) -> list[Any]:
        is_single_block = "blockHash" in query or query["fromBlock"] == query["toBlock"]
        try:
            found = list(await self._rpc.call(LOGS, query))
        except RpcFault as why:
            if is_single_block and not isinstance(why, RpcUnanswered):
                self._reports.fails("logs_refused", why.message)
            raise
        self._reports.ok("logs_refused")
        return found

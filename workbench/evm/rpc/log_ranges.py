"""`eth_getLogs` in ranges as long as the node allows: every reader of logs asks through here.

Providers limit a range by blocks, by results, or by both. A refused range is halved, down to one
block; after some that were answered they are twice as long again.
"""

from __future__ import annotations

from typing import Any

from workbench.core.errors import RpcFault, RpcUnanswered
from workbench.core.ports import CheckReports, NoReports
from workbench.evm.rpc.client import LOGS, Rpc

MOST = 500
"""Blocks in one range, at first and at most."""
GROWS_AFTER = 8
"""After so many whole ranges in a row that were answered, the next is twice as long."""


class LogRanges:
    """One node's ranges. `span`: blocks that are asked for at once.

    Reports the check `logs_refused`: a node that refuses a single block serves no logs.
    """

    def __init__(self, rpc: Rpc, reports: CheckReports | None = None, most: int = 0) -> None:
        self._rpc, self._reports, self._most = rpc, reports or NoReports(), most or MOST
        self.span, self._good = self._most, 0

    async def once(self, query: dict[str, Any], first: int, last: int) -> list[Any] | None:
        """The logs of blocks first..last; None where the node refuses so many blocks at once: then
        `span` is shorter. Raises RpcUnreachable, or RpcFault where it refuses a single block."""
        try:
            found = await self._ask({**query, "fromBlock": hex(first), "toBlock": hex(last)})
        except RpcFault as why:
            # A node that limits how often it is asked would be asked more often yet.
            if first == last or isinstance(why, RpcUnanswered):
                raise
            self.span, self._good = max(1, min(self.span, last - first + 1) // 2), 0
            return None
        self._good += last - first + 1 >= self.span
        if self._good >= GROWS_AFTER and self.span < self._most:
            self.span, self._good = min(self._most, 2 * self.span), 0
        return found

    async def between(self, query: dict[str, Any], first: int, last: int) -> list[Any]:
        """The logs of blocks first..last in their order, however many ranges that takes. Raises
        RpcUnreachable or RpcFault."""
        found: list[Any] = []
        while first <= last:
            upto = min(first + self.span - 1, last)
            page = await self.once(query, first, upto)
            if page is not None:
                found += page
                first = upto + 1
        return found

    async def of_block(self, query: dict[str, Any], block_hash: str) -> list[Any]:
        """The logs of one block. Raises RpcUnreachable or RpcFault."""
        return await self._ask({**query, "blockHash": block_hash})

    async def _ask(self, query: dict[str, Any]) -> list[Any]:
        is_one = "blockHash" in query or query["fromBlock"] == query["toBlock"]
        try:
            found = list(await self._rpc.call(LOGS, query))
        except RpcFault as why:
            if is_one and not isinstance(why, RpcUnanswered):
                self._reports.fails("logs_refused", why.message)
            raise
        self._reports.ok("logs_refused")
        return found

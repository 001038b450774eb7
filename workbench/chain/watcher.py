"""Follows one chain's logs into a journal, block by block, and takes orphaned blocks back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workbench.chain.abi import decode_log
from workbench.chain.rpc import Rpc
from workbench.core.errors import ChainRewound
from workbench.core.events import BlockOrphaned, Event
from workbench.core.ports import Clock, Store

NEAR = 64
"""Blocks nearer to the head than this are taken one by one; older ones in ranges."""
RANGE = 500


class LogWatcher:
    """See `core.ports.Watcher`. `start`: the block before the first that matters."""

    def __init__(
        self, rpc: Rpc, store: Store, clock: Clock, addresses: Iterable[str], start: int
    ) -> None:
        self._rpc, self._store, self._clock = rpc, store, clock
        self._addresses, self._start = sorted(addresses), start

    async def poll(self) -> None:
        """See `core.ports.Watcher.poll`. Raises RpcUnreachable, ChainRewound."""
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        number = await self._common_ancestor()
        while number + NEAR < head:
            last = min(number + RANGE, head - NEAR)
            await self._take_range(number + 1, last)
            number = last
        while number < head:
            block = await self._rpc.call("eth_getBlockByNumber", hex(number + 1), False)
            if block is None or not await self._follows(block, number):
                return  # The chain moved while we looked: the next poll starts anew.
            logs = await self._logs(blockHash=block["hash"])
            await self._take(number + 1, block, logs)
            number += 1

    async def _common_ancestor(self) -> int:
        """The newest block that both we and the chain have; those above it are orphaned."""
        last = await self._last_block()
        if last is None:
            return self._start
        while last is not None:
            number, known = last
            block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
            if block is not None and block["hash"] == known:
                return number
            await self._orphan(number, known)
            last = await self._last_block()
        raise ChainRewound(
            "the chain went back further than any block this service remembers.",
            hint="It was reset or reverted under a live service: start that service anew.",
        )

    async def _last_block(self) -> tuple[int, str] | None:
        async with self._store.unit() as unit:
            return await unit.last_block()

    async def _orphan(self, number: int, known: str) -> None:
        async with self._store.unit() as unit:
            await unit.unsee_block(number)
            if await unit.facts_in_block(known):
                now = self._clock.now_ms()
                fact = BlockOrphaned(subject=known, at_ms=now, source="watcher", number=number)
                await unit.record(fact)

    async def _follows(self, block: dict[str, Any], number: int) -> bool:
        last = await self._last_block()
        return last is None or last == (number, block["parentHash"])

    async def _take_range(self, first: int, last: int) -> None:
        logs = await self._logs(fromBlock=hex(first), toBlock=hex(last))
        times: dict[str, int] = {}
        for log in logs:
            if log["blockNumber"] not in times:
                block = await self._rpc.call("eth_getBlockByNumber", log["blockNumber"], False)
                times[log["blockNumber"]] = int(block["timestamp"], 16)
        facts = [_fact(log, times[log["blockNumber"]]) for log in logs]
        newest = await self._rpc.call("eth_getBlockByNumber", hex(last), False)
        await self._store_block(last, newest["hash"], facts)

    async def _take(self, number: int, block: dict[str, Any], logs: list[Any]) -> None:
        timestamp = int(block["timestamp"], 16)
        await self._store_block(number, block["hash"], [_fact(log, timestamp) for log in logs])

    async def _store_block(self, number: int, known: str, facts: list[Event | None]) -> None:
        async with self._store.unit() as unit:
            for fact in facts:
                if fact is not None:
                    await unit.record(fact)
            await unit.see_block(number, known)

    async def _logs(self, **where: str) -> list[dict[str, Any]]:
        query = {"address": self._addresses, **where}
        return list(await self._rpc.call("eth_getLogs", query))


def _fact(log: dict[str, Any], timestamp: int) -> Event | None:
    return decode_log(log, timestamp * 1000)

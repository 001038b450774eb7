"""The watcher: reads the vault's logs into a journal, block by block, and orphans removed
blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from workbench.core.errors import ChainRewound
from workbench.core.facts import BlockOrphaned, Event
from workbench.core.ports import CheckReports, Clock, Store, StoreTransaction
from workbench.evm.codec.abi import DECODING_ERRORS
from workbench.evm.codec.bloom import may_hold
from workbench.evm.codec.events import decode_log
from workbench.evm.codec.jsonrpc import invalid
from workbench.evm.rpc.client import LOGS, Rpc
from workbench.evm.rpc.log_ranges import LogRanges

NEAR = 64
"""Blocks nearer to the head than this are read one by one; older ones in ranges."""
LOOK_BACK = 1_000
"""Number of newest facts whose blocks are checked after a start."""
ChainPosition = tuple[int, str]
"""A block's number and hash."""


class LogWatcher:
    """See `core.ports.Watcher`. `start`: the block before the first that matters."""

    def __init__(
        self,
        rpc: Rpc,
        store: Store,
        clock: Clock,
        addresses: Iterable[str],
        start: int,
        reports: CheckReports | None = None,
    ) -> None:
        self._rpc, self._store, self._clock = rpc, store, clock
        self._query, self._start = {"address": sorted(addresses)}, start
        self._ranges = LogRanges(rpc, reports)
        self._newest: ChainPosition | None = None
        self._judged: int | None = None
        self._doubtful: dict[str, int] = {}
        # Requests and rounds of a service poll at the same time; a block is read once.
        self._polling = asyncio.Lock()

    async def poll(self) -> None:
        """See `core.ports.Watcher.poll`. Raises RpcUnreachable, RpcFault, ChainRewound."""
        async with self._polling:
            await self._catch_up()
            await self._judge()

    async def _catch_up(self) -> None:
        """Read the blocks from the common ancestor to the head."""
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        number, known = await self._common_ancestor()
        while number + NEAR < head:
            last = min(number + self._ranges.span, head - NEAR)
            taken = await self._take_range(number + 1, last)
            if taken is None:
                return  # The chain moved meanwhile: the next poll starts again.
            number, known = last, taken
        while number < head:
            block = await self._block(number + 1)
            if block is None or block["parentHash"] != (known or block["parentHash"]):
                return
            logs = await self._ranges.of_block(self._query, block["hash"])
            if not logs and may_hold(block.get("logsBloom"), self._query["address"]):
                # The bloom filter of the header says that there may be logs, so an empty answer is
                # not enough.
                logs = await self._ranges.of_block(self._query, block["hash"])
            await self._take(number + 1, block, logs)
            number, known = number + 1, block["hash"]

    async def _block(self, number: int) -> dict[str, Any] | None:
        block: dict[str, Any] | None
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        return block

    # --- Where we and the chain agree ---

    async def _common_ancestor(self) -> ChainPosition:
        """Return the newest block that both the journal and the chain have."""
        last = await self._last_block()
        if last is None:
            return await self._begin()
        newest, replaced = last, False
        gone: list[ChainPosition] = []
        while last is not None:
            block = await self._block(last[0])
            if block is not None and block["hash"] == last[1]:
                # A node that lags does not know the newest blocks yet; it has not removed them.
                if not replaced:
                    return newest
                await self._orphan(gone)
                return last
            replaced = replaced or block is not None
            gone.append(last)
            last = await self._last_block(below=last[0])
        raise ChainRewound(
            "the chain went back further than any block this service remembers.",
            hint="It was reset or reverted under a live service: start that service anew.",
        )

    async def _begin(self) -> ChainPosition:
        """Store the block before `start`, so that a reorg of the first block has an end."""
        block = await self._block(self._start) if self._start >= 0 else None
        if block is None:
            return self._start, ""
        await self._store_block(self._start, block["hash"], [])
        return self._start, block["hash"]

    async def _last_block(self, below: int | None = None) -> ChainPosition | None:
        """Return the newest block that was read, or the newest one below `below`."""
        if below is None and self._newest is not None:
            return self._newest
        async with self._store.unit() as unit:
            return await unit.last_block(below)

    async def _orphan(self, gone: list[ChainPosition]) -> None:
        """Record BlockOrphaned for these blocks, newest first."""
        self._newest = None
        async with self._store.unit() as unit:
            for number, known in gone:
                await unit.unsee_block(number)
                await self._tell_orphaned(unit, number, known)

    async def _tell_orphaned(self, unit: StoreTransaction, number: int, known: str) -> None:
        if await unit.facts_in_block(known):
            now = self._clock.now_ms()
            fact = BlockOrphaned(subject=known, at_ms=now, source="watcher", number=number)
            await unit.record(fact)

    # --- Taking blocks in ---

    async def _take_range(self, first: int, last: int) -> str | None:
        """Read and store the logs of a range. Return the hash of its last block.

        None if the chain changed meanwhile.
        """
        newest = await self._block(last)
        logs = await self._ranges.once(self._query, first, last) if newest else None
        if logs == []:  # One empty answer must not skip many blocks.
            logs = await self._ranges.once(self._query, first, last)
        if newest is None or logs is None:
            return None
        blocks: dict[str, dict[str, Any]] = {}
        for log in logs:
            if log["blockHash"] not in blocks:
                block = await self._block(int(log["blockNumber"], 16))
                if block is None or block["hash"] != log["blockHash"]:
                    return None
                blocks[log["blockHash"]] = block
        again = await self._block(last)
        if again is None or again["hash"] != newest["hash"]:
            return None
        facts = [_fact(log, blocks[log["blockHash"]]) for log in logs]
        await self._store_block(last, newest["hash"], facts)
        return str(newest["hash"])

    async def _take(self, number: int, block: dict[str, Any], logs: list[Any]) -> None:
        await self._store_block(number, block["hash"], [_fact(log, block) for log in logs])

    async def _store_block(self, number: int, known: str, facts: list[Event | None]) -> None:
        async with self._store.unit() as unit:
            await unit.record_all([fact for fact in facts if fact is not None])
            await unit.see_block(number, known)
        self._newest = (number, known)

    # --- What others told ---

    async def _judge(self) -> None:
        """Orphan the blocks of facts that the chain does not have at their height.

        Senders and peers see blocks at other times. A block that came and went between two polls,
        or whose fact is recorded after it went, would otherwise stay valid for ever.
        """
        last = await self._last_block()
        async with self._store.unit() as unit:
            newest = await unit.last_seq()
            if newest == self._judged and not self._doubtful:
                return
            after = max(0, newest - LOOK_BACK) if self._judged is None else self._judged
            told = await unit.unproven(after)
        doubtful = {fact.block.hash: fact.block.number for fact in told if fact.block}
        later: dict[str, int] = {}
        for known, number in {**self._doubtful, **doubtful}.items():
            block = await self._block(number) if last and number <= last[0] else None
            if block is None:
                later[known] = number  # Blocks that were not read yet.
            elif block["hash"] != known:
                async with self._store.unit() as unit:
                    await self._tell_orphaned(unit, number, known)
        self._judged, self._doubtful = newest, later


def _fact(log: dict[str, Any], block: dict[str, Any]) -> Event | None:
    """Return the fact of a log, or None for an unknown event. Raises RpcAnswerInvalid."""
    if int(log["blockNumber"], 16) != int(block["number"], 16):
        raise invalid(LOGS, "a log's block has another number", "blockNumber")
    try:
        return decode_log(log, int(block["timestamp"], 16) * 1000)
    except (*DECODING_ERRORS, StopIteration, LookupError) as why:
        raise invalid(LOGS, "a log is not of the form of its event", "data") from why

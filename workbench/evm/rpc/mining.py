"""A node that we mine ourselves: its answers are cached until the next block."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import json

from workbench.core.errors import WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.receipts import Inclusion
from workbench.evm.rpc.answer_cache import CACHEABLE, AnswerCache, changes_state
from workbench.evm.rpc.blocking import OUT_OF_STEP, BlockingRpc, BrokenConnection, Connection
from workbench.evm.rpc.client import MAX_SIMULATED, MINE, SEND, PendingAnswers
from workbench.evm.rpc.new_blocks import HEAD, HEAD_TRACES, NewBlocks
from workbench.evm.rpc.node_url import unreachable
from workbench.evm.rpc.pending import (
    PendingRpc,
    PendingSimulations,
    PipelinedConnection,
    cache_key,
)

POOL_BLIND = CACHEABLE | {"eth_estimateGas", "eth_simulateV1"}
"""Methods whose answers ignore waiting transactions, unless a parameter is "pending"."""


class MiningRpc(BlockingRpc):
    """The RPC client of a node that we mine: between two blocks, equal calls are made once.

    Calls that were made in the last two blocks are made again together with the order to mine. The
    same request brings the new block's logs and the inclusion of our transactions. So most calls of
    a service's round are answered without waiting.

    On the simulator's event loop (`sim.time.loop`) the node works while others run. A call is
    written at once. Its answer is read when nothing else can run, in the order of the calls, so the
    order of events does not depend on the wall clock. Transactions have a second connection, so
    other calls need not wait for their execution; all are read before a block is mined. `now` and
    `all_now` first read every outstanding answer.

    Everything that may change an answer must go through this object, or call `invalidate` after
    it. A method that is not known to change nothing clears the cache.
    """

    def __init__(self, url: str) -> None:
        self._main, self._sends = PipelinedConnection(), PipelinedConnection()
        super().__init__(url)
        self._cache, self._new_blocks = AnswerCache(), NewBlocks()
        self._answers = self._cache.answers
        self._next_block_calls: list[RpcCall] = []
        """Calls of `prefetch`."""
        self._held: deque[PendingRpc] = deque()
        """Transactions that are written after the node has answered the calls before them."""
        self._waiting: deque[tuple[asyncio.Future[None], PendingRpc]] = deque()
        self.idle_work: Callable[[], bool] | None = None
        """See `Connection.idle_work`."""

    # --- The connection of `BlockingRpc` is the main one ---

    @property
    def _connection(self) -> Connection | None:
        return self._main.connection

    @_connection.setter
    def _connection(self, connection: Connection | None) -> None:
        self._main.connection = connection

    def _connect(self) -> Connection:
        connection = super()._connect()
        connection.idle_work = self.idle_work
        return connection

    # --- Calls ---

    def now(self, method: str, *params: Any) -> Any:
        key = (method, json.encode(params))
        if key in self._answers:  # A shortcut for most calls.
            self._cache.note(key, (method, *params))
            return self._answers[key]
        (answer,) = self.all_now([(method, *params)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    def all_now(self, calls: Sequence[RpcCall]) -> list[Any]:
        """See `BlockingRpc.all_now`. Only calls that are not cached go to the node."""
        self.settle()
        pending = self._prepare(calls)
        if not pending.is_done:
            self._deliver(pending, super().all_now(pending.calls))
        return pending.results[: len(calls)]

    async def call(self, method: str, *params: Any) -> Any:
        key = (method, json.encode(params))
        if key in self._answers:
            self._cache.note(key, (method, *params))
            return self._answers[key]
        (answer,) = await self.many([(method, *params)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        """See `Rpc.many`, and `all_now`."""
        if not hasattr(asyncio.get_running_loop(), "wait_for"):
            return self.all_now(calls)
        return await self.ask(calls)

    def ask(self, calls: Sequence[RpcCall]) -> PendingAnswers:
        """See `Rpc.ask`."""
        if not hasattr(asyncio.get_running_loop(), "wait_for"):
            return super().ask(calls)
        pending = self._prepare(calls)
        if not pending.is_done:
            self._write(pending)
        if pending.mines and self._next_block_calls:
            calls, self._next_block_calls = self._next_block_calls, []
            self.ask(calls)
        return pending

    def prefetch(self, calls: Sequence[RpcCall]) -> None:
        """See `Rpc.prefetch`."""
        self._next_block_calls += calls

    async def simulate_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """See `Rpc.simulate_all`. `eth_simulateV1` costs our node half as much as `eth_call`."""
        return await self.start_simulation(requests)

    def start_simulation(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        """See `Rpc.start_simulation`."""
        if len(requests) < 2:
            return self.ask([("eth_call", request, "latest") for request in requests])
        firsts = range(0, len(requests), MAX_SIMULATED)
        return PendingSimulations(self, [requests[n : n + MAX_SIMULATED] for n in firsts])

    async def inclusions(self, txs: Sequence[str]) -> list[Inclusion | WorkbenchError | None]:
        """See `Rpc.inclusions`. The newest blocks' inclusions came with the blocks."""
        self._new_blocks.follow_transactions()
        known = await self._current_inclusions()
        unknown = [tx for tx in txs if tx not in known and tx not in self._cache.unmined]
        answers = await super().inclusions(unknown) if unknown else []
        found = dict(zip(unknown, answers, strict=True))
        return [known.get(tx) or found.get(tx) for tx in txs]

    async def _current_inclusions(self) -> dict[str, Inclusion]:
        if self._new_blocks.current_inclusions is not None:
            return self._new_blocks.current_inclusions
        generation = self._cache.generation
        found = self._new_blocks.inclusions_from((await self.call(*HEAD))["hash"])
        if generation == self._cache.generation:  # Else the chain has changed.
            self._new_blocks.current_inclusions = found
        return found

    def invalidate(self) -> None:
        """Clear the cache: any answer may have changed."""
        self._cache.invalidate()
        self._new_blocks.current_inclusions = None

    def settle(self) -> None:
        """Read every outstanding answer: then the node has executed all calls."""
        for channel in (self._sends, self._main):
            self._settle(channel)

    async def close(self) -> None:
        self._sends.drop()
        await super().close()

    # --- The event loop waits for answers ---

    async def wait(self, pending: PendingRpc) -> list[Any]:
        """Return the answers to `pending`; the loop's time does not advance until they are read."""
        loop: Any = asyncio.get_running_loop()
        for each in (*(other for _, other, _ in pending.shared), pending):
            if not each.is_done:
                waiter = loop.create_future()
                each.waiters.append(waiter)
                self._waiting.append((waiter, each))
                loop.wait_for(self)
                await waiter
        for place, other, their_place in pending.shared:
            pending.results[place] = other.results[their_place]
        return pending.results[: pending.count]

    def read_next(self) -> bool:
        """Read until one waiting task can go on. Return False if no task waits."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        if not self._waiting:
            self._write_held()
            return False
        waiter, pending = self._waiting[0]
        if pending.channel is self._sends:
            self._write_held()
        while not waiter.done():
            assert pending.channel is not None, "a task waits for calls that were not written"
            self._read_one(pending.channel)
        return True

    # --- Cache ---

    def _prepare(self, calls: Sequence[RpcCall]) -> PendingRpc:
        """Answer calls from the cache; collect those that the node must answer."""
        cache, pending = self._cache, PendingRpc(len(calls), self.wait)
        results = pending.results
        for n, call in enumerate(calls):
            key: Any = n
            if call[0] == MINE:
                cache.start_generation()
                self._new_blocks.current_inclusions = None
            elif changes_state(call):
                self.invalidate()
            elif call[0] in CACHEABLE and "pending" not in call:
                results[n] = self._new_blocks.logs_of(call)
                if results[n] is not None or cache.is_unmined_receipt(call):
                    continue
                key = cache_key(call)
                cache.note(key, call)
                is_cached, answer = cache.find(key)
                if is_cached:
                    results[n] = answer
                    continue
                if key in cache.in_flight:
                    pending.shared.append((n, *cache.in_flight[key]))
                    continue
            pending.places.setdefault(key, []).append(n)
        pending.generation = cache.generation
        pending.requested = [calls[places[0]] for places in pending.places.values()]
        pending.mines = any(call[0] == MINE for call in pending.requested)
        if pending.mines:
            new = {cache_key(call): call for call in self._new_blocks.calls()}
            pending.prefetched = cache.repeated_calls() | new
        pending.is_done = not pending.requested
        return pending

    def _deliver(self, pending: PendingRpc, answers: Sequence[Any]) -> None:
        """Store the node's answers to `pending.calls`, and wake the tasks that wait for them."""
        cache, generation = self._cache, pending.generation
        for (key, places), answer in zip(pending.places.items(), answers, strict=False):
            for n in places:
                pending.results[n] = answer
            cache.store(key, answer, generation)
        for call, answer in zip(pending.requested, answers, strict=False):
            if call[0] == SEND and isinstance(answer, str):
                self._new_blocks.add_sent(answer, call[1])
                if generation == cache.generation:
                    cache.unmined.add(answer)
        prefetched = answers[len(pending.requested) :]
        for key, answer in zip(pending.prefetched, prefetched, strict=True):
            pending.results.append(answer)
            cache.store(key, answer, generation)
        pending.is_done = True
        for waiter in pending.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if pending.mines and generation == cache.generation:
            block, logs, traces = (
                self._answers.get(cache_key(call))
                for call in (HEAD, self._new_blocks.logs_call(), HEAD_TRACES)
            )
            if block is not None:
                self._new_blocks.add_block(block, logs, traces)

    # --- Writing ---

    def _write(self, pending: PendingRpc) -> None:
        """Write the calls, or hold them back; their answers are read later."""
        in_flight = self._cache.in_flight
        for n, key in enumerate(pending.prefetched, len(pending.results)):
            in_flight[key] = (pending, n)
        for key, places in pending.places.items():
            if isinstance(key, tuple):
                in_flight[key] = (pending, places[0])
        channel = pending.channel = self._channel_for(pending)
        if channel is self._sends and self._main.unanswered:
            self._held.append(pending)
        else:
            self._write_to(channel, pending)

    def _channel_for(self, pending: PendingRpc) -> PipelinedConnection:
        """Choose a connection: only calls that ignore a transaction may overtake it."""
        before = self._main.unanswered
        if all(call[0] == SEND for call in pending.requested):
            blocked = any(each.mines or each.requested[0][0] == SEND for each in before)
            return self._main if blocked else self._sends
        if not all(call[0] in POOL_BLIND and "pending" not in call for call in pending.requested):
            self._settle(self._sends)
        return self._main

    def _write_held(self) -> None:
        while self._held:
            self._write_to(self._sends, self._held.popleft())

    def _write_to(self, channel: PipelinedConnection, pending: PendingRpc) -> None:
        pending.first_id, requests = self._requests(pending.calls)
        try:
            if channel.connection and not channel.unanswered and channel.connection.stale:
                channel.drop()
            if channel.connection is None:
                channel.connection = self._connect()
            channel.connection.write_ahead(b"".join(requests))
        except (OSError, BrokenConnection) as why:
            channel.unanswered.append(pending)
            self._fail_all(channel, why)
        else:
            channel.unanswered.append(pending)

    # --- Reading ---

    def _settle(self, channel: PipelinedConnection) -> None:
        if channel is self._sends:
            self._write_held()
        while channel.unanswered:
            self._read_one(channel)

    def _read_one(self, channel: PipelinedConnection) -> None:
        """Read the answers to the oldest calls of a connection."""
        pending, answers = channel.unanswered[0], list[Any]()
        calls, connection = pending.calls, channel.connection
        try:
            if connection is None or connection.closed:
                raise BrokenConnection("it closed the connection before all was answered")
            for number, call in enumerate(calls, pending.first_id):
                answers.append(self._result(number, call, connection.read()))
                if jsonrpc.is_truncated(answers[-1]):
                    raise BrokenConnection(OUT_OF_STEP)
        except (OSError, BrokenConnection) as why:
            lost = unreachable(self._shown, why)
            channel.unanswered.popleft()
            self._deliver(pending, answers + [lost] * (len(calls) - len(answers)))
            self._fail_all(channel, why)
        else:
            channel.unanswered.popleft()
            self._deliver(pending, answers)
            if not self._main.unanswered:
                self._write_held()

    def _fail_all(self, channel: PipelinedConnection, why: Exception) -> None:
        """Answer all calls of a broken connection with an error."""
        channel.drop()
        lost = unreachable(self._shown, why)
        while channel.unanswered:
            pending = channel.unanswered.popleft()
            self._deliver(pending, [lost] * len(pending.calls))

"""Calls that a pipelined connection has written, and whose answers are still to be read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

from msgspec import json

from workbench.core.errors import RpcFault
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.rpc.blocking import Connection
from workbench.evm.rpc.client import PendingAnswers, Rpc, simulated_result

CacheKey = tuple[str, bytes]
"""A method, and its parameters as JSON."""


def cache_key(call: RpcCall) -> CacheKey:
    """Return the key under which a call's answer is cached."""
    return call[0], json.encode(call[1:])


class PipelinedConnection:
    """A connection, and the calls on it that are not answered yet, oldest first."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.unanswered: deque[PendingRpc] = deque()

    def drop(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class PendingRpc(PendingAnswers):
    """The calls of one `ask`: those answered from the cache, and those that the node must answer.

    Attributes:
        results: the calls' answers so far, then those of `prefetched`.
        count: how many calls the caller made.
        generation: the cache's generation when they were made (see `AnswerCache`).
        requested: the calls that the node must answer; equal ones once.
        places: the places of each requested call among the results.
        shared: calls that another PendingRpc has requested: place, that one, and the place there.
        prefetched: calls of our own, written behind the requested ones.
        mines: whether a block is mined.
        channel: the connection on which they were written.
        first_id: the JSON-RPC id of the first one.
        is_done: whether every requested call is answered.
        waiters: futures to resolve then.
    """

    begun = True

    def __init__(
        self, count: int, wait: Callable[[PendingRpc], Coroutine[Any, Any, list[Any]]]
    ) -> None:
        self.results = [None] * count
        self.count, self._wait = count, wait
        self.generation = 0
        self.requested: list[RpcCall] = []
        self.places: dict[Any, list[int]] = {}
        self.shared: list[tuple[int, PendingRpc, int]] = []
        self.prefetched: dict[CacheKey, RpcCall] = {}
        self.mines = False
        self.channel: PipelinedConnection | None = None
        self.first_id = 0
        self.is_done = True
        self.waiters: list[asyncio.Future[None]] = []

    @property
    def known(self) -> bool:
        return self.is_done and all(other.is_done for _, other, _ in self.shared)

    @property
    def calls(self) -> list[RpcCall]:
        """All calls that are written, in order."""
        return [*self.requested, *self.prefetched.values()]

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._wait(self).__await__()


class PendingSimulations(PendingAnswers):
    """Calls simulated by `eth_simulateV1`, several in one request."""

    begun = True

    def __init__(self, rpc: Rpc, parts: list[Sequence[dict[str, Any]]]) -> None:
        self._rpc, self._parts = rpc, parts
        blocks = [{"blockStateCalls": [{"calls": part}]} for part in parts]
        self._pending = rpc.ask([("eth_simulateV1", each, "latest") for each in blocks])

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._results().__await__()

    async def _results(self) -> list[Any]:
        results: list[Any] = []
        for part, answer in zip(self._parts, await self._pending, strict=True):
            # One call that cannot pay for its gas fails the whole request: execute them singly.
            if isinstance(answer, RpcFault):
                results += await self._rpc.many([("eth_call", each, "latest") for each in part])
            else:
                results += [simulated_result(call) for call in answer[0]["calls"]]
        return results

"""A node of our own that mines when told: what it said is known until the next block."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from msgspec import json

from workbench.core.errors import RpcFault, WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.receipts import ENOUGH, Inclusion, traced
from workbench.evm.rpc.blocking import TORN, BlockingRpc, BrokenConnection, Connection
from workbench.evm.rpc.client import (
    BLOCK,
    LOGS,
    MINE,
    RECEIPT,
    SEND,
    TRACES,
    TRIED_AT_ONCE,
    PendingAnswers,
    tried,
)
from workbench.evm.rpc.node_url import unreachable

READS = frozenset(
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
"""What a node of ours answers alike until something is mined or changed by hand."""
HARMLESS = frozenset(
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
"""What changes none of those answers, and is never answered from memory itself."""
BLOCKS_KEPT = 1_024
RECENT = 8
"""Logs, and what became of transactions, are remembered for so many of the newest blocks."""
RAWS_KEPT = 65_536
"""The beginnings of so many transactions: most are mined soon, some never."""
POOL_BLIND = READS | {"eth_estimateGas", "eth_simulateV1"}
"""What is answered alike whatever waits to be mined, unless it asks for "pending"."""

CacheKey = tuple[str, bytes]
HEAD: RpcCall = (BLOCK, "latest", False)
NEW_TRACES: RpcCall = (TRACES, "latest", {})


class PipelinedConnection:
    """A connection, and what was asked on it and is not answered yet."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.owed: deque[PendingRpc] = deque()

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class PendingRpc(PendingAnswers):
    """Calls as they were asked together: what is known of them, and what the node has to answer.

    `places`: where each of the calls that are `wanted` of the node belongs among the results;
    `joined`: places whose answer somebody else has asked for; `ahead`: questions of our own behind
    the others. `since`: the block that it was asked in (see `_expect_block`). `line`: where it was
    written, and `first`: the first one's id.
    """

    begun = True

    def __init__(self, rpc: MiningRpc, count: int) -> None:
        self.results = [None] * count
        self._rpc, self.count, self.since, self.done = rpc, count, 0, True
        self.places: dict[Any, list[int]] = {}
        self.wanted: list[RpcCall] = []
        self.joined: list[tuple[int, PendingRpc, int]] = []
        self.ahead: dict[CacheKey, RpcCall] = {}
        self.mines = False
        self.line: PipelinedConnection | None = None
        self.first = 0
        self.waiting: list[asyncio.Future[None]] = []

    @property
    def known(self) -> bool:
        return self.done and all(other.done for _, other, _ in self.joined)

    @property
    def calls(self) -> list[RpcCall]:
        return [*self.wanted, *self.ahead.values()]

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._rpc.answers(self).__await__()


class SimulationRequests(PendingAnswers):
    """Calls that are tried together, those of one request after the other."""

    begun = True

    def __init__(self, rpc: MiningRpc, parts: list[Sequence[dict[str, Any]]]) -> None:
        self._rpc, self._parts = rpc, parts
        tries = [{"blockStateCalls": [{"calls": part}]} for part in parts]
        self._asked = rpc.ask([("eth_simulateV1", each, "latest") for each in tries])

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._answers().__await__()

    async def _answers(self) -> list[Any]:
        results: list[Any] = []
        for part, answer in zip(self._parts, await self._asked, strict=True):
            if isinstance(answer, RpcFault):  # One cannot pay for its gas, say: one by one.
                results += await self._rpc.many([("eth_call", e, "latest") for e in part])
            else:
                results += [tried(call) for call in answer[0]["calls"]]
        return results


class MiningRpc(BlockingRpc):
    """A node of our own that mines when told: between two blocks, equal questions are asked once.

    What was asked in two blocks running is asked again together with the order to mine, and with
    it the new block's logs and what became of its transactions: so most questions of a round wait
    for nothing.

    On a loop that can wait for us (see `sim.loop`) the node works while others run: what is asked
    is written at once, and its answer read when nothing else can go on, one after the other in
    the order of the questions. So what happens when depends on no wall clock. Transactions have a
    connection of their own, since questions need not wait until they are taken in; all are before
    a block is mined. `now` and `all_now` read first whatever is still to come.

    Everything that may change an answer must go through this object, or call `invalidate` after:
    any method that is not known to be harmless empties the memory.
    """

    def __init__(self, url: str) -> None:
        self._main, self._sends = PipelinedConnection(), PipelinedConnection()
        super().__init__(url)
        self._known: dict[CacheKey, Any] = {}
        self._blocks: dict[CacheKey, Any] = {}
        self._unmined: set[str] = set()
        # By block hash, so these stay true whatever becomes of the chain.
        self._logs: dict[str, tuple[frozenset[str], list[dict[str, Any]]]] = {}
        self._landings: dict[str, tuple[str, dict[str, Inclusion]]] = {}
        """The block's parent, and our transactions that have landed in it."""
        # By transaction: of the newest blocks as the chain is now; and how it begins.
        self._landed: dict[str, Inclusion] | None = None
        self._raws: dict[str, str] = {}
        # Addresses whose logs somebody asks for; whether somebody asks what became of transactions.
        self._followed: frozenset[str] = frozenset()
        self._follows_ours = False
        self._asked: dict[CacheKey, RpcCall] = {}
        self._asked_before: dict[CacheKey, RpcCall] = {}
        self._soon: list[RpcCall] = []
        # Transactions wait until the node has answered what others wait for.
        self._held: deque[PendingRpc] = deque()
        self._since = 0
        self._asking: dict[CacheKey, tuple[PendingRpc, int]] = {}
        self._waiting: deque[tuple[asyncio.Future[None], PendingRpc]] = deque()
        self.meanwhile: Callable[[], bool] | None = None
        """See `Connection.meanwhile`."""

    @property
    def _connection(self) -> Connection | None:
        """Where whoever cannot wait asks."""
        return self._main.connection

    @_connection.setter
    def _connection(self, connection: Connection | None) -> None:
        self._main.connection = connection

    def _connect(self) -> Connection:
        made = super()._connect()
        made.meanwhile = self.meanwhile
        return made

    def invalidate(self) -> None:
        """Whatever the node said before may have changed."""
        self._blocks.clear()
        self._expect_block()

    def _expect_block(self) -> None:
        """A block more: what the newest one says has changed, the older ones have not."""
        self._since += 1
        self._known.clear()
        self._asking.clear()
        self._unmined.clear()
        self._landed = None
        if len(self._blocks) > BLOCKS_KEPT:
            self._blocks.clear()

    def now(self, method: str, *params: Any) -> Any:
        key = (method, json.encode(params))
        if key in self._known:  # As most are: what follows would find the same, less quickly.
            self._note(key, (method, *params))
            return self._known[key]
        (answer,) = self.all_now([(method, *params)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    def all_now(self, calls: Sequence[RpcCall]) -> list[Any]:
        """What is known is not asked; the rest goes to the node in the order of `calls`."""
        self.settle()
        asked = self._sorted(calls)
        if not asked.done:
            self._take(asked, super().all_now(asked.calls))
        return asked.results[: len(calls)]

    async def call(self, method: str, *params: Any) -> Any:
        key = (method, json.encode(params))
        if key in self._known:
            self._note(key, (method, *params))
            return self._known[key]
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
        asked = self._sorted(calls)
        if not asked.done:
            self._write(asked)
        if asked.mines and self._soon:
            soon, self._soon = self._soon, []
            self.ask(soon)
        return asked

    async def answers(self, asked: PendingRpc) -> list[Any]:
        """What the node says to `asked`; time stands still until then."""
        loop: Any = asyncio.get_running_loop()
        for each in (*(other for _, other, _ in asked.joined), asked):
            if not each.done:
                waiting = loop.create_future()
                each.waiting.append(waiting)
                self._waiting.append((waiting, each))
                loop.wait_for(self)
                await waiting
        for place, other, there in asked.joined:
            asked.results[place] = other.results[there]
        return asked.results[: asked.count]

    async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """See `Rpc.try_all`. In our node's block, as `eth_call` has it, for half of its cost."""
        return await self.ask_to_try(requests)

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        """See `Rpc.ask_to_try`."""
        if len(requests) < 2:
            return self.ask([("eth_call", request, "latest") for request in requests])
        firsts = range(0, len(requests), TRIED_AT_ONCE)
        return SimulationRequests(self, [requests[n : n + TRIED_AT_ONCE] for n in firsts])

    # --- What is known, what is asked, and what was answered ---

    def _sorted(self, calls: Sequence[RpcCall]) -> PendingRpc:
        """What is known of each call; what is asked already; and what the node must be asked."""
        asked = PendingRpc(self, len(calls))
        results = asked.results
        for n, call in enumerate(calls):
            key: Any = n
            if self._may_know(call):
                results[n] = self._from_logs(call)
                if results[n] is not None or self._is_unmined(call):
                    continue
                key = _key(call)
                self._note(key, call)
                known = self._known if key in self._known else self._blocks
                if key in known:
                    results[n] = known[key]
                    continue
                if key in self._asking:
                    asked.joined.append((n, *self._asking[key]))
                    continue
            asked.places.setdefault(key, []).append(n)
        asked.since = self._since
        asked.wanted = [calls[places[0]] for places in asked.places.values()]
        asked.mines = any(call[0] == MINE for call in asked.wanted)
        asked.ahead = self._foreseen() if asked.mines else {}
        asked.done = not asked.wanted
        return asked

    def _take(self, asked: PendingRpc, answers: Sequence[Any]) -> None:
        """The node's answers to `asked.calls`, for all who wait for them."""
        for (key, places), answer in zip(asked.places.items(), answers, strict=False):
            for n in places:
                asked.results[n] = answer
            self._learn(key, answer, asked.since)
        for call, answer in zip(asked.wanted, answers, strict=False):
            if call[0] == SEND and isinstance(answer, str):
                if len(self._raws) >= RAWS_KEPT:
                    self._raws.clear()  # Of those still to come, receipts are asked for.
                self._raws[answer] = call[1][:ENOUGH]
                if asked.since == self._since:
                    self._unmined.add(answer)
        for key, answer in zip(asked.ahead, answers[len(asked.wanted) :], strict=True):
            asked.results.append(answer)
            self._learn(key, answer, asked.since)
        asked.done = True
        for waiting in asked.waiting:
            if not waiting.done():
                waiting.set_result(None)
        if asked.mines and asked.since == self._since:
            self._take_head()

    def _write(self, asked: PendingRpc) -> None:
        """Ask now, and let the answers come."""
        for n, key in enumerate(asked.ahead, len(asked.results)):
            self._asking[key] = (asked, n)
        for key, places in asked.places.items():
            if isinstance(key, tuple):
                self._asking[key] = (asked, places[0])
        line = asked.line = asked.line or self._line_for(asked)
        if line is self._sends and self._main.owed:
            self._held.append(asked)
        else:
            self._put(asked, line)

    def _release(self) -> None:
        """Hand over the transactions that were held back."""
        while self._held:
            self._put(self._held.popleft(), self._sends)

    def _put(self, asked: PendingRpc, line: PipelinedConnection) -> None:
        asked.first, requests = self._requests(asked.calls)
        try:
            if line.connection is not None and not line.owed and line.connection.stale:
                line.drop()
            if line.connection is None:
                line.connection = self._connect()
            line.connection.write_ahead(b"".join(requests))
        except (OSError, BrokenConnection) as why:
            line.owed.append(asked)
            self._lose(line, why)
        else:
            line.owed.append(asked)

    def _line_for(self, asked: PendingRpc) -> PipelinedConnection:
        """Nothing overtakes a transaction but questions whose answer it does not change."""
        before = self._main.owed
        if all(call[0] == SEND for call in asked.wanted):
            alone = not any(each.mines or each.wanted[0][0] == SEND for each in before)
            return self._sends if alone else self._main
        if not all(call[0] in POOL_BLIND and "pending" not in call for call in asked.wanted):
            self._settle(self._sends)
        return self._main

    # --- Reading what is owed ---

    def read_next(self) -> bool:
        """Read on until somebody who waits can go on. False if nobody waits."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        if not self._waiting:
            self._release()
            return False
        waiting, asked = self._waiting[0]
        if asked.line is self._sends:
            self._release()
        while not waiting.done():
            assert asked.line is not None, "what is waited for was written"
            self._read_one(asked.line)
        return True

    def settle(self) -> None:
        """Read all that is owed: then the node has done whatever it was asked for."""
        for line in (self._sends, self._main):
            self._settle(line)

    def _settle(self, line: PipelinedConnection) -> None:
        if line is self._sends:
            self._release()
        while line.owed:
            self._read_one(line)

    def _read_one(self, line: PipelinedConnection) -> None:
        asked, answers = line.owed[0], list[Any]()
        calls, connection = asked.calls, line.connection
        try:
            if connection is None or connection.closed:
                raise BrokenConnection("it closed the connection before all was answered")
            for number, call in enumerate(calls, asked.first):
                answers.append(self._result(number, call, connection.read()))
                if jsonrpc.is_truncated(answers[-1]):
                    raise BrokenConnection(TORN)
        except (OSError, BrokenConnection) as why:
            lost = unreachable(self._shown, why)
            line.owed.popleft()
            self._take(asked, answers + [lost] * (len(calls) - len(answers)))
            self._lose(line, why)
        else:
            line.owed.popleft()
            self._take(asked, answers)
            if not self._main.owed:
                self._release()

    def _lose(self, line: PipelinedConnection, why: Exception) -> None:
        """The connection is gone, and with it all answers that were still to come."""
        line.drop()
        lost = unreachable(self._shown, why)
        while line.owed:
            asked = line.owed.popleft()
            self._take(asked, [lost] * len(asked.calls))

    async def close(self) -> None:
        self._sends.drop()
        await super().close()

    def _may_know(self, call: RpcCall) -> bool:
        if call[0] in READS:
            return "pending" not in call
        if call[0] == MINE:
            self._expect_block()
        elif call[0] not in HARMLESS:
            self.invalidate()
        return False

    def _is_unmined(self, call: RpcCall) -> bool:
        """Whether it asks for the receipt of what was sent after the newest block."""
        return call[0] == RECEIPT and call[1] in self._unmined

    def _learn(self, key: Any, answer: Any, since: int) -> None:
        """Unless a block, or a change by hand, was ordered after it was asked."""
        if isinstance(key, tuple) and since == self._since:
            self._asking.pop(key, None)
            if isinstance(answer, WorkbenchError):
                return
            self._known[key] = answer
            if answer is not None and key[0] == RECEIPT:
                self._blocks[key] = answer
            elif answer is not None and key[0] == BLOCK and key[1].endswith(b",false]"):
                self._blocks[_key((BLOCK, answer["number"], False))] = answer

    # --- Asking ahead ---

    def prefetch(self, calls: Sequence[RpcCall]) -> None:
        """See `Rpc.prefetch`."""
        self._soon += calls

    def _note(self, key: CacheKey, call: RpcCall) -> None:
        if len(call) == 1 or "latest" in call:
            self._asked[key] = call

    def _foreseen(self) -> dict[CacheKey, RpcCall]:
        """What the next round will ask, if it is like the last two; then the new block itself."""
        both = {key: call for key, call in self._asked.items() if key in self._asked_before}
        self._asked_before, self._asked = self._asked, {}
        new = [HEAD]
        new += [self._news()] if self._followed else []
        new += [NEW_TRACES] if self._follows_ours else []
        return both | {_key(call): call for call in new}

    def _news(self) -> RpcCall:
        """Of the newest block, all logs that somebody follows."""
        where = {"fromBlock": "latest", "toBlock": "latest"}
        return LOGS, {"address": sorted(self._followed), **where}

    def _take_head(self) -> None:
        """The newest block, its logs, and where our transactions have landed in it."""
        block, logs = self._known.get(_key(HEAD)), self._known.get(_key(self._news()))
        traces = self._known.get(_key(NEW_TRACES))
        if block is None:
            return
        if logs is not None:
            self._logs[block["hash"]] = (self._followed, logs)
            _forget_old(self._logs)
        if traces is not None:
            told = traced(block, traces, self._raws)
            self._landings[block["hash"]] = (block["parentHash"], told)
            _forget_old(self._landings)
        for tx in block["transactions"]:
            self._raws.pop(tx, None)

    # --- What became of transactions ---

    async def landed(self, txs: Sequence[str]) -> list[Inclusion | WorkbenchError | None]:
        """See `Rpc.landed`. Of the newest blocks it came with them."""
        self._follows_ours = True
        known = await self._newest_landings()
        asked = [tx for tx in txs if tx not in known and tx not in self._unmined]
        told = dict(zip(asked, await super().landed(asked), strict=True)) if asked else {}
        return [known.get(tx) or told.get(tx) for tx in txs]

    def _from_logs(self, call: RpcCall) -> Any:
        """A block's logs, if they have come with it."""
        if call[0] != LOGS or set(call[1]) != {"address", "blockHash"}:
            return None
        told = call[1]["address"]
        at = frozenset([told] if isinstance(told, str) else told)
        followed, logs = self._logs.get(call[1]["blockHash"], (frozenset(), []))
        if at <= followed:
            return [log for log in logs if log["address"] in at]
        self._followed |= {each for each in at if each == each.lower()}  # As the node has them.
        return None

    async def _newest_landings(self) -> dict[str, Inclusion]:
        """By transaction: the newest block's and its ancestors', as far as they are known."""
        if self._landed is not None:
            return self._landed
        since, found = self._since, dict[str, Inclusion]()
        block_hash = (await self.call(*HEAD))["hash"]
        while block_hash in self._landings:
            block_hash, told = self._landings[block_hash]
            found |= told
        if since == self._since:  # Else the chain went on meanwhile, or back.
            self._landed = found
        return found


def _forget_old(by_block: dict[str, Any]) -> None:
    for old in list(by_block)[:-RECENT]:
        del by_block[old]


def _key(call: RpcCall) -> CacheKey:
    return call[0], json.encode(call[1:])

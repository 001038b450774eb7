"""JSON-RPC to a node: what may be asked, one mapping of errors, and the transport that waits.

`HttpRpc` waits on sockets (served worlds). `chain.direct` blocks and so takes no time of the event
loop's own: simulated worlds and set-up steps use it. JSON-RPC batches are never used: anvil does
not execute them in order, while requests written one after the other on one connection it does.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from msgspec import json

from workbench.chain.landing import Landing, landing_of
from workbench.chain.pipe import Pipe
from workbench.core.errors import RpcFault, RpcUnreachable, WorkbenchError

TIMEOUT_S = 30.0
AT_ONCE = 16
"""So many requests to a distant node wait at the same time."""
MANY_IN_BLOCK = 8
"""From so many transactions on, all receipts of their block are less than each of theirs."""
TRIED_AT_ONCE = 64
"""So many calls are executed by one request; a faulty one makes the node refuse them all."""
SEND, RECEIPT = "eth_sendRawTransaction", "eth_getTransactionReceipt"
BLOCK, BLOCK_RECEIPTS = "eth_getBlockByNumber", "eth_getBlockReceipts"
LOGS, MINE, TRACES = "eth_getLogs", "evm_mine", "debug_traceBlockByNumber"
REVERT_DATA = re.compile(r"0x([0-9a-fA-F]{2})*")
_PLACE = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s/?#)]*)[^\s)]*")
"""A URL in a node's message, and the part of it that may be shown: a fork names its upstream's."""


class NodeRevert(RpcFault):
    """The node executed a call, and a contract refused. `data` is the revert data as 0x hex."""

    code = "node_revert"

    def __init__(self, message: str, data: str = "0x") -> None:
        super().__init__(message)
        self.data = data


Call = tuple[Any, ...]
"""A method's name and its parameters."""


class Answers:
    """What calls were answered, or will be: await it, or look once it is `known`.

    This plain kind asks when it is awaited. `begun`: the node has been asked already.
    """

    begun = False

    def __init__(self, asking: Callable[[], Awaitable[list[Any]]]) -> None:
        self._asking = asking
        self.results: list[Any] = []

    @property
    def known(self) -> bool:
        return False

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._asking().__await__()


class Early(Answers):
    """Asked at once, in a task of its own. It raises nothing: errors are among the results."""

    def __init__(self, asking: Callable[[], Awaitable[list[Any]]], count: int) -> None:
        super().__init__(asking)
        self.task = asyncio.ensure_future(self._ask(count))

    async def _ask(self, count: int) -> list[Any]:
        try:
            self.results = await self._asking()
        except WorkbenchError as why:
            self.results = [why] * count
        return self.results

    @property
    def known(self) -> bool:
        return self.task.done()

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.task.__await__()


class Rpc(Protocol):
    """One node. `url` may hold a key, so it is never logged whole."""

    url: str

    async def call(self, method: str, *params: Any) -> Any:
        """The result. Raises RpcUnreachable, NodeRevert or RpcFault."""

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """Each call's result, or the error that `call` would have raised; sends keep their order.

        An adapter that inherits from this class has this plain way of it.
        """
        return [await outcome(self, each) for each in calls]

    def ask(self, calls: Sequence[Call]) -> Answers:
        """`many`, whose answers may be awaited later: a node of our own goes to work at once.

        What is sent there need not be awaited: it is answered before the next block is.
        """
        return Answers(lambda: self.many(calls))

    def foresee(self, calls: Sequence[Call]) -> None:
        """They will be asked in the next block: a node of our own answers them together with it."""
        return  # Others answer when they are asked.

    async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """What each call would return at the newest block (0x hex), or its error; nothing stays.

        Each is executed on that block's state, or on what those before it would make of it.
        """
        return await self.many([("eth_call", request, "latest") for request in requests])

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> Answers:
        """`try_all` as `ask` has it."""
        return Answers(lambda: self.try_all(requests))

    async def landed(self, txs: Sequence[str]) -> list[Landing | WorkbenchError | None]:
        """Where each transaction was mined: None for one that was not, or why nobody knows."""
        told = await self.many([(RECEIPT, tx) for tx in txs])
        return [landing_of(each) if isinstance(each, dict) else each for each in told]

    async def close(self) -> None: ...


async def receipts_in(rpc: Rpc, places: Sequence[tuple[str, int]]) -> dict[str, dict[str, Any]]:
    """Receipts by transaction, of those that there are; `places`: (hash, the block it may be in).

    A block of which many are wanted is read whole, where the node can. Raises what `call` does.
    """
    wanted = Counter(number for _, number in places)
    whole = [number for number, count in wanted.items() if count >= MANY_IN_BLOCK]
    found: dict[str, dict[str, Any]] = {}
    for answer in await rpc.many([(BLOCK_RECEIPTS, hex(number)) for number in whole]):
        if isinstance(answer, list):  # Not every node knows this question.
            found |= {receipt["transactionHash"]: receipt for receipt in answer}
    asked = [tx for tx, _ in places]
    found = {tx: found[tx] for tx in asked if tx in found}
    single = [tx for tx in asked if tx not in found]
    answers = await rpc.many([(RECEIPT, tx) for tx in single])
    for answer in answers:
        if isinstance(answer, WorkbenchError):
            raise answer
    return found | {tx: a for tx, a in zip(single, answers, strict=True) if a is not None}


async def outcome(rpc: Rpc, asked: Call) -> Any:
    """One call's result, or its error as a value."""
    try:
        return await rpc.call(*asked)
    except WorkbenchError as why:
        return why


def request_body(number: int, method: str, params: tuple[Any, ...]) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.encode(message)


def result_of(url: str, method: str, raw: bytes) -> Any:
    """The result in a JSON-RPC answer, or the error it stands for."""
    try:
        answer = json.decode(raw)
    except (ValueError, RecursionError) as why:
        raise unreachable(url, f"it answered {raw[:60]!r}, which is not JSON-RPC") from why
    if not isinstance(answer, dict):
        raise unreachable(url, "its answer is not a JSON-RPC object")
    error = answer.get("error")
    if not error and "result" in answer:
        return answer["result"]
    if not error:
        # A gateway's own words (a rate limit, say). Taken for a result, they would read as null:
        # "no such receipt", "no such block".
        raise unreachable(url, f"it answered {raw[:60]!r}, without a result")
    if not isinstance(error, dict):
        raise RpcFault(f"the node refused {method}: {error}.", method=method)
    message, data = _PLACE.sub(r"\1\2", str(error.get("message", error))), error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and REVERT_DATA.fullmatch(data):
        raise NodeRevert(message, data)
    if error.get("code") == 3 or "revert" in message.lower():
        raise NodeRevert(message, "0x")
    raise RpcFault(f"the node refused {method}: {message}.", method=method)


def result_or_error(url: str, method: str, raw: bytes) -> Any:
    try:
        return result_of(url, method, raw)
    except WorkbenchError as why:
        return why


def unreachable(url: str, why: str) -> RpcUnreachable:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return RpcUnreachable(
        f"no chain at {parts.scheme}://{parts.hostname}{port}: {why}.",
        hint="Start it (`workbench up`), or correct the RPC URL.",
    )


def tried(call: dict[str, Any]) -> Any:
    if int(call["status"], 16) == 1:
        return call["returnData"]
    return NodeRevert(str(call.get("error", {}).get("message", "")), call["returnData"])


class HttpRpc(Rpc):
    """Over one keep-alive aiohttp session, made at the first call inside the running loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids = itertools.count(1)
        self._session: Any = None
        self._pipe = Pipe(url, TIMEOUT_S)
        self._piping, self._trying = asyncio.Lock(), asyncio.Lock()
        self._early: set[asyncio.Task[list[Any]]] = set()
        self._simulates = True

    async def call(self, method: str, *params: Any) -> Any:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        body = request_body(next(self._ids), method, params)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(self.url, data=body, headers=headers) as answer:
                raw = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as why:
            raise unreachable(self.url, str(why) or type(why).__name__) from why
        return result_of(self.url, method, raw)

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """Reads at once; sends one after the other, since a pool may refuse a nonce gap."""
        if any(each[0] == SEND for each in calls):
            if len(calls) > 1 and all(each[0] == SEND for each in calls):
                return await self._send_all(calls)
            return [await outcome(self, each) for each in calls]
        results: list[Any] = []
        for first in range(0, len(calls), AT_ONCE):
            some = calls[first : first + AT_ONCE]
            results += await asyncio.gather(*(outcome(self, each) for each in some))
        return results

    async def _send_all(self, calls: Sequence[Call]) -> list[Any]:
        """Without waiting for each answer: what had none may be there, or may be sent again."""
        bodies = [request_body(next(self._ids), each[0], each[1:]) for each in calls]
        async with self._piping:
            answers, why = await self._pipe.exchange(bodies)
        results: list[Any] = [result_or_error(self.url, SEND, raw) for raw in answers]
        return results + [unreachable(self.url, why)] * (len(calls) - len(results))

    async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """See `Rpc.try_all`. Many in one question, where the node knows how."""
        if len(requests) < 2 or not self._simulates:
            return await super().try_all(requests)
        results: list[Any] = []
        for first in range(0, len(requests), TRIED_AT_ONCE):
            some = requests[first : first + TRIED_AT_ONCE]
            blocks = {"blockStateCalls": [{"calls": some}]}
            try:
                (block,) = await self.call("eth_simulateV1", blocks, "latest")
                results += [tried(call) for call in block["calls"]]
            except (RpcFault, LookupError, TypeError, ValueError) as why:
                # One that cannot pay for its gas is a fault of all. Or the node cannot simulate.
                self._simulates = isinstance(why, RpcFault) and "funds" in why.message.lower()
                results += await super().try_all(some)
        return results

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> Answers:
        """See `Rpc.ask_to_try`. One question after the other: the first is wanted first."""

        async def in_turn() -> list[Any]:
            async with self._trying:
                return await self.try_all(requests)

        early = Early(in_turn, len(requests))
        self._early.add(early.task)
        early.task.add_done_callback(self._early.discard)
        return early

    async def close(self) -> None:
        for task in self._early:
            task.cancel()
        await asyncio.gather(*self._early, return_exceptions=True)
        await self._pipe.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

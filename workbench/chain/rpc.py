"""JSON-RPC to a node: two transports, one mapping of errors, and a memory for one's own node.

`HttpRpc` waits on sockets (served worlds). `DirectRpc` blocks and so takes no time of the event
loop's own: simulated worlds and set-up steps use it. JSON-RPC batches are never used: anvil does
not execute them in order, while requests written one after the other on one connection it does.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import select
import socket
import ssl
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from msgspec import json

from workbench.chain.pipe import Pipe
from workbench.core.errors import RpcFault, RpcUnreachable, WorkbenchError

TIMEOUT_S = 30.0
AHEAD = 16
"""So many requests are written before their answers are read: neither side's buffers can fill."""
AT_ONCE = 16
"""So many requests to a distant node wait at the same time."""
MANY_IN_BLOCK = 8
"""From so many transactions on, all receipts of their block are less than each of theirs."""
SEND, RECEIPT = "eth_sendRawTransaction", "eth_getTransactionReceipt"
BLOCK, BLOCK_RECEIPTS = "eth_getBlockByNumber", "eth_getBlockReceipts"
LOGS, MINE = "eth_getLogs", "evm_mine"
MAX_HEAD_BYTES = 65_536
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

    async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """What each call would return at the newest block (0x hex), or its error; nothing stays.

        Each is executed on that block's state, or on what those before it would make of it.
        """
        return await self.many([("eth_call", request, "latest") for request in requests])

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> Answers:
        """`try_all` as `ask` has it."""
        return Answers(lambda: self.try_all(requests))

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
        raise _unreachable(url, f"it answered {raw[:60]!r}, which is not JSON-RPC") from why
    if not isinstance(answer, dict):
        raise _unreachable(url, "its answer is not a JSON-RPC object")
    error = answer.get("error")
    if not error and "result" in answer:
        return answer["result"]
    if not error:
        # A gateway's own words (a rate limit, say). Taken for a result, they would read as null:
        # "no such receipt", "no such block".
        raise _unreachable(url, f"it answered {raw[:60]!r}, without a result")
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


def _result_or_error(url: str, method: str, raw: bytes) -> Any:
    try:
        return result_of(url, method, raw)
    except WorkbenchError as why:
        return why


def _unreachable(url: str, why: str) -> RpcUnreachable:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return RpcUnreachable(
        f"no chain at {parts.scheme}://{parts.hostname}{port}: {why}.",
        hint="Start it (`workbench up`), or correct the RPC URL.",
    )


class HttpRpc(Rpc):
    """Over one keep-alive aiohttp session, made at the first call inside the running loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids = itertools.count(1)
        self._session: Any = None
        self._pipe = Pipe(url, TIMEOUT_S)
        self._piping = asyncio.Lock()
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
            raise _unreachable(self.url, str(why) or type(why).__name__) from why
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
        results: list[Any] = [_result_or_error(self.url, SEND, raw) for raw in answers]
        return results + [_unreachable(self.url, why)] * (len(calls) - len(results))

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
                results += [_tried(call) for call in block["calls"]]
            except (RpcFault, LookupError, TypeError, ValueError) as why:
                # One that cannot pay for its gas is a fault of all. Or the node cannot simulate.
                self._simulates = isinstance(why, RpcFault) and "funds" in why.message.lower()
                results += await super().try_all(some)
        return results

    async def close(self) -> None:
        await self._pipe.close()
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Broken(Exception):
    """The connection gave no answer. `unused`: the node has surely not seen the request."""

    def __init__(self, why: str, *, unused: bool = False) -> None:
        super().__init__(why)
        self.unused = unused


class _Connection:
    """HTTP/1.1 kept alive, as little of it as JSON-RPC needs: a fifth of http.client's time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        place = (parts.hostname or "", port)
        plain = socket.create_connection(place, timeout=TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        if secure:
            context = ssl.create_default_context()
            self._socket = context.wrap_socket(plain, server_hostname=place[0])
        self._left = b""
        self.used = False

    def write(self, requests: bytes) -> None:
        self._socket.sendall(requests)

    def write_ahead(self, requests: bytes) -> None:
        """Write, however many answers were not read yet: where neither side would go on, we take
        in what the node says. Not over TLS. Raises OSError or _Broken."""
        left = memoryview(requests)
        ready = select.poll()
        ready.register(self._socket, select.POLLIN | select.POLLOUT)
        while left:
            events = ready.poll(TIMEOUT_S * 1000)
            if not events:
                raise TimeoutError("it takes nothing in")
            if events[0][1] & select.POLLOUT:
                left = left[self._socket.send(left) :]
            else:
                self._left += self._more()

    @property
    def stale(self) -> bool:
        """Whether the other side has closed it, where no answer is on its way."""
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        return bool(ready.poll(0))

    def read(self) -> bytes:
        """The next answer's body. Raises OSError or _Broken."""
        _acknowledge_at_once(self._socket)
        head = self._until(b"\r\n\r\n")
        self.used = True
        status, fields = _parse_head(head)
        if status == 100:
            return self.read()
        if "chunked" in fields.get(b"transfer-encoding", b"").lower().decode("latin-1"):
            body = self._chunks()
        elif b"content-length" in fields:
            body = self._exactly(_number(fields[b"content-length"], 10))
        else:
            body = self._rest()
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        return body

    def _more(self) -> bytes:
        got = self._socket.recv(1 << 18)
        if not got:
            unused = not self.used and not self._left
            raise _Broken("it closed the connection without an answer", unused=unused)
        return got

    def _until(self, end: bytes) -> bytes:
        while (found := self._left.find(end)) < 0:
            if len(self._left) > MAX_HEAD_BYTES:
                raise _Broken("its answer has no end of headers")
            self._left += self._more()
        head, self._left = self._left[:found], self._left[found + len(end) :]
        return head

    def _exactly(self, size: int) -> bytes:
        if len(self._left) < size:
            parts, missing = [self._left], size - len(self._left)
            while missing > 0:
                parts.append(self._more())
                missing -= len(parts[-1])
            self._left = b"".join(parts)
        body, self._left = self._left[:size], self._left[size:]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while size := _number(self._until(b"\r\n").partition(b";")[0], 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        while self._until(b"\r\n"):
            pass  # Trailers.
        return body

    def _rest(self) -> bytes:
        body, self._left = self._left, b""
        while got := self._socket.recv(1 << 18):
            body += got
        self.close()
        return body

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        self._socket.close()


@lru_cache(256)
def _parse_head(head: bytes) -> tuple[int, Mapping[bytes, bytes]]:
    """Status, and fields by lower name. A node's heads are alike but for size and second."""
    first, *lines = head.split(b"\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1") or not words[1].isdigit():
        raise _Broken("it does not speak HTTP")
    named = (line.partition(b":") for line in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in named}
    return int(words[1]), MappingProxyType(fields)


def _number(text: bytes, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise _Broken("its answer is not HTTP") from None


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Without this, each answer of several waits 40 ms for an acknowledgement that we delay."""
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class DirectRpc(Rpc):
    """Blocking, on one kept connection; `now` and `all_now` are the same without `await`."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        port = f":{parts.port}" if parts.port else ""
        head = f"POST {target} HTTP/1.1\r\nHost: {parts.hostname}{port}\r\n"
        head += "Content-Type: application/json\r\n"
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            head += f"Authorization: Basic {b64encode(login).decode()}\r\n"
        self._head = head.encode() + b"Content-Length: "
        self._ids = itertools.count(1)
        self._connection: _Connection | None = None

    async def call(self, method: str, *params: Any) -> Any:
        return self.now(method, *params)

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        return self.all_now(calls)

    def now(self, method: str, *params: Any) -> Any:
        (raw,) = self._exchange([(method, *params)])
        if isinstance(raw, WorkbenchError):
            raise raw
        return result_of(self.url, method, raw)

    def all_now(self, calls: Sequence[Call]) -> list[Any]:
        """See `Rpc.many`. The node works on some while others are still being written."""
        answers = self._exchange(calls)
        return [self._result(each[0], raw) for each, raw in zip(calls, answers, strict=True)]

    def _result(self, method: str, raw: bytes | WorkbenchError) -> Any:
        return raw if isinstance(raw, WorkbenchError) else _result_or_error(self.url, method, raw)

    def _requests(self, calls: Sequence[Call]) -> list[bytes]:
        bodies = [request_body(next(self._ids), each[0], each[1:]) for each in calls]
        return [b"%b%d\r\n\r\n%b" % (self._head, len(body), body) for body in bodies]

    def _exchange(self, calls: Sequence[Call]) -> list[bytes | WorkbenchError]:
        """Each call's answer, in order. Calls that a broken connection leaves open are not asked
        again: the node may have mined already, and would mine once more."""
        requests = self._requests(calls)
        answers: list[bytes | WorkbenchError] = []
        while len(answers) < len(requests):
            kept = self._connection is not None
            try:
                self._converse(requests, answers)
            except (OSError, _Broken) as why:
                self._drop()
                # A kept connection may have been closed while idle: one fresh try.
                idle = isinstance(why, ConnectionError) or (isinstance(why, _Broken) and why.unused)
                if kept and idle and not answers:
                    continue
                lost = _unreachable(self.url, str(why) or type(why).__name__)
                answers += [lost] * (len(requests) - len(answers))
        return answers

    def _converse(self, requests: list[bytes], answers: list[bytes | WorkbenchError]) -> None:
        """Write ahead of reading by two chunks at most, so that the node never waits for us."""
        if self._connection is None:
            self._connection = _Connection(self.url)
        connection, written = self._connection, len(answers)
        connection.used = False
        while len(answers) < len(requests):
            if written < len(requests) and written - len(answers) <= AHEAD:
                connection.write(b"".join(requests[written : written + AHEAD]))
                written = min(written + AHEAD, len(requests))
            answers.append(connection.read())
            if connection.closed:
                self._connection = None
                if len(answers) < len(requests):
                    raise _Broken("it closed the connection before all was answered")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self._drop()


READS = frozenset(
    {
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
TRIED_AT_ONCE = 64
"""So many calls are executed by one request; a faulty one makes the node refuse them all."""
BLOCKS_KEPT = 1_024
RECENT = 8
"""The receipts of so many of the newest blocks are fetched block by block."""


Key = tuple[str, bytes]
HEAD: Call = (BLOCK, "latest", False)


class _Asked(Answers):
    """Calls as they were asked together: what is known of them, and what the node has to answer.

    `places`: where each of the calls that are `wanted` of the node belongs among the results;
    `joined`: places whose answer somebody else has asked for; `ahead`: questions of our own behind
    the others. `since`: the block that it was asked in (see `_expect_block`).
    """

    begun = True

    def __init__(self, line: CachedRpc, count: int) -> None:
        self.results = [None] * count
        self._line, self.count, self.since, self.done = line, count, 0, True
        self.places: dict[Any, list[int]] = {}
        self.wanted: list[Call] = []
        self.joined: list[tuple[int, _Asked, int]] = []
        self.ahead: dict[Key, Call] = {}
        self.mines = False
        self.waiting: list[asyncio.Future[None]] = []

    @property
    def known(self) -> bool:
        return self.done and all(other.done for _, other, _ in self.joined)

    @property
    def calls(self) -> list[Call]:
        return [*self.wanted, *self.ahead.values()]

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._line.answers(self).__await__()


class _Tried(Answers):
    """Calls that are tried together, those of one request after the other."""

    begun = True

    def __init__(self, line: CachedRpc, parts: list[Sequence[dict[str, Any]]]) -> None:
        self._line, self._parts = line, parts
        tries = [{"blockStateCalls": [{"calls": part}]} for part in parts]
        self._asked = line.ask([("eth_simulateV1", each, "latest") for each in tries])

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._answers().__await__()

    async def _answers(self) -> list[Any]:
        results: list[Any] = []
        for part, answer in zip(self._parts, await self._asked, strict=True):
            if isinstance(answer, RpcFault):  # One cannot pay for its gas, say: one by one.
                results += await self._line.many([("eth_call", e, "latest") for e in part])
            else:
                results += [_tried(call) for call in answer[0]["calls"]]
        return results


class CachedRpc(DirectRpc):
    """A node of our own that mines when told: between two blocks, equal questions are asked once.

    What was asked in two blocks running is asked again together with the order to mine, and the
    new block's receipts and logs with it: so most questions of a round wait for nothing.

    On a loop that can wait for us (see `sim.loop`) the node works while others run: what is asked
    is written at once, and its answer read when nothing else can go on, one after the other in
    the order of the questions. So what happens when depends on no wall clock. `now` and `all_now`
    read first whatever is still to come.

    Everything that may change an answer must go through this object, or be followed by `forget`:
    any method that is not known to be harmless empties the memory.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._known: dict[Key, Any] = {}
        self._blocks: dict[Key, Any] = {}
        self._unmined: set[str] = set()
        # By block hash, so these stay true whatever becomes of the chain.
        self._parents: dict[str, tuple[str, int]] = {}
        self._receipts: dict[str, dict[str, Any]] = {}
        self._newest: dict[str, Any] | None = None
        self._asked: dict[Key, Call] = {}
        self._asked_before: dict[Key, Call] = {}
        self._since = 0
        self._asking: dict[Key, tuple[_Asked, int]] = {}
        self._owed: deque[_Asked] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def forget(self) -> None:
        """Whatever the node said before may have changed."""
        self._blocks.clear()
        self._expect_block()

    def _expect_block(self) -> None:
        """A block more: what the newest one says has changed, the older ones have not."""
        self._since += 1
        self._known.clear()
        self._asking.clear()
        self._unmined.clear()
        self._newest = None
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

    def all_now(self, calls: Sequence[Call]) -> list[Any]:
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

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """See `Rpc.many`, and `all_now`."""
        if not hasattr(asyncio.get_running_loop(), "wait_for"):
            return self.all_now(calls)
        return await self.ask(calls)

    def ask(self, calls: Sequence[Call]) -> Answers:
        """See `Rpc.ask`."""
        if not hasattr(asyncio.get_running_loop(), "wait_for"):
            return super().ask(calls)
        asked = self._sorted(calls)
        if not asked.done:
            self._write(asked)
        return asked

    async def answers(self, asked: _Asked) -> list[Any]:
        """What the node says to `asked`; time stands still until then."""
        loop: Any = asyncio.get_running_loop()
        for each in (*(other for _, other, _ in asked.joined), asked):
            if not each.done:
                waiting = loop.create_future()
                each.waiting.append(waiting)
                self._waiting.append(waiting)
                loop.wait_for(self)
                await waiting
        for place, other, there in asked.joined:
            asked.results[place] = other.results[there]
        return asked.results[: asked.count]

    async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """See `Rpc.try_all`. In our node's block, as `eth_call` has it, for half of its cost."""
        return await self.ask_to_try(requests)

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> Answers:
        """See `Rpc.ask_to_try`."""
        if len(requests) < 2:
            return self.ask([("eth_call", request, "latest") for request in requests])
        firsts = range(0, len(requests), TRIED_AT_ONCE)
        return _Tried(self, [requests[n : n + TRIED_AT_ONCE] for n in firsts])

    # --- What is known, what is asked, and what was answered ---

    def _sorted(self, calls: Sequence[Call]) -> _Asked:
        """What is known of each call; what is asked already; and what the node must be asked."""
        asked = _Asked(self, len(calls))
        results = asked.results
        for n, call in enumerate(calls):
            key: Any = n
            if self._may_know(call):
                results[n] = self._from_receipts(call)
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

    def _take(self, asked: _Asked, answers: Sequence[Any]) -> None:
        """The node's answers to `asked.calls`, for all who wait for them."""
        for (key, places), answer in zip(asked.places.items(), answers, strict=False):
            for n in places:
                asked.results[n] = answer
            self._learn(key, answer, asked.since)
        for call, answer in zip(asked.wanted, answers, strict=False):
            if call[0] == SEND and isinstance(answer, str) and asked.since == self._since:
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

    def _write(self, asked: _Asked) -> None:
        """Ask now, and let the answers come."""
        for n, key in enumerate(asked.ahead, len(asked.results)):
            self._asking[key] = (asked, n)
        for key, places in asked.places.items():
            if isinstance(key, tuple):
                self._asking[key] = (asked, places[0])
        requests = b"".join(self._requests(asked.calls))
        try:
            if self._connection is not None and not self._owed and self._connection.stale:
                self._drop()
            if self._connection is None:
                self._connection = _Connection(self.url)
            self._connection.write_ahead(requests)
        except (OSError, _Broken) as why:
            self._owed.append(asked)
            self._lose(why)
        else:
            self._owed.append(asked)

    # --- Reading what is owed ---

    def read_next(self) -> bool:
        """Read on until somebody who waits can go on. False if nobody waits."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        if not self._waiting:
            return False
        while not self._waiting[0].done():
            self._read_one()
        return True

    def settle(self) -> None:
        """Read all that is owed: then the node has done whatever it was asked for."""
        while self._owed:
            self._read_one()

    def _read_one(self) -> None:
        asked, answers = self._owed[0], list[Any]()
        calls, connection = asked.calls, self._connection
        try:
            if connection is None or connection.closed:
                raise _Broken("it closed the connection before all was answered")
            for call in calls:
                answers.append(self._result(call[0], connection.read()))
        except (OSError, _Broken) as why:
            lost = _unreachable(self.url, str(why) or type(why).__name__)
            self._owed.popleft()
            self._take(asked, answers + [lost] * (len(calls) - len(answers)))
            self._lose(why)
        else:
            self._owed.popleft()
            self._take(asked, answers)

    def _lose(self, why: Exception) -> None:
        """The connection is gone, and with it all answers that were still to come."""
        self._drop()
        lost = _unreachable(self.url, str(why) or type(why).__name__)
        while self._owed:
            asked = self._owed.popleft()
            self._take(asked, [lost] * len(asked.calls))

    def _may_know(self, call: Call) -> bool:
        if call[0] in READS:
            return "pending" not in call
        if call[0] == MINE:
            self._expect_block()
        elif call[0] not in HARMLESS:
            self.forget()
        return False

    def _is_unmined(self, call: Call) -> bool:
        """Whether it asks for the receipt of what was sent after the newest block."""
        return call[0] == RECEIPT and call[1] in self._unmined

    def _learn(self, key: Any, answer: Any, since: int) -> None:
        """Unless a block, or a change by hand, was ordered after it was asked."""
        if isinstance(key, tuple) and since == self._since:
            self._asking.pop(key, None)
            if isinstance(answer, WorkbenchError):
                return
            self._known[key] = answer
            if key[0] == BLOCK and key[1].endswith(b",false]") and answer is not None:
                self._blocks[_key((BLOCK, answer["number"], False))] = answer

    # --- Asking ahead ---

    def _note(self, key: Key, call: Call) -> None:
        if len(call) == 1 or "latest" in call:
            self._asked[key] = call

    def _foreseen(self) -> dict[Key, Call]:
        """What the next round will ask, if it is like the last two; then the new block itself."""
        both = {key: call for key, call in self._asked.items() if key in self._asked_before}
        self._asked_before, self._asked = self._asked, {}
        new = ((BLOCK, "latest", False), (BLOCK_RECEIPTS, "latest"))
        return both | {_key(call): call for call in new}

    def _take_head(self) -> None:
        block = self._known.get(_key(HEAD))
        receipts = self._known.get(_key((BLOCK_RECEIPTS, "latest")))
        if block is not None and receipts is not None:
            self._take_receipts(block, receipts)

    # --- Receipts and logs, block by block ---

    def _from_receipts(self, call: Call) -> Any:
        """A transaction's receipt or a block's logs, if they are of one of the newest blocks."""
        if call[0] == RECEIPT:
            return self._recent().get(call[1])
        if call[0] == LOGS and set(call[1]) == {"address", "blockHash"}:
            receipts = self._receipts.get(call[1]["blockHash"])
            if receipts is not None:
                at = call[1]["address"]
                return [log for r in receipts.values() for log in r["logs"] if log["address"] in at]
        return None

    def _recent(self) -> dict[str, Any]:
        """Receipts of the newest blocks by transaction."""
        if self._newest is None:
            self._newest = {}
            for block_hash in self._newest_blocks():
                self._newest |= self._receipts[block_hash]
        return self._newest

    def _newest_blocks(self) -> list[str]:
        """Hashes from the head downwards, the receipts of each at hand."""
        found: list[str] = []
        block = self.now(*HEAD)
        block_hash, number = block["hash"], int(block["number"], 16)
        while len(found) < RECENT and number > 0:
            if block_hash not in self._parents:
                block = self.now(BLOCK, hex(number), False)
                receipts = self.now(BLOCK_RECEIPTS, hex(number))
                if block is None or receipts is None or block["hash"] != block_hash:
                    break
                self._take_receipts(block, receipts)
            found.append(block_hash)
            block_hash, number = self._parents[block_hash]
        for each in set(self._parents) - set(found):
            del self._parents[each], self._receipts[each]
        return found

    def _take_receipts(self, block: dict[str, Any], receipts: list[dict[str, Any]]) -> None:
        self._parents[block["hash"]] = (block["parentHash"], int(block["number"], 16) - 1)
        self._receipts[block["hash"]] = {each["transactionHash"]: each for each in receipts}


def _tried(call: dict[str, Any]) -> Any:
    if int(call["status"], 16) == 1:
        return call["returnData"]
    return NodeRevert(str(call.get("error", {}).get("message", "")), call["returnData"])


def _key(call: Call) -> Key:
    return call[0], json.encode(call[1:])

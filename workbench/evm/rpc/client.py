"""JSON-RPC to a node: the interface of all clients (Rpc), and the asynchronous client (HttpRpc).

`evm.codec.jsonrpc` decodes answers to typed values or errors of `core.errors`.

Served worlds use `HttpRpc`. Simulated worlds and set-up steps use `rpc.blocking`: it blocks, so no
time passes on the event loop's clock. JSON-RPC batches are never used: anvil does not execute them
in order, but it does execute in order the requests that one connection writes one after another.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol

from workbench.core.errors import RpcFault, RpcLimited, RpcUnanswered, WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.http_parser import MAX_BODY_BYTES, HttpAnswer, InvalidHttp, retry_after
from workbench.evm.codec.jsonrpc import NodeRevert as NodeRevert
from workbench.evm.codec.methods import REPEATABLE
from workbench.evm.codec.receipts import Inclusion, inclusion_of
from workbench.evm.rpc.answers import result_or_error
from workbench.evm.rpc.node_url import parse_node_url, unreachable
from workbench.evm.rpc.pipeline import Pipeline
from workbench.evm.rpc.proxies import proxy_for

TIMEOUT_S = 30.0
MAX_CONCURRENT = 16
"""How many requests to a distant node wait at the same time."""
MANY_IN_BLOCK = 8
"""From this many transactions of one block on, one request for all its receipts is cheaper."""
MAX_SIMULATED = 64
"""How many calls one request simulates. If one is faulty, the node refuses them all."""
SEND, RECEIPT = "eth_sendRawTransaction", "eth_getTransactionReceipt"
BLOCK, BLOCK_RECEIPTS = "eth_getBlockByNumber", "eth_getBlockReceipts"
LOGS, MINE, TRACES = "eth_getLogs", "evm_mine", "debug_traceBlockByNumber"
RETRY_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a read is repeated, where the node limits requests and names no time."""
MAX_RETRY_AFTER_S = 10
"""If the node asks for a longer pause, the caller gets the error and backs off itself."""


class PendingAnswers:
    """Answers to calls, now or later: await it, or read `results` once it is `known`.

    This class makes the calls when it is awaited; subclasses make them at once.
    """

    begun = False
    """Whether the calls were made already."""

    def __init__(self, make_calls: Callable[[], Awaitable[list[Any]]]) -> None:
        self._make_calls = make_calls
        self.results: list[Any] = []
        """The answers, once `known`."""

    @property
    def known(self) -> bool:
        """Whether all answers have arrived."""
        return False

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._make_calls().__await__()


class EagerAnswers(PendingAnswers):
    """Answers to calls that a task of its own makes at once. Errors are among the results."""

    def __init__(self, make_calls: Callable[[], Awaitable[list[Any]]], count: int) -> None:
        super().__init__(make_calls)
        self.task = asyncio.ensure_future(self._run(count))

    async def _run(self, count: int) -> list[Any]:
        try:
            self.results = await self._make_calls()
        except WorkbenchError as why:
            self.results = [why] * count
        return self.results

    @property
    def known(self) -> bool:
        return self.task.done()

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.task.__await__()


class Rpc(Protocol):
    """One node. A class that inherits from it needs `call` and `close`; the rest may be faster."""

    url: str
    """It may hold a key, so it is never logged whole."""

    async def call(self, method: str, *params: Any) -> Any:
        """Return the result. Raises RpcUnreachable, NodeRevert or RpcFault."""

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Return each call's result, or the error that `call` would raise; sends keep their order.

        Raises nothing.
        """
        return [await result_or_raised(self, each) for each in calls]

    def ask(self, calls: Sequence[RpcCall]) -> PendingAnswers:
        """Make calls as `many` does, and return their answers to be awaited later.

        A node that we mine starts at once, and answers before it mines the next block.
        """
        return PendingAnswers(lambda: self.many(calls))

    def prefetch(self, calls: Sequence[RpcCall]) -> None:
        """Announce calls of the next block: a node that we mine answers them with the block."""
        return  # Other nodes answer when the calls are made.

    async def simulate_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """Simulate calls at the newest block: return each one's result (0x hex) or its error.

        Whether a call sees the effects of those before it depends on the node.
        """
        return await self.many([("eth_call", request, "latest") for request in requests])

    def start_simulation(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        """Simulate calls as `simulate_all` does, and return the results to be awaited later."""
        return PendingAnswers(lambda: self.simulate_all(requests))

    async def inclusions(self, txs: Sequence[str]) -> list[Inclusion | WorkbenchError | None]:
        """Return where each transaction was mined: None if it was not, an error if unknown."""
        answers = await self.many([(RECEIPT, tx) for tx in txs])
        return [inclusion_of(each) if isinstance(each, dict) else each for each in answers]

    async def close(self) -> None:
        """Close all connections."""


async def receipts_in(rpc: Rpc, places: Sequence[tuple[str, int]]) -> dict[str, dict[str, Any]]:
    """Return the receipts that exist, by transaction.

    `places`: hash and probable block of each transaction. For many of one block, all its receipts
    are read in one request, if the node supports it. Raises what `call` raises.
    """
    wanted = Counter(number for _, number in places)
    blocks = [number for number, count in wanted.items() if count >= MANY_IN_BLOCK]
    found: dict[str, dict[str, Any]] = {}
    for answer in await rpc.many([(BLOCK_RECEIPTS, hex(number)) for number in blocks]):
        if isinstance(answer, list):  # Not every node knows this method.
            found |= {receipt["transactionHash"]: receipt for receipt in answer}
    txs = [tx for tx, _ in places]
    found = {tx: found[tx] for tx in txs if tx in found}
    single = [tx for tx in txs if tx not in found]
    answers = await rpc.many([(RECEIPT, tx) for tx in single])
    for answer in answers:
        if isinstance(answer, WorkbenchError):
            raise answer
    return found | {tx: a for tx, a in zip(single, answers, strict=True) if a is not None}


async def result_or_raised(rpc: Rpc, call: RpcCall) -> Any:
    """Return one call's result, or its error as a value."""
    try:
        return await rpc.call(*call)
    except WorkbenchError as why:
        return why


def simulated_result(call: dict[str, Any]) -> Any:
    """Return the result of a call in an `eth_simulateV1` answer, or NodeRevert as a value."""
    if int(call["status"], 16) == 1:
        return call["returnData"]
    return NodeRevert((call.get("error") or {}).get("message", ""), call["returnData"])


def pause_after(why: RpcLimited, pause_s: float) -> float | None:
    """Return seconds until a retry: at least `pause_s`; None if the node asks for too long."""
    retry_after_s = why.details.get("retry_after_s")
    if retry_after_s is None:
        return pause_s
    return max(pause_s, retry_after_s) if retry_after_s <= MAX_RETRY_AFTER_S else None


class HttpRpc(Rpc):
    """A client on one keep-alive aiohttp session, opened at the first call.

    If the node limits requests, all callers pause, and reads are repeated.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        node, self._proxy = parse_node_url(url), proxy_for(url)
        self._shown = node.shown
        self._ids = itertools.count(1)
        self._session: Any = None
        self._pipeline = Pipeline(node, TIMEOUT_S)
        self._pipeline_lock, self._simulation_lock = asyncio.Lock(), asyncio.Lock()
        self._simulations: set[asyncio.Task[list[Any]]] = set()
        self._has_simulate = True
        """Whether the node supports `eth_simulateV1`, as far as we know."""
        self._paused_until = 0.0
        """Until this time of the loop's clock no call is made: the node limits requests."""

    async def call(self, method: str, *params: Any) -> Any:
        for pause_s in (*RETRY_PAUSES_S, None):
            await self._wait_for_pause()
            try:
                return await self._call_once((method, *params))
            except RpcLimited as why:
                wait_s = pause_after(why, pause_s or RETRY_PAUSES_S[-1])
                if wait_s is not None:
                    now = asyncio.get_running_loop().time()
                    self._paused_until = max(self._paused_until, now + wait_s)
                if pause_s is None or wait_s is None or method not in REPEATABLE:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _wait_for_pause(self) -> None:
        wait_s = self._paused_until - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _call_once(self, call: RpcCall) -> Any:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            # A new context, since aiohttp's own ignores SSL_CERT_FILE if set after its import.
            trust = ssl.create_default_context() if self._shown.startswith("https:") else True
            connector = aiohttp.TCPConnector(ssl=trust)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        number = next(self._ids)
        try:
            async with self._session.post(
                self.url,
                data=jsonrpc.request(number, call[0], call[1:]),
                headers={"Content-Type": "application/json"},
                proxy=self._proxy.url if self._proxy else None,
                allow_redirects=False,
            ) as response:
                answer = await _read_answer(response)
            result = result_or_error(self._shown, number, call, answer)
        except (TimeoutError, aiohttp.ClientError, OSError, InvalidHttp) as why:
            raise unreachable(self._shown, why) from why
        if jsonrpc.is_truncated(result):
            await self._close_session()
        if isinstance(result, WorkbenchError):
            raise result
        return result

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        """See `Rpc.many`. Reads run concurrently, sends one by one: a pool may refuse a gap."""
        if any(each[0] == SEND for each in calls):
            only_sends = len(calls) > 1 and all(each[0] == SEND for each in calls)
            if only_sends and self._proxy is None:
                return await self._send_all(calls)
            return [await result_or_raised(self, each) for each in calls]
        results: list[Any] = []
        for first in range(0, len(calls), MAX_CONCURRENT):
            part = calls[first : first + MAX_CONCURRENT]
            results += await asyncio.gather(*(result_or_raised(self, each) for each in part))
        return results

    async def _send_all(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Send transactions without waiting for each answer.

        One without an answer may have been received or not; sending it again is safe.
        """
        numbers = [next(self._ids) for _ in calls]
        bodies = [jsonrpc.request(n, c[0], c[1:]) for n, c in zip(numbers, calls, strict=True)]

        def decode(place: int, answer: HttpAnswer) -> Any:
            return result_or_error(self._shown, numbers[place], calls[place], answer)

        async with self._pipeline_lock:
            await self._wait_for_pause()
            results, why = await self._pipeline.exchange(bodies, decode)
        return results + [unreachable(self._shown, why)] * (len(calls) - len(results))

    async def simulate_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """See `Rpc.simulate_all`. One `eth_simulateV1` for several calls, if the node knows it."""
        if len(requests) < 2 or not self._has_simulate:
            return await super().simulate_all(requests)
        results: list[Any] = []
        for first in range(0, len(requests), MAX_SIMULATED):
            part = requests[first : first + MAX_SIMULATED]
            blocks = {"blockStateCalls": [{"calls": part}]}
            try:
                (block,) = await self.call("eth_simulateV1", blocks, "latest")
                results += [simulated_result(call) for call in block["calls"]]
            except RpcLimited as why:
                results += [why] * len(part)
            except RpcFault as why:
                # Either one call cannot pay for its gas, or the node does not know the method.
                is_supported = isinstance(why, RpcUnanswered) or "funds" in why.message.lower()
                self._has_simulate = is_supported
                results += await super().simulate_all(part)
        return results

    def start_simulation(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        """See `Rpc.start_simulation`. Simulations run one after the other, in their order."""

        async def simulate() -> list[Any]:
            async with self._simulation_lock:
                return await self.simulate_all(requests)

        pending = EagerAnswers(simulate, len(requests))
        self._simulations.add(pending.task)
        pending.task.add_done_callback(self._simulations.discard)
        return pending

    async def close(self) -> None:
        for task in self._simulations:
            task.cancel()
        await asyncio.gather(*self._simulations, return_exceptions=True)
        await self._pipeline.close()
        await self._close_session()

    async def _close_session(self) -> None:
        """Close all connections; the next call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _read_answer(response: Any) -> HttpAnswer:
    """Read a response of aiohttp. Raises InvalidHttp if it is too large."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise InvalidHttp("its answer is too large")
        parts.append(part)
    pause_s = None
    if response.status != 200:
        headers = {
            name.encode(): value.encode("latin-1", "replace")
            for name, value in response.headers.items()
        }
        pause_s = retry_after(headers)
    return HttpAnswer(response.status, b"".join(parts), retry_after_s=pause_s)

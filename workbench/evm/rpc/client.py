"""JSON-RPC to a node: what may be asked, and the transport that waits.

Answers become typed values, or errors of ours, in `evm.codec`.

`HttpRpc` waits on sockets (served worlds). `chain.direct` blocks and so takes no time of the event
loop's own: simulated worlds and set-up steps use it. JSON-RPC batches are never used: anvil does
not execute them in order, while requests written one after the other on one connection it does.
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
from workbench.evm.codec.receipts import Inclusion, landing_of
from workbench.evm.rpc.answers import result_or_error
from workbench.evm.rpc.node_url import place_of, unreachable
from workbench.evm.rpc.pipeline import Pipeline
from workbench.evm.rpc.proxies import proxy_for

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
PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""How long a read waits before it is asked again, where the node limits requests and does not say
how long."""
MAX_PAUSE_S = 10
"""A node that asks to wait longer is told of, and the round that asked it backs off."""


class PendingAnswers:
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


class EagerAnswers(PendingAnswers):
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

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Each call's result, or the error that `call` would have raised; sends keep their order.

        An adapter that inherits from this class has this plain way of it.
        """
        return [await outcome(self, each) for each in calls]

    def ask(self, calls: Sequence[RpcCall]) -> PendingAnswers:
        """`many`, whose answers may be awaited later: a node of our own goes to work at once.

        What is sent there need not be awaited: it is answered before the next block is.
        """
        return PendingAnswers(lambda: self.many(calls))

    def prefetch(self, calls: Sequence[RpcCall]) -> None:
        """They will be asked in the next block: a node of our own answers them together with it."""
        return  # Others answer when they are asked.

    async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """What each call would return at the newest block (0x hex), or its error; nothing stays.

        Each is executed on that block's state, or on what those before it would make of it.
        """
        return await self.many([("eth_call", request, "latest") for request in requests])

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        """`try_all` as `ask` has it."""
        return PendingAnswers(lambda: self.try_all(requests))

    async def landed(self, txs: Sequence[str]) -> list[Inclusion | WorkbenchError | None]:
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


async def outcome(rpc: Rpc, asked: RpcCall) -> Any:
    """One call's result, or its error as a value."""
    try:
        return await rpc.call(*asked)
    except WorkbenchError as why:
        return why


def tried(call: dict[str, Any]) -> Any:
    """What a simulated call returned, or that it was refused."""
    if int(call["status"], 16) == 1:
        return call["returnData"]
    return NodeRevert((call.get("error") or {}).get("message", ""), call["returnData"])


def pause_after(why: RpcLimited, pause_s: float) -> float | None:
    """Seconds until the node may be asked again; None where that is too long to wait for."""
    asked = why.details.get("retry_after_s")
    if asked is None:
        return pause_s
    return max(pause_s, asked) if asked <= MAX_PAUSE_S else None


class HttpRpc(Rpc):
    """Over one keep-alive aiohttp session, made at the first call inside the running loop.

    A node that limits requests is left alone for a while by all who ask; reads are asked again.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        place, self._proxy = place_of(url), proxy_for(url)
        self._shown = place.shown
        self._ids = itertools.count(1)
        self._session: Any = None
        self._pipe = Pipeline(place, TIMEOUT_S)
        self._piping, self._trying = asyncio.Lock(), asyncio.Lock()
        self._early: set[asyncio.Task[list[Any]]] = set()
        self._simulates = True
        self._free_at = 0.0

    async def call(self, method: str, *params: Any) -> Any:
        for pause_s in (*PAUSES_S, None):
            await self._until_free()
            try:
                return await self._once((method, *params))
            except RpcLimited as why:
                wait_s = pause_after(why, pause_s or PAUSES_S[-1])
                if wait_s is not None:
                    now = asyncio.get_running_loop().time()
                    self._free_at = max(self._free_at, now + wait_s)
                if pause_s is None or wait_s is None or method not in REPEATABLE:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _until_free(self) -> None:
        """Until the node may be asked again, as it has said."""
        wait_s = self._free_at - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _once(self, call: RpcCall) -> Any:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            # Made now, and not when aiohttp is imported: SSL_CERT_FILE may name authorities.
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
            ) as said:
                result = result_or_error(self._shown, number, call, await _answer(said))
        except (TimeoutError, aiohttp.ClientError, OSError, InvalidHttp) as why:
            raise unreachable(self._shown, why) from why
        if jsonrpc.is_truncated(result):
            await self._hang_up()
        if isinstance(result, WorkbenchError):
            raise result
        return result

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Reads at once; sends one after the other, since a pool may refuse a nonce gap."""
        if any(each[0] == SEND for each in calls):
            is_plain = len(calls) > 1 and all(each[0] == SEND for each in calls)
            if is_plain and self._proxy is None:
                return await self._send_all(calls)
            return [await outcome(self, each) for each in calls]
        results: list[Any] = []
        for first in range(0, len(calls), AT_ONCE):
            some = calls[first : first + AT_ONCE]
            results += await asyncio.gather(*(outcome(self, each) for each in some))
        return results

    async def _send_all(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Without waiting for each answer: what had none may be there, or may be sent again."""
        numbers = [next(self._ids) for _ in calls]
        bodies = [jsonrpc.request(n, c[0], c[1:]) for n, c in zip(numbers, calls, strict=True)]

        def taken(place: int, said: HttpAnswer) -> Any:
            return result_or_error(self._shown, numbers[place], calls[place], said)

        async with self._piping:
            await self._until_free()
            results, why = await self._pipe.exchange(bodies, taken)
        return results + [unreachable(self._shown, why)] * (len(calls) - len(results))

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
            except RpcLimited as why:
                results += [why] * len(some)
            except RpcFault as why:
                # One that cannot pay for its gas is a fault of all. Or the node cannot simulate.
                is_known = isinstance(why, RpcUnanswered) or "funds" in why.message.lower()
                self._simulates = is_known
                results += await super().try_all(some)
        return results

    def ask_to_try(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        """See `Rpc.ask_to_try`. One question after the other: the first is wanted first."""

        async def in_turn() -> list[Any]:
            async with self._trying:
                return await self.try_all(requests)

        early = EagerAnswers(in_turn, len(requests))
        self._early.add(early.task)
        early.task.add_done_callback(self._early.discard)
        return early

    async def close(self) -> None:
        for task in self._early:
            task.cancel()
        await asyncio.gather(*self._early, return_exceptions=True)
        await self._pipe.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """End all connections; the next call makes new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _answer(said: Any) -> HttpAnswer:
    """An answer of aiohttp's, of a bounded size."""
    parts, size = [], 0
    async for part in said.content.iter_any():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise InvalidHttp("its answer is too large")
        parts.append(part)
    later = None
    if said.status != 200:
        later = retry_after(
            {
                name.encode(): value.encode("latin-1", "replace")
                for name, value in said.headers.items()
            }
        )
    return HttpAnswer(said.status, b"".join(parts), retry_after_s=later)

"""JSON-RPC to a node: two transports, one mapping of errors.

`HttpRpc` waits on sockets (served worlds). `DirectRpc` blocks and so takes no time of the event
loop's own: simulated worlds and set-up steps use it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
from base64 import b64encode
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from workbench.core.errors import RpcFault, RpcUnreachable

TIMEOUT_S = 30.0
REVERT_DATA = re.compile(r"0x([0-9a-fA-F]{2})*")
_PLACE = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s/?#)]*)[^\s)]*")
"""A URL in a node's message, and the part of it that may be shown: a fork names its upstream's."""


class NodeRevert(RpcFault):
    """The node executed a call, and a contract refused. `data` is the revert data as 0x hex."""

    code = "node_revert"

    def __init__(self, message: str, data: str = "0x") -> None:
        super().__init__(message)
        self.data = data


class Rpc(Protocol):
    """One node. `url` may hold a key, so it is never logged whole."""

    url: str

    async def call(self, method: str, *params: Any) -> Any:
        """The result. Raises RpcUnreachable, NodeRevert or RpcFault."""

    async def close(self) -> None: ...


def request_body(number: int, method: str, params: tuple[Any, ...]) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(message).encode()


def result_of(url: str, method: str, raw: bytes) -> Any:
    """The result in a JSON-RPC answer, or the error it stands for."""
    try:
        answer = json.loads(raw)
    except ValueError as why:
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


def _unreachable(url: str, why: str) -> RpcUnreachable:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return RpcUnreachable(
        f"no chain at {parts.scheme}://{parts.hostname}{port}: {why}.",
        hint="Start it (`workbench up`), or correct the RPC URL.",
    )


class HttpRpc:
    """Over one keep-alive aiohttp session, made at the first call inside the running loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids = itertools.count(1)
        self._session: Any = None

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

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class DirectRpc:
    """Blocking, over one keep-alive connection; `now` is the same without `await`."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(login).decode()}"
        self._ids = itertools.count(1)
        self._connection: http.client.HTTPConnection | None = None

    async def call(self, method: str, *params: Any) -> Any:
        return self.now(method, *params)

    def now(self, method: str, *params: Any) -> Any:
        body = request_body(next(self._ids), method, params)
        for fresh in (self._connection is None, True):
            if self._connection is None:
                self._connection = self._connect()
            try:
                self._connection.request("POST", self._target, body, self._headers)
                raw = self._connection.getresponse().read()
                return result_of(self.url, method, raw)
            except (OSError, http.client.HTTPException) as why:
                self._drop()
                # A kept connection may have been closed while idle: one fresh try. Not after any
                # other failure: the node may have mined already, and would mine once more.
                if fresh or not isinstance(why, ConnectionError):
                    raise _unreachable(self.url, str(why) or type(why).__name__) from why
        raise AssertionError("unreachable")

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        https = parts.scheme == "https"
        kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self._drop()

"""JSON-RPC: what a node answers, what stands between it and us, and when one may ask again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from workbench.chain import direct
from workbench.chain import rpc as rpc_module
from workbench.chain.anvil import Anvil
from workbench.chain.direct import DirectRpc
from workbench.chain.rpc import HttpRpc, NodeRevert, Rpc
from workbench.core.errors import RpcFault, RpcUnreachable

Answer = Callable[[socket.socket, bytes], None]


def told(data: Any) -> bytes:
    return json.dumps(data).encode()


# --- Both transports on a real node ---------------------------------------------------------------


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with Anvil() as made:
        yield made


def ask(rpc: Rpc, *calls: tuple[Any, ...]) -> list[Any]:
    """Results, or the error of the first call that fails, on a loop of its own."""

    async def work() -> list[Any]:
        try:
            return [await rpc.call(*call) for call in calls]
        finally:
            await rpc.close()

    return asyncio.run(work())


@pytest.mark.parametrize("kind", [DirectRpc, HttpRpc])
def test_a_transport_tells_results_reverts_and_faults(kind: type[Any], node: Anvil) -> None:
    """A value, an unknown method, a contract's refusal, and more after those."""
    code = "0x600160005260206000fd"  # revert with one word: 1
    node.call("anvil_setCode", "0x" + "aa" * 20, code)
    call = {"to": "0x" + "aa" * 20, "data": "0x"}
    assert ["0x7a69", "0x0"] == ask(kind(node.url), ("eth_chainId",), ("eth_blockNumber",))
    with pytest.raises(RpcFault, match="eth_noSuch"):
        ask(kind(node.url), ("eth_noSuch",))
    with pytest.raises(NodeRevert) as caught:
        ask(kind(node.url), ("eth_call", call, "latest"))
    assert 1 == int(caught.value.data, 16)


def test_trials_are_asked_at_once_and_in_turn(node: Anvil) -> None:
    """Nobody waits, and they go on; nor does it matter whether anybody asks for the answers."""
    order: list[int] = []

    class Spy(HttpRpc):
        async def try_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
            order.append(len(requests))
            told = await super().try_all(requests)
            order.append(-len(requests))
            return told

    async def work() -> None:
        rpc, plain = Spy(node.url), {"to": "0x" + "bb" * 20, "data": "0x"}
        asked = [rpc.ask_to_try([plain] * count) for count in (1, 2, 3)]
        assert ["0x"] * 3 == await asked[2]
        assert [1, -1, 2, -2, 3, -3] == order
        assert all(each.known for each in asked)
        assert ["0x"] == await asked[0] == asked[0].results
        rpc.ask_to_try([plain])  # Nobody comes back for it.
        await rpc.close()

    asyncio.run(work())


def test_a_trial_that_nobody_answers_is_so_many_errors() -> None:
    async def work() -> None:
        rpc = HttpRpc("http://127.0.0.1:1")
        told = await rpc.ask_to_try([{}, {}])
        assert [RpcUnreachable] * 2 == [type(each) for each in told]
        await rpc.close()

    asyncio.run(work())


@pytest.mark.parametrize("kind", [DirectRpc, HttpRpc])
def test_a_node_that_is_away_and_comes_back(kind: type[Any]) -> None:
    """Unreachable with a next step, and the same object works once somebody listens."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    rpc = kind(f"http://127.0.0.1:{port}")
    with pytest.raises(RpcUnreachable) as caught:
        ask(rpc, ("eth_chainId",))
    assert f"127.0.0.1:{port}" in caught.value.message
    assert caught.value.hint
    with Anvil(port=port):
        assert ["0x7a69"] == ask(rpc, ("eth_chainId",))


# --- One connection, kept -------------------------------------------------------------------------


class Server:
    """Answers each connection's requests by the functions given, then closes the connection."""

    def __init__(self, *connections: list[Answer]) -> None:
        self.requests: list[bytes] = []
        self._connections = list(connections)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/rpc?key=1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            with contextlib.suppress(OSError):
                connection, _ = self._listening.accept()
                with connection:
                    for answer in answers:
                        request = whole(connection)
                        self.requests.append(request)
                        answer(connection, request)

    def close(self) -> None:
        self._listening.close()
        self._thread.join(5)


def whole(connection: socket.socket) -> bytes:
    """One request with its body, or what came of it."""
    request = b""
    while not request.endswith(b"}") and (more := connection.recv(65536)):
        request += more
    return request


def good(connection: socket.socket, request: bytes) -> None:
    number = json.loads(request.split(b"\r\n\r\n", 1)[1])["id"]
    body = told({"jsonrpc": "2.0", "id": number, "result": "0x1"})
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection.sendall(head + body)


def cut_short(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"resu')


def silence(connection: socket.socket, request: bytes) -> None:
    connection.recv(1)


def test_a_connection_closed_while_idle_is_opened_again() -> None:
    """The server closed a kept connection: one fresh try, which the caller does not notice."""
    server = Server([good], [good, good])
    rpc = DirectRpc(server.url)
    assert ["0x1"] * 3 == [rpc.now("m") for _ in range(3)]
    assert 3 <= len([r for r in server.requests if r])
    assert all(r.startswith(b"POST /rpc?key=1 ") for r in server.requests if r)
    asyncio.run(rpc.close())
    server.close()


@pytest.mark.parametrize("fault", [cut_short, silence])
def test_a_request_that_may_have_worked_is_not_repeated(
    fault: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer broke off, or never came: `evm_mine` once more would be another block."""
    for module in (rpc_module, direct):
        monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    server = Server([good, fault], [good])
    rpc = DirectRpc(server.url)
    assert "0x1" == rpc.now("m")
    with pytest.raises(RpcUnreachable):
        rpc.now("evm_mine")
    assert 1 == len([r for r in server.requests if b"evm_mine" in r])
    assert "0x1" == rpc.now("m"), "and the next call has a connection of its own"
    asyncio.run(rpc.close())
    server.close()

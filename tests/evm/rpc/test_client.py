"""JSON-RPC: what a node answers, what stands between it and us, and when one may ask again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.evm.gateway import ForwardProxy, Gateway, PlainHandler, forwarded
from tests.services.payouts.test_webhooks_tls import certificate
from tests.services.payouts.webhook_receivers import listening
from workbench.core.errors import (
    RpcAnswerInvalid,
    RpcFault,
    RpcLimited,
    RpcUnreachable,
    WorkbenchError,
)
from workbench.evm.codec import http_parser
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc import blocking
from workbench.evm.rpc import client as rpc_module
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import SEND, HttpRpc, NodeRevert, Rpc, outcome
from workbench.evm.rpc.mining import MiningRpc

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


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
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


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
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
    rpc = BlockingRpc(server.url)
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
    for module in (rpc_module, blocking):
        monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    server = Server([good, fault], [good])
    rpc = BlockingRpc(server.url)
    assert "0x1" == rpc.now("m")
    with pytest.raises(RpcUnreachable):
        rpc.now("evm_mine")
    assert 1 == len([r for r in server.requests if b"evm_mine" in r])
    assert "0x1" == rpc.now("m"), "and the next call has a connection of its own"
    asyncio.run(rpc.close())
    server.close()


# --- Answers that are another's -------------------------------------------------------------------


def of_another(connection: socket.socket, request: bytes) -> None:
    """Good, but for its id."""
    number = json.loads(request.split(b"\r\n\r\n", 1)[1])["id"]
    body = told({"jsonrpc": "2.0", "id": number + 1, "result": "0x1"})
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
def test_an_answer_with_another_id_ends_the_connection(kind: type[Any]) -> None:
    """Those after it would be another's too. The next question has a new connection."""
    server = Server([good, of_another], [good])
    rpc = kind(server.url)

    async def work() -> list[Any]:
        try:
            return [await outcome(rpc, ("eth_blockNumber",)) for _ in range(3)]
        finally:
            await rpc.close()

    first, second, third = asyncio.run(work())
    assert ("0x1", "0x1") == (first, third)
    assert isinstance(second, RpcAnswerInvalid)
    assert "another request" in second.message
    server.close()


def test_what_was_written_behind_a_foreign_answer_is_unknown() -> None:
    """Blocking and pipelined: neither is taken for done."""

    def second_is_foreign(connection: socket.socket, request: bytes) -> None:
        numbers = [int(each) for each in re.findall(rb'"id":(\d+)', request)]
        for number in (numbers[0], numbers[2], numbers[1]):
            good(connection, b'\r\n\r\n{"id":%d}' % number)

    for kind in (BlockingRpc, MiningRpc):
        server = Server([second_is_foreign], [good])
        rpc = kind(server.url)
        told = rpc.all_now([("evm_mine",), ("evm_mine",), ("evm_mine",)])
        assert "0x1" == told[0]
        assert [RpcAnswerInvalid, RpcUnreachable] == [type(each) for each in told[1:]]
        assert "0x1" == rpc.now("eth_chainId")
        asyncio.run(rpc.close())
        server.close()


# --- Statuses, limits -----------------------------------------------------------------------------


def told_by_status(*said: Any) -> list[Any]:
    """What both transports make of each of these answers to a question that is not repeated."""
    answers = iter([each for each in said for _ in range(2)])
    found: list[Any] = []
    with Gateway("", lambda request, node: next(answers)) as server:
        for _ in said:
            for rpc in (BlockingRpc(server.url), HttpRpc(server.url)):
                with pytest.raises(WorkbenchError) as caught:
                    ask(rpc, ("evm_mine",))
                found.append(caught.value)
    return found


def test_a_status_is_told_as_what_it_is() -> None:
    """Not as a node that is away; and the URL's secrets are not repeated."""
    page = b"<html>no</html>"
    statuses = (401, 403, 404, 500, 502, 503, 301, 418, 599)
    for status, why in zip(
        [each for each in statuses for _ in range(2)],
        told_by_status(*((status, {"Location": "http://x/secret"}, page) for status in statuses)),
        strict=True,
    ):
        assert type(why) is RpcUnreachable
        assert why.transient
        assert status == why.details["status"]
        assert f"answered evm_mine with HTTP status {status}" in why.message
        assert "no chain" not in why.message
        assert "secret" not in str(why)


def test_a_limit_is_told_as_a_limit_with_its_time() -> None:
    """By status, with and without Retry-After, and by an error object."""
    limited = json.dumps({"id": 1, "error": {"code": -32005, "message": "slow down"}}).encode()
    cases = [
        ((429, {"Retry-After": "7"}, b"slow down"), 7),
        ((429, {}, b""), None),
        ((429, {"Retry-After": "soon"}, b""), None),
        ((503, {"Retry-After": "0"}, b""), 0),
        ((200, {}, limited), None),
        ((400, {}, limited), None),
    ]
    whys = told_by_status(*(said for said, _ in cases))
    for why, seconds in zip(whys, [s for _, s in cases for _ in range(2)], strict=True):
        assert isinstance(why, RpcLimited), why
        assert "limits requests" in why.message
        assert seconds == why.details.get("retry_after_s")
        assert "evm_mine" == why.details["method"]


def test_an_error_object_with_a_status_of_its_own_is_read() -> None:
    """Some nodes answer a revert with 400."""

    def decide(request: dict[str, Any], node: Any) -> Any:
        error = {"code": 3, "message": "execution reverted", "data": "0x01"}
        return 400, {}, json.dumps({"id": request["id"], "error": error}).encode()

    with Gateway("", decide) as server:
        for rpc in (BlockingRpc(server.url), HttpRpc(server.url)):
            with pytest.raises(NodeRevert) as caught:
                ask(rpc, ("eth_call", {}, "latest"))
            assert "0x01" == caught.value.data


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
def test_a_read_that_was_limited_is_asked_again_and_an_act_is_not(
    kind: type[Any], node: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it takes, up to a bound; a node that wants to be left alone for long is."""
    for module in (rpc_module, blocking):
        monkeypatch.setattr(module, "PAUSES_S", (0.01, 0.02, 0.04))
    refusals, after = [0], ["0"]

    def decide(request: dict[str, Any], node: Any) -> Any:
        refusals[0] -= 1
        return (429, {"Retry-After": after[0]}, b"") if refusals[0] >= 0 else None

    with Gateway(node.url, decide) as server:
        refusals[0] = 3
        assert ["0x7a69"] == ask(kind(server.url), ("eth_chainId",))
        assert 4 == len(server.asked)
        for method, many, seconds, tries in (
            ("eth_chainId", 99, "0", 4),
            ("evm_mine", 99, "0", 1),
            ("eth_chainId", 99, "3600", 1),
        ):
            server.asked.clear()
            refusals[0], after[0] = many, seconds
            with pytest.raises(RpcLimited):
                ask(kind(server.url), (method,))
            assert tries == len(server.asked)


def test_all_who_ask_leave_a_limited_node_alone(node: Anvil) -> None:
    """One refusal holds back those that come after it, until the time that the node named."""
    times: list[float] = []
    refused = [True]

    def decide(request: dict[str, Any], node: Any) -> Any:
        times.append(time.monotonic())
        if refused[0]:
            refused[0] = False
            return 429, {"Retry-After": "1"}, b""
        return None

    async def work() -> None:
        rpc = HttpRpc(server.url)
        try:
            await rpc.call("eth_chainId")
            refused[0] = True
            first = asyncio.ensure_future(rpc.call("eth_chainId"))
            await asyncio.wait([first], timeout=0.3)
            assert not first.done()
            assert ["0x0", "0x7a69"] == await rpc.many([("eth_blockNumber",), ("eth_chainId",)])
            assert "0x7a69" == await first
        finally:
            await rpc.close()

    with Gateway(node.url, decide) as server:
        asyncio.run(work())
    assert min(times[-3:]) - times[-4] >= 0.9


def test_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that never ends is not kept in memory: on the transport that waits, too."""
    for module in (rpc_module, http_parser):
        monkeypatch.setattr(module, "MAX_BODY_BYTES", 200_000)
    with Gateway("", lambda request, node: (200, {}, b"x" * 1_000_000)) as server:
        for rpc in (BlockingRpc(server.url), HttpRpc(server.url)):
            with pytest.raises(RpcUnreachable, match="its answer is too large"):
                ask(rpc, ("eth_chainId",))


# --- Other addresses, proxies ---------------------------------------------------------------------


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


SENDS = [(SEND, "0x02"), (SEND, "0x03")]


def test_a_node_at_an_ipv6_address(node: Anvil) -> None:
    """Reads, and sends that are written one after the other."""
    with Gateway(node.url, lambda request, node: None, socket.AF_INET6) as server:
        for rpc in (BlockingRpc(server.url), HttpRpc(server.url), MiningRpc(server.url)):

            async def work(rpc: Any = rpc) -> list[Any]:
                try:
                    return [await rpc.call("eth_chainId"), *await rpc.many(SENDS)]
                finally:
                    await rpc.close()

            chain_id, *sent = asyncio.run(work())
            assert "0x7a69" == chain_id
            assert [RpcFault, RpcFault] == [type(each) for each in sent]


def test_a_distant_node_is_asked_through_the_proxy(
    node: Anvil, no_proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its whole URL and with the login; its name is not looked up here. Sends go one by one."""
    url = "http://node.invalid:8545/key"
    with ForwardProxy(("127.0.0.1", node.port), "Basic dTpw") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//u:p@"))
        for rpc in (BlockingRpc(url), HttpRpc(url)):

            async def work(rpc: Any = rpc) -> list[Any]:
                try:
                    return [await rpc.call("eth_chainId"), *await rpc.many(SENDS)]
                finally:
                    await rpc.close()

            chain_id, *sent = asyncio.run(work())
            assert "0x7a69" == chain_id
            assert [RpcFault, RpcFault] == [type(each) for each in sent]
        assert {f"POST {url} HTTP/1.1"} == {line for line, _ in proxy.heads}
        assert {"node.invalid:8545"} == {fields["Host"] for _, fields in proxy.heads}
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        for rpc in (BlockingRpc(url), HttpRpc(url)):
            with pytest.raises(RpcUnreachable, match="HTTP status 407"):
                ask(rpc, ("eth_chainId",))
        proxy.heads.clear()
        for rpc in (BlockingRpc(node.url), HttpRpc(node.url)):
            assert ["0x7a69"] == ask(rpc, ("eth_chainId",))
        assert [] == proxy.heads, "what is on this machine is not asked through a proxy"


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes certificates")
def test_a_node_with_tls_is_asked_through_a_tunnel(
    node: Anvil, no_proxies: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy sees the host, and nothing of what is asked; a refusal of its own is named."""
    proof = certificate(tmp_path / "node.pem", "node.invalid")
    monkeypatch.setenv("SSL_CERT_FILE", str(proof))
    url = "https://node.invalid/key"

    class Node(PlainHandler):
        def do_POST(self) -> None:
            self.say(200, {}, forwarded(node.url, self.read_body()))

    with listening(Node, proof) as (place, _):
        port = int(place.rpartition(":")[2])
        with ForwardProxy(("127.0.0.1", port), "Basic dTpw") as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//u:p@"))
            for rpc in (BlockingRpc(url), HttpRpc(url)):
                assert ["0x7a69"] == ask(rpc, ("eth_chainId",))
            assert {"CONNECT node.invalid:443 HTTP/1.1"} == {line for line, _ in proxy.heads}
            assert all("key" not in str(head) for head in proxy.heads)
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            for rpc in (BlockingRpc(url), HttpRpc(url)):
                with pytest.raises(RpcUnreachable, match="407"):
                    ask(rpc, ("eth_chainId",))
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        for rpc in (BlockingRpc(url), HttpRpc(url)):
            with pytest.raises(RpcUnreachable, match="connection refused"):
                ask(rpc, ("eth_chainId",))


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
def test_a_node_that_is_away_is_told_in_plain_words(kind: type[Any]) -> None:
    """No number of an error, and no class."""
    with pytest.raises(RpcUnreachable) as caught:
        ask(kind("http://127.0.0.1:1"), ("eth_chainId",))
    assert "no chain at http://127.0.0.1:1: connection refused." == caught.value.message
    with pytest.raises(RpcUnreachable) as caught:
        ask(kind("http://nobody.invalid:1"), ("eth_chainId",))
    assert "the host's name is not known" in caught.value.message

"""Connections that break, and answers to other requests."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from typing import Any

import pytest

from tests.evm.rpc.nodes import Answer, Server, cut_short, good, silence, to_bytes
from workbench.core.errors import (
    RpcAnswerInvalid,
    RpcUnreachable,
)
from workbench.evm.rpc import blocking
from workbench.evm.rpc import client as rpc_module
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import HttpRpc, result_or_raised
from workbench.evm.rpc.mining import MiningRpc


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


# --- Answers to another request ---


def of_another(connection: socket.socket, request: bytes) -> None:
    """Good, but for its id."""
    number = json.loads(request.split(b"\r\n\r\n", 1)[1])["id"]
    body = to_bytes({"jsonrpc": "2.0", "id": number + 1, "result": "0x1"})
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
def test_an_answer_with_another_id_ends_the_connection(kind: type[Any]) -> None:
    """Those after it would be another's too. The next question has a new connection."""
    server = Server([good, of_another], [good])
    rpc = kind(server.url)

    async def work() -> list[Any]:
        try:
            return [await result_or_raised(rpc, ("eth_blockNumber",)) for _ in range(3)]
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

"""Results, faults and limits of a node, as both transports report them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.evm.gateway import Gateway
from tests.evm.rpc.nodes import ask
from workbench.core.errors import (
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
from workbench.evm.rpc.client import HttpRpc, NodeRevert


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
        async def simulate_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
            order.append(len(requests))
            told = await super().simulate_all(requests)
            order.append(-len(requests))
            return told

    async def work() -> None:
        rpc, plain = Spy(node.url), {"to": "0x" + "bb" * 20, "data": "0x"}
        asked = [rpc.start_simulation([plain] * count) for count in (1, 2, 3)]
        assert ["0x"] * 3 == await asked[2]
        assert [1, -1, 2, -2, 3, -3] == order
        assert all(each.known for each in asked)
        assert ["0x"] == await asked[0] == asked[0].results
        rpc.start_simulation([plain])  # Nobody comes back for it.
        await rpc.close()

    asyncio.run(work())


def test_a_trial_that_nobody_answers_is_so_many_errors() -> None:
    async def work() -> None:
        rpc = HttpRpc("http://127.0.0.1:1")
        told = await rpc.start_simulation([{}, {}])
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


@pytest.mark.parametrize("kind", [BlockingRpc, HttpRpc])
def test_a_node_that_is_away_is_told_in_plain_words(kind: type[Any]) -> None:
    """No number of an error, and no class."""
    with pytest.raises(RpcUnreachable) as caught:
        ask(kind("http://127.0.0.1:1"), ("eth_chainId",))
    assert "no chain at http://127.0.0.1:1: connection refused." == caught.value.message
    with pytest.raises(RpcUnreachable) as caught:
        ask(kind("http://nobody.invalid:1"), ("eth_chainId",))
    assert "the host's name is not known" in caught.value.message


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
        monkeypatch.setattr(module, "RETRY_PAUSES_S", (0.01, 0.02, 0.04))
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

"""Nodes at IPv6 addresses, behind proxies and behind TLS."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.evm.gateway import ForwardProxy, Gateway, PlainHandler, forwarded
from tests.evm.rpc.nodes import ask
from tests.services.payouts.test_webhooks_tls import certificate
from tests.services.payouts.webhook_receivers import listening
from workbench.core.errors import (
    RpcFault,
    RpcUnreachable,
)
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import SEND, HttpRpc
from workbench.evm.rpc.mining import MiningRpc


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

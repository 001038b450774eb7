"""Which proxy the environment names for which host, and how places are shown."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from workbench.core.errors import InvalidSetting
from workbench.evm.rpc.node_url import failure_text, parse_node_url
from workbench.evm.rpc.proxies import is_loopback, proxy_for
from workbench.evm.rpc.requests import request_head, tunnel_request

LOCAL = [
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "::ffff:127.0.0.1",
]
DISTANT = [
    "example.org",
    "localhost.example.org",
    "10.0.0.1",
    "2001:db8::1",
    "128.0.0.1",
    "0.0.0.0",
]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def url_of(host: str, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:8545/x" if ":" in host else f"{scheme}://{host}:8545/x"


def test_this_machine_is_never_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever NO_PROXY says, or does not say."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    assert [True] * len(LOCAL) == [is_loopback(host) for host in LOCAL]
    assert [None] * len(LOCAL) == [proxy_for(url_of(host)) for host in LOCAL]
    assert [False] * len(DISTANT) == [is_loopback(host) for host in DISTANT]
    assert ["proxy"] * len(DISTANT) == [getattr(proxy_for(url_of(h)), "host", "") for h in DISTANT]


def test_each_scheme_has_its_own_and_no_proxy_excepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://us%40er:p%3Aw@proxy:8080")
    monkeypatch.setenv("NO_PROXY", "inner.org, 10.0.0.1")
    assert proxy_for("http://example.org") is None
    found = proxy_for("https://example.org/key")
    assert found is not None
    assert ("proxy", 8080) == (found.host, found.port)
    assert "Basic dXNAZXI6cDp3" == found.login  # us@er:p:w
    assert "http://proxy:8080" == found.shown
    for host in ("inner.org", "a.inner.org", "10.0.0.1"):
        assert proxy_for(url_of(host, "https")) is None
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for("https://example.org") is None


@pytest.mark.parametrize(
    "address", ["socks5://proxy:1080", "http://", "http://proxy:99999", "ftp://x"]
)
def test_a_proxy_of_another_kind_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not passed by: what one wanted to go through it would go elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(InvalidSetting, match="HTTP_PROXY"):
        proxy_for("http://example.org")


def test_an_ipv6_host_has_brackets_wherever_it_is_written() -> None:
    place = parse_node_url("http://[2001:db8::1]:8545/v2/key?k=1")
    assert "2001:db8::1" == place.host
    assert "http://[2001:db8::1]:8545" == place.shown
    assert b"POST /v2/key?k=1 HTTP/1.1\r\nHost: [2001:db8::1]:8545\r\n" in request_head(place)
    assert "https://[::1]" == parse_node_url("https://[::1]/").shown


def test_requests_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole URL over plain HTTP; a tunnel to the host for TLS, which alone sees the request."""
    monkeypatch.setenv("HTTP_PROXY", "http://u:p@proxy:8080")
    monkeypatch.setenv("HTTPS_PROXY", "http://u:p@proxy:8080")
    plain, secure = parse_node_url("http://a.org/v2?k=1"), parse_node_url("https://x:y@a.org/v2")
    head = request_head(plain, proxy_for("http://a.org"))
    assert head.startswith(b"POST http://a.org/v2?k=1 HTTP/1.1\r\nHost: a.org\r\n")
    assert b"Proxy-Authorization: Basic dTpw\r\n" in head
    proxy = proxy_for("https://a.org")
    assert proxy is not None
    inner, outer = request_head(secure, proxy), tunnel_request(secure, proxy)
    assert inner.startswith(b"POST /v2 HTTP/1.1\r\nHost: a.org\r\n")
    assert b"Proxy-Authorization" not in inner
    assert outer.startswith(b"CONNECT a.org:443 HTTP/1.1\r\nHost: a.org:443\r\n")
    assert b"Proxy-Authorization: Basic dTpw\r\n" in outer
    assert b"Authorization: Basic eDp5" not in outer


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://x", "http://", "http://x:99999", "http://[::1"]
)
def test_what_is_no_url_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="URL"):
        parse_node_url(url)


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "the connection was reset"),
        (TimeoutError(), "no answer in time"),
        (socket.gaierror(-2, "Name or service not known"), "the host's name is not known"),
        (OSError(113, "No route to host"), "No route to host"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "connection refused"),
        (
            asyncio.IncompleteReadError(b"", 3),
            "it closed the connection in the middle of an answer",
        ),
        (ssl.SSLError(1, "[SSL] record layer failure"), "the TLS handshake failed"),
        (ValueError("something."), "something"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_systems_error_in_plain_words(why: BaseException, words: str) -> None:
    assert words == failure_text(why)

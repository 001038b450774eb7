"""The bytes of an HTTP request to a node, past a proxy or straight; and of a tunnel through one."""

from __future__ import annotations

from workbench.evm.codec.http_parser import MAX_HEAD_BYTES, HttpAnswerParser, InvalidHttp
from workbench.evm.rpc.node_url import NodeUrl
from workbench.evm.rpc.proxies import Proxy

END_OF_HEAD = b"\r\n\r\n"


def request_head(place: NodeUrl, proxy: Proxy | None = None) -> bytes:
    """All of a JSON-RPC request (HTTP/1.1) before the length of its body.

    Through a proxy, a request of plain HTTP names the whole URL (RFC 9112 section 3.2.2).
    """
    is_relayed = proxy is not None and not place.is_secure
    target = f"{place.shown}{place.target}" if is_relayed else place.target
    head = f"POST {target} HTTP/1.1\r\nHost: {place.authority}\r\n"
    head += "Content-Type: application/json\r\n"
    if place.login:
        head += f"Authorization: {place.login}\r\n"
    if is_relayed and proxy is not None and proxy.login:
        head += f"Proxy-Authorization: {proxy.login}\r\n"
    return head.encode() + b"Content-Length: "


def whole(head: bytes, body: bytes) -> bytes:
    """A request with its body."""
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def tunnel_request(place: NodeUrl, proxy: Proxy) -> bytes:
    """Asks a proxy for a connection to the place itself (RFC 9110 section 9.3.6)."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    head = f"CONNECT {host}:{place.port} HTTP/1.1\r\nHost: {host}:{place.port}\r\n"
    if proxy.login:
        head += f"Proxy-Authorization: {proxy.login}\r\n"
    return head.encode() + b"\r\n"


def is_tunnel_head(said: bytes) -> bool:
    """Whether a proxy's answer has come to its end. Raises NotHttp where that is too far."""
    if END_OF_HEAD in said:
        return True
    if len(said) > MAX_HEAD_BYTES:
        raise InvalidHttp("the head of the proxy's answer is too large")
    return False


def require_tunnel(proxy: Proxy, head: bytes) -> None:
    """Raise NotHttp unless the proxy has agreed."""
    parser = HttpAnswerParser()
    parser.feed(head)
    status = parser.ready[0].status if parser.ready else parser.status
    if not 200 <= status < 300:
        raise InvalidHttp(f"the proxy {proxy.shown} refuses with HTTP status {status}")

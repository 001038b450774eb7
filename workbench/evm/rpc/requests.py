"""HTTP requests to a node as bytes, direct or through a proxy, and requests for a tunnel."""

from __future__ import annotations

from workbench.evm.codec.http_parser import MAX_HEAD_BYTES, HttpAnswerParser, InvalidHttp
from workbench.evm.rpc.node_url import NodeUrl
from workbench.evm.rpc.proxies import Proxy

END_OF_HEAD = b"\r\n\r\n"


def request_head(node: NodeUrl, proxy: Proxy | None = None) -> bytes:
    """Return a JSON-RPC request (HTTP/1.1) up to the length of its body.

    A request through a proxy without TLS names the whole URL (RFC 9112 section 3.2.2).
    """
    is_relayed = proxy is not None and not node.is_secure
    target = f"{node.shown}{node.target}" if is_relayed else node.target
    head = f"POST {target} HTTP/1.1\r\nHost: {node.authority}\r\n"
    head += "Content-Type: application/json\r\n"
    if node.login:
        head += f"Authorization: {node.login}\r\n"
    if is_relayed and proxy is not None and proxy.login:
        head += f"Proxy-Authorization: {proxy.login}\r\n"
    return head.encode() + b"Content-Length: "


def complete_request(head: bytes, body: bytes) -> bytes:
    """Return the request of `request_head` with its body."""
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def tunnel_request(node: NodeUrl, proxy: Proxy) -> bytes:
    """Return the request to a proxy for a connection to the node (RFC 9110 section 9.3.6)."""
    host = f"[{node.host}]" if ":" in node.host else node.host
    head = f"CONNECT {host}:{node.port} HTTP/1.1\r\nHost: {host}:{node.port}\r\n"
    if proxy.login:
        head += f"Proxy-Authorization: {proxy.login}\r\n"
    return head.encode() + b"\r\n"


def is_complete_head(data: bytes) -> bool:
    """Return whether a proxy's answer is complete. Raises InvalidHttp if it is too large."""
    if END_OF_HEAD in data:
        return True
    if len(data) > MAX_HEAD_BYTES:
        raise InvalidHttp("the head of the proxy's answer is too large")
    return False


def require_tunnel(proxy: Proxy, head: bytes) -> None:
    """Raise InvalidHttp unless the proxy has opened the tunnel."""
    parser = HttpAnswerParser()
    parser.feed(head)
    status = parser.ready[0].status if parser.ready else parser.status
    if not 200 <= status < 300:
        raise InvalidHttp(f"the proxy {proxy.shown} refuses with HTTP status {status}")

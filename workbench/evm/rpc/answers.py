"""An HTTP answer of a node, decoded to the result of a call or to an error."""

from __future__ import annotations

import http
from typing import Any

from workbench.core.errors import RpcLimited, RpcUnanswered, RpcUnreachable, WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.http_parser import HttpAnswer
from workbench.evm.codec.jsonrpc import limited

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
STATUS_HINTS = {
    401: "The URL has no valid key: correct it.",
    403: "The URL's key may not do this: correct it, or use another provider.",
    404: "There is no node at this path: correct the URL.",
    407: "The proxy requires a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT.",
}


def result_or_error(shown: str, number: int, call: RpcCall, answer: HttpAnswer) -> Any:
    """Return the result of the call with this id, or its error as a value.

    `shown`: see `NodeUrl.shown`.
    """
    status = answer.status
    if 200 <= status < 300:
        return jsonrpc.outcome(shown, number, call, answer.body)
    refusal = error_of_status(shown, call[0], status, answer.retry_after_s)
    if isinstance(refusal, RpcLimited):
        return refusal
    # Some nodes send a JSON-RPC error with an HTTP status other than 200.
    decoded = jsonrpc.outcome(shown, number, call, answer.body)
    is_error = isinstance(decoded, WorkbenchError)
    is_specific = isinstance(decoded, RpcLimited) or not isinstance(decoded, RpcUnanswered)
    return decoded if is_error and is_specific else refusal


def error_of_status(
    shown: str, method: str, status: int, retry_after_s: int | None
) -> WorkbenchError:
    """Return the error for an HTTP status outside 2xx without a JSON-RPC error in the body."""
    if status == TOO_MANY_REQUESTS or (status == UNAVAILABLE and retry_after_s is not None):
        return limited(shown, f"HTTP {status}", method, retry_after_s)
    try:
        phrase = f" ({http.HTTPStatus(status).phrase})"
    except ValueError:
        phrase = ""
    hint = "The URL redirects elsewhere: correct it." if 300 <= status < 400 else ""
    hint = STATUS_HINTS.get(status, hint) or "The provider may be faulty: the call is repeated."
    return RpcUnreachable(
        f"the node at {shown} answered {method} with HTTP status {status}{phrase}.",
        hint=hint,
        method=method,
        status=status,
    )

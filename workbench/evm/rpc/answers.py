"""An HTTP answer of a node, as the result of a call or the error that it stands for."""

from __future__ import annotations

import http
from typing import Any

from workbench.core.errors import RpcLimited, RpcUnanswered, RpcUnreachable, WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.http_parser import HttpAnswer
from workbench.evm.codec.jsonrpc import limited

TOO_MANY, UNAVAILABLE = 429, 503
STATUS_HINTS = {
    401: "The URL has no valid key: correct it.",
    403: "The URL's key may not do this: correct it, or use another provider.",
    404: "There is no node at this path: correct the URL.",
    407: "The proxy wants a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT.",
}


def result_or_error(shown: str, number: int, call: RpcCall, answer: HttpAnswer) -> Any:
    """What the call with this id returned, or why not, as a value. `shown`: see `Place`."""
    status = answer.status
    if 200 <= status < 300:
        return jsonrpc.outcome(shown, number, call, answer.body)
    limit = refused_by_status(shown, call[0], status, answer.retry_after_s)
    if isinstance(limit, RpcLimited):
        return limit
    # Some nodes give an error object a status of its own.
    told = jsonrpc.outcome(shown, number, call, answer.body)
    is_error = isinstance(told, WorkbenchError)
    is_usable = is_error and (isinstance(told, RpcLimited) or not isinstance(told, RpcUnanswered))
    return told if is_usable else limit


def refused_by_status(
    shown: str, method: str, status: int, retry_after_s: int | None
) -> WorkbenchError:
    """An HTTP status that is no success, without a JSON-RPC error in its body."""
    if status == TOO_MANY or (status == UNAVAILABLE and retry_after_s is not None):
        return limited(shown, f"HTTP {status}", method, retry_after_s)
    try:
        phrase = f" ({http.HTTPStatus(status).phrase})"
    except ValueError:
        phrase = ""
    hint = "The address leads elsewhere: correct the URL." if 300 <= status < 400 else ""
    hint = STATUS_HINTS.get(status, hint) or "The provider may be out of order: it is asked again."
    return RpcUnreachable(
        f"the node at {shown} answered {method} with HTTP status {status}{phrase}.",
        hint=hint,
        method=method,
        status=status,
    )

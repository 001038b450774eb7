"""JSON-RPC 2.0: a request as bytes, and an answer's bytes as a typed value or one of our errors.

This is the one place where a node's answers are decoded. An answer has the request's id, a result
of the method's type (`methods`) that belongs to the question (`consistency`), or an error object.
Everything else is RpcAnswerInvalid, which names the method, the field and the reason.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, json

from workbench.core.errors import RpcAnswerInvalid, RpcFault, RpcLimited
from workbench.evm.codec.consistency import CHECKS, Mismatch, RpcCall
from workbench.evm.codec.methods import RESULTS, WITH_TRANSACTIONS

QUOTED = 60
"""Characters of an answer that an error repeats at most."""
MAX_MESSAGE = 300
"""Most characters of a node's own error message that an error repeats."""
REVERT_DATA = re.compile(r"0x([0-9a-fA-F]{2})*+\Z", re.ASCII)
LIMITED_CODE = -32005
"""EIP-1474: "request exceeds defined limit". For logs, some nodes mean their number."""
LIMITED = re.compile(
    r"too many requests|rate.?limit|request.?limit|requests? per|throttl|daily request|"
    r"compute units",
    re.IGNORECASE,
)
LIMITED_TOO = re.compile(r"(?!.*(gas|fee|size|nonce|stack|account)).*limit exceeded", re.IGNORECASE)
"""A limit of something. For logs it may be that of their range or number."""
_PLACE = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s/?#)]*)[^\s)]*")
"""A URL in a node's message, and the part of it that may be shown: a fork names its upstream's."""
_PATH = re.compile(r"(.*?)(?: - at `(.*)`)?", re.DOTALL)
_INDEX = re.compile(r"\[[^\]]*\]")
_MISSING = re.compile(r"Object missing required field `(.*)`")
"""How msgspec words what it found, and where."""


class NodeRevert(RpcFault):
    """The node executed a call, and a contract refused. `data` is the revert data as 0x hex."""

    code = "node_revert"

    def __init__(self, message: str, data: str = "0x") -> None:
        super().__init__(message)
        self.data = data


def request(number: int, method: str, params: tuple[Any, ...]) -> bytes:
    """A request with this id."""
    return json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def answer(host: str, number: int, call: RpcCall, raw: bytes) -> Any:
    """The result of `call` in the answer to the request with this id.

    `host`: what a person may see of where the node is. Raises NodeRevert, RpcLimited,
    RpcAnswerInvalid, or RpcFault with the node's own words.
    """
    try:
        told = _decoder(call[0], call[-1] is True).decode(raw)
    except (ValueError, RecursionError) as why:
        raise _misformed(host, number, call, raw, why) from why
    if told.error or told.id != number or told.result is UNSET:
        raise _no_result(host, number, call, told)
    check = CHECKS.get(call[0])
    if check is not None:
        try:
            check(call, told.result)
        except Mismatch as why:
            raise invalid(call[0], why.reason, why.field) from why
    return told.result


def outcome(host: str, number: int, call: RpcCall, raw: bytes) -> Any:
    """`answer`, with an error as a value."""
    try:
        return answer(host, number, call, raw)
    except RpcFault as why:
        return why


def typed(call: RpcCall, result: Any) -> Any:
    """A result as plain JSON values, read like a node's answer. For tests' own nodes."""
    return answer("test", 0, call, json.encode({"jsonrpc": "2.0", "id": 0, "result": result}))


def is_truncated(why: Any) -> bool:
    """Whether an answer was to another request: then those after it on its connection are, too."""
    return isinstance(why, RpcAnswerInvalid) and why.details.get("field") == "id"


def invalid(method: str, reason: str, field: str = "") -> RpcAnswerInvalid:
    """The node's answer cannot be used. `field`: where in the answer; "" for all of it."""
    where = f"{field}: " if field else ""
    return RpcAnswerInvalid(
        f"the node's answer to {method} cannot be used: {where}{reason}.",
        hint="It is asked again. If this stays, the node is faulty or no node of this chain.",
        method=method,
        field=field,
        reason=reason,
    )


def limited(host: str, how: str, method: str = "", retry_after_s: int | None = None) -> RpcLimited:
    """The node refused because it was asked too much. `how`: its own sign of it."""
    later = f"; it asks to wait {retry_after_s} s" if retry_after_s is not None else ""
    details: dict[str, Any] = {"method": method}
    if retry_after_s is not None:
        details["retry_after_s"] = retry_after_s
    return RpcLimited(
        f"the node at {host} limits requests ({how}){later}.",
        hint="It is asked again later. If this stays, use another provider or plan.",
        **details,
    )


def quoted(value: Any) -> str:
    """The beginning of something a node said, as it may stand in a message."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    shown = "".join(c if c.isprintable() else " " for c in text[:QUOTED])
    return repr(shown) + ("…" if len(text) > QUOTED else "")


# --- Answers without a result ---


@cache
def _decoder(method: str, is_full: bool) -> json.Decoder[Any]:
    """Return the decoder of a method's answers."""
    kind = WITH_TRANSACTIONS.get(method) if is_full else None
    kind = RESULTS.get(method, Any) if kind is None else kind
    fields: list[Any] = [("id", int | None, None), ("result", kind | msgspec.UnsetType, UNSET)]
    fields += [("error", Any, None)]
    return json.Decoder(msgspec.defstruct("Answer", fields))


class LooseEnvelope(msgspec.Struct):
    id: Any = None
    result: Any = UNSET
    error: Any = None


_LOOSE = json.Decoder(LooseEnvelope)


def _misformed(host: str, number: int, call: RpcCall, raw: bytes, why: Exception) -> RpcFault:
    """Why an answer is not of the method's form; or what its error says, or whose answer it is."""
    method = call[0]
    if not raw:
        return invalid(method, "it is empty")
    try:
        told = _LOOSE.decode(raw)
    except msgspec.ValidationError:
        return invalid(method, f"it is no JSON-RPC object, but {quoted(raw)}")
    except (ValueError, RecursionError):
        return invalid(method, f"it is not JSON, but {quoted(raw)}")
    if told.error or told.id != number or told.result is UNSET:
        return _no_result(host, number, call, told)
    reason, path = _PATH.fullmatch(str(why)).groups()  # type: ignore[union-attr]
    if "matching regex" in reason:
        reason = "it has another form than its type"
    field = _INDEX.sub("", path or "").removeprefix("$").removeprefix(".result")
    missing = _MISSING.fullmatch(reason)
    if missing:
        field, reason = f"{field}.{missing[1]}", "it is missing"
    reason = reason.replace("`", "")
    return invalid(method, reason[:1].lower() + reason[1:], field.removeprefix("."))


def _no_result(host: str, number: int, call: RpcCall, told: Any) -> RpcFault:
    """Return the fault for an answer without a result."""
    method, error = call[0], told.error
    is_ours = type(told.id) is int and told.id == number
    if error:
        why = _refusal(host, method, error)
        if is_ours or (told.id is None and isinstance(why, RpcLimited)):
            return why
        return invalid(method, f"an error without our id says {quoted(why.message)}", "id")
    if not is_ours:
        said = "it has no id" if told.id is None else "it is the answer to another request"
        return invalid(method, said, "id")
    # A gateway's own words, say. Taken for a result, they would read as null: "no such receipt".
    return invalid(method, "it has neither a result nor an error")


def _refusal(host: str, method: str, error: Any) -> RpcFault:
    """The error object of an answer, as ours."""
    if not isinstance(error, dict):
        return _limit(host, method, None, str(error)) or RpcFault(
            f"the node refused {method}: {quoted(error)}.", method=method
        )
    message, code, data = error.get("message", error), error.get("code"), error.get("data")
    text = _PLACE.sub(r"\1\2", str(message)[: 4 * MAX_MESSAGE])[:MAX_MESSAGE]
    text = "".join(c if c.isprintable() else " " for c in text)
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and REVERT_DATA.match(data):
        return NodeRevert(text, data)
    if code == 3 or "revert" in text.lower():
        return NodeRevert(text, "0x")
    refused = RpcFault(f"the node refused {method}: {text.rstrip('.')}.", method=method)
    return _limit(host, method, code, text) or refused


def _limit(host: str, method: str, code: Any, text: str) -> RpcLimited | None:
    """The error as a limit of requests, if it is one."""
    is_limit = bool(LIMITED.search(text))
    if method != "eth_getLogs":
        is_limit = is_limit or code == LIMITED_CODE or bool(LIMITED_TOO.match(text))
    return limited(host, quoted(text), method) if is_limit else None

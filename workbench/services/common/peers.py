"""Answers of other services, decoded at one place by a schema, never by status alone.

An answer becomes a typed value or a named error. A body without JSON comes from a proxy:
PeerUnreadable, which is transient. JSON of a wrong shape comes from the peer: PeerAnswerInvalid,
which a retry cannot cure.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from workbench.core.errors import (
    PeerAnswerInvalid,
    PeerRefused,
    PeerUnreachable,
    PeerUnreadable,
    WorkbenchError,
)
from workbench.core.ports import Response

T = TypeVar("T")
SHOWN = 200
"""Most characters of an answer that an error repeats."""
LONGEST = 500
"""Most characters of a peer's own message or hint."""
PASSING = (408, 425, 429)
"""Statuses below 500 that ask for a retry (RFC 9110, 8470, 6585)."""


class ErrorBody(msgspec.Struct):
    """The body of an error, as all our services send it."""

    error: str = "unknown"
    message: str = ""
    hint: str = ""


def decoded(answer: Response, kind: type[T], peer: str) -> T:
    """Return the body of the answer as a `kind`. Raises PeerUnreadable or PeerAnswerInvalid."""
    data = _json(answer, peer)
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as why:
        raise invalid(answer, peer, str(why)) from why


def invalid(answer: Response, peer: str, why: str) -> PeerAnswerInvalid:
    """Return the error for JSON of a wrong shape."""
    return PeerAnswerInvalid(
        f"the {peer}'s answer is not what it should be ({why[:SHOWN]}): {_shown(answer)}.",
        hint=f"Check the URL and the version of the {peer}.",
    )


def passes(answer: Response) -> bool:
    """Return True for a status that may change soon: 5xx, 408, 425, 429, redirects."""
    return answer.status >= 500 or answer.status in PASSING or 300 <= answer.status < 400


def refused(answer: Response, peer: str) -> WorkbenchError:
    """Return the error that a peer's refusal names, if it is of our tree; else PeerRefused.

    PeerUnreadable if the body is not JSON.
    """
    try:
        told = decoded(answer, ErrorBody, peer)
    except PeerUnreadable as why:
        return why
    except PeerAnswerInvalid:
        return PeerRefused(f"the {peer} answered {answer.status}: {_shown(answer)}.")
    message, hint = _plain(told.message), _plain(told.hint)
    kind = WorkbenchError.kinds.get(told.error)
    if kind is None or kind.__init__ is not WorkbenchError.__init__:
        code = f"{answer.status} {_plain(told.error)[:SHOWN]}"
        return PeerRefused(f"the {peer} answered {code}: {message}", hint=hint)
    return kind(message, hint=hint)


def error_body(answer: Response) -> ErrorBody:
    """Return code and message of a refusal, as far as they can be read."""
    try:
        read = decoded(answer, ErrorBody, "peer")
    except (PeerUnreachable, PeerRefused):
        return ErrorBody(message=f"HTTP {answer.status}: {_shown(answer)}")
    message = read.message or f"HTTP {answer.status}"
    return ErrorBody(_plain(read.error)[:SHOWN], _plain(message), _plain(read.hint))


def _json(answer: Response, peer: str) -> Any:
    """Return the JSON of an answer. Raises PeerUnreadable."""
    try:
        return answer.data()
    except (ValueError, RecursionError) as why:
        raise PeerUnreadable(
            f"the {peer}'s answer ({answer.status}) is not JSON: {_shown(answer)}.",
            hint=f"Check the URL of the {peer}, and what stands between.",
        ) from why


def _plain(text: str) -> str:
    """Return a peer's text, cut and without control characters."""
    text = text[:LONGEST].encode("utf-8", "replace").decode()
    return "".join(each if each.isprintable() else " " for each in text)


def _shown(answer: Response) -> str:
    """Return the beginning of a body, for a message."""
    text = answer.body[: SHOWN + 1].decode("utf-8", "replace")
    more = "…" if len(text) > SHOWN else ""
    return f"{text[:SHOWN]!r}{more}"

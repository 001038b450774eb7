"""Answers of other services, read at one place: by a schema, never by the status alone.

Whatever a peer answers becomes a typed value or a named error. What is no JSON is a proxy's words,
not the peer's: PeerUnreadable, which may pass. JSON that does not fit is the peer's own:
PeerAnswerInvalid, which repeating the request cannot heal.
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
"""At most so many characters of an answer are repeated in an error."""
LONGEST = 500
"""At most so many characters of a peer's own message, or hint."""
PASSING = (408, 425, 429)
"""Statuses below 500 that ask to come again (RFC 9110, 8470, 6585)."""


class ErrorBody(msgspec.Struct):
    """The body of an error, as all our services answer it."""

    error: str = "unknown"
    message: str = ""
    hint: str = ""


def decoded(answer: Response, kind: type[T], peer: str) -> T:
    """The answer's body as a `kind`. Raises PeerUnreadable or PeerAnswerInvalid."""
    data = _json(answer, peer)
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as why:
        raise invalid(answer, peer, str(why)) from why


def invalid(answer: Response, peer: str, why: str) -> PeerAnswerInvalid:
    """The error for an answer that is read, and is not what it should be."""
    return PeerAnswerInvalid(
        f"the {peer}'s answer is not what it should be ({why[:SHOWN]}): {_shown(answer)}.",
        hint=f"Check the URL and the version of the {peer}.",
    )


def passes(answer: Response) -> bool:
    """Whether a refusal by status is somebody's who may answer otherwise soon."""
    return answer.status >= 500 or answer.status in PASSING or 300 <= answer.status < 400


def refused(answer: Response, peer: str) -> WorkbenchError:
    """What a peer refused with, as the error of ours that it names; else PeerRefused.

    PeerUnreadable where the body is not JSON, PeerRefused where it is no error of ours.
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


def told(answer: Response) -> ErrorBody:
    """What a refusal says of itself, as far as it can be read."""
    try:
        read = decoded(answer, ErrorBody, "peer")
    except (PeerUnreachable, PeerRefused):
        return ErrorBody(message=f"HTTP {answer.status}: {_shown(answer)}")
    message = read.message or f"HTTP {answer.status}"
    return ErrorBody(_plain(read.error)[:SHOWN], _plain(message), _plain(read.hint))


def _json(answer: Response, peer: str) -> Any:
    try:
        return answer.data()
    except (ValueError, RecursionError) as why:
        raise PeerUnreadable(
            f"the {peer}'s answer ({answer.status}) is not JSON: {_shown(answer)}.",
            hint=f"Check the URL of the {peer}, and what stands between.",
        ) from why


def _plain(text: str) -> str:
    """A peer's text, bounded, and one that any terminal and log can take."""
    text = text[:LONGEST].encode("utf-8", "replace").decode()
    return "".join(each if each.isprintable() else " " for each in text)


def _shown(answer: Response) -> str:
    """The beginning of a body, so that it can stand in a message."""
    text = answer.body[: SHOWN + 1].decode("utf-8", "replace")
    more = "…" if len(text) > SHOWN else ""
    return f"{text[:SHOWN]!r}{more}"

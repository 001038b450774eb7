"""Input of the payout service, parsed into values or refused with a clear message.

Forms and JSON are equal: fields are parsed first, and the fingerprint covers parsed values.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize
from urllib.parse import parse_qsl

from workbench.core import strict_json
from workbench.core.errors import InputError, InvalidCredits, InvalidKey, InvalidUser
from workbench.core.ports import Request

MAX_CREDITS = 2**53 - 1
"""Most credits in one request: every JSON reader represents it exactly. Balances may be larger."""
MAX_REASON = 500
MAX_USER = 128
"""Most characters of a user's id, in Unicode form NFC."""
LONGEST_FORM = 4 * MAX_USER
"""Most characters of a user's id before normalization: at most four become one."""
USER = re.compile(r"[\w.@:+~=-]{1,128}")
KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class PayoutInput:
    """A checked request for credits (without `address`) or for a payout. `key` is "" if none was
    given."""

    user_id: str
    credits: int
    key: str
    address: str = ""

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the parsed request."""
        told = json.dumps([self.user_id, self.credits, self.address])
        return hashlib.sha256(told.encode()).hexdigest()


def fields_of(request: Request) -> dict[str, Any]:
    """Return the fields of a JSON or form body. Raises InputError."""
    if not request.body.strip():
        raise InputError("the body is empty.", hint='Send JSON, such as {"user_id": "u1", …}.')
    kind = (request.header("Content-Type") or "application/json").split(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return _form(request.body)
    if kind != "application/json" and not kind.endswith("+json"):
        raise InputError(
            f"a body of type {kind[:60]!r} is not understood.",
            hint="Send application/json, or a plain form (application/x-www-form-urlencoded).",
        )
    return json_object(request.body)


def _form(body: bytes) -> dict[str, Any]:
    """Return the fields of a form. Raises InputError for a duplicate field."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict")
    except ValueError as why:
        raise InputError("the form is not UTF-8 text.") from why
    found = _once([(name, value.strip()) for name, value in pairs])
    # A blank form field is absent; in JSON it is "".
    return {name: value for name, value in found.items() if value}


def json_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object, parsed strictly. Raises InputError."""
    try:
        data = strict_json.loads(body)
    except strict_json.AmbiguousJson as why:
        raise InputError(str(why), hint="Give each field once.") from why
    except (ValueError, RecursionError) as why:
        raise InputError("the body is not JSON.", hint="Check quotes and commas.") from why
    if not isinstance(data, dict):
        raise InputError("the body is JSON, but not an object.", hint="Put it in { }.")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InputError("a field is given twice.", hint="Give each field once.")
    return found


def payout_input(fields: dict[str, Any], header_key: str | None = None) -> PayoutInput:
    """Return the fields that `/earn` and `/payout` share. Raises InputError."""
    return PayoutInput(
        user_id=user_id(_need(fields, "user_id")),
        credits=credits_(_need(fields, "credits")),
        key=idempotency_key(fields.get("idempotency_key"), header_key),
    )


def _need(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        known = ", ".join(sorted(fields))[:100] or "none"
        raise InputError(f"{name} is missing (fields found: {known}).", field=name)
    return fields[name]


def text_of(fields: dict[str, Any], name: str) -> str:
    """Return a field that must be text. Raises InputError."""
    value = _need(fields, name)
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, in quotes.", field=name)
    return value


def reason_of(fields: dict[str, Any], name: str = "why") -> str:
    """Return a person's reason, in one line. Raises InputError."""
    reason = text_of(fields, name).strip()
    if not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
        raise InputError(f"{name} must be one line of 1 to {MAX_REASON} characters.", field=name)
    return reason


def user_id(value: Any) -> str:
    """Return a user's id in Unicode form NFC. Raises InvalidUser.

    An accented letter is one id, however a keyboard composes it. Nothing else is unified: upper and
    lower case, compatibility forms (NFKC) and similar letters of other scripts are different users.
    """
    if not isinstance(value, str):
        raise InvalidUser("user_id must be text, in quotes.", field="user_id")
    name = normalize("NFC", value) if len(value) <= LONGEST_FORM else ""
    if not USER.fullmatch(name):
        raise InvalidUser(
            "user_id is not one that can be kept." if value else "user_id is empty.",
            hint="1 to 128 letters, digits and any of . _ - @ : + ~ =",
            field="user_id",
        )
    return name


def credits_(value: Any) -> int:
    """Return a whole number of credits above 0. Raises InvalidCredits."""
    hint = f"A whole number from 1 to {MAX_CREDITS}, in plain digits."
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,400}", value, re.ASCII):
        value = int(value)
    if type(value) is not int:
        shown = json.dumps(value)[:40] if not isinstance(value, float) else str(value)
        raise InvalidCredits(f"credits {shown} is not a whole number.", hint=hint, field="credits")
    if value < 1:
        raise InvalidCredits(
            f"credits {str(value)[:40]} is not above 0.", hint=hint, field="credits"
        )
    if value > MAX_CREDITS:
        raise InvalidCredits("credits is more than one request may be.", hint=hint, field="credits")
    return value


def idempotency_key(field: Any, header: str | None) -> str:
    """Return the key from the field or the header, or "". Raises InvalidKey."""
    if field is not None and not isinstance(field, str):
        raise InvalidKey("idempotency_key must be text, in quotes.")
    header = header.strip().strip('"') if header else header
    if field and header and field != header:
        raise InvalidKey(f"idempotency_key and the header {KEY_HEADER} differ; send one of them.")
    key = field or header or ""
    if key and not KEY.fullmatch(key):
        raise InvalidKey(
            "the idempotency key cannot be kept.", hint="1 to 255 plain characters, no spaces."
        )
    return key

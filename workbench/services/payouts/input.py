"""What people and programs send to the payout service, read into values or refused in plain words.

Forms and JSON are one: the fields are parsed first, and the fingerprint is over parsed values.
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
"""In one request: every JSON reader knows it exactly. Balances may grow beyond."""
MAX_REASON = 500
MAX_USER = 128
"""Characters of a user's id, in form NFC."""
LONGEST_FORM = 4 * MAX_USER
"""Characters of the same id in any form: four at most become one."""
USER = re.compile(r"[\w.@:+~=-]{1,128}")
KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class PayoutInput:
    """One request to earn (no `address`) or to pay, checked. `key` "" where none was given."""

    user_id: str
    credits: int
    key: str
    address: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what was asked, whatever its form."""
        told = json.dumps([self.user_id, self.credits, self.address])
        return hashlib.sha256(told.encode()).hexdigest()


def fields_of(request: Request) -> dict[str, Any]:
    """The body's fields: JSON, or a form. Raises InputError."""
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
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict")
    except ValueError as why:
        raise InputError("the form is not UTF-8 text.") from why
    found = _once([(name, value.strip()) for name, value in pairs])
    # A blank field of a form says nothing; of JSON it says "".
    return {name: value for name, value in found.items() if value}


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object without anything a strict reader would not know. Raises InputError."""
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


def asked(fields: dict[str, Any], header_key: str | None = None) -> PayoutInput:
    """The fields that `/earn` and `/payout` share."""
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
    """A field that is text."""
    value = _need(fields, name)
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, in quotes.", field=name)
    return value


def reason_of(fields: dict[str, Any], name: str = "why") -> str:
    """A person's reason, in one line. Raises InputError."""
    reason = text_of(fields, name).strip()
    if not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
        raise InputError(f"{name} must be one line of 1 to {MAX_REASON} characters.", field=name)
    return reason


def user_id(value: Any) -> str:
    """A user's id, in Unicode's form NFC: what a site calls its user. Raises InvalidUser.

    So an accented letter is one id, however a keyboard composes it. Nothing else is unified: upper
    and lower case, compatibility forms (NFKC: full-width letters, ligatures, superscripts) and
    letters of other scripts that look alike are different users.
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
    """A whole number of credits above 0. Raises InvalidCredits."""
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
    """From the body's field or the header. Raises InvalidKey; "" where there is none."""
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

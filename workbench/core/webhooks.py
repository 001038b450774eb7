"""Signed webhook messages (Standard Webhooks 1.0): content, signature, verification, retries.

The id of a message comes from its fact, so that a receiver recognises a repeated one. Signed is
`<id>.<Unix seconds of sending>.<body>`, with HMAC-SHA256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import BadSignature, InvalidSetting
from workbench.core.payout import MOVING, Payout

DELIVERED = frozenset({kind.__name__ for kind in MOVING} | {"CreditsEarned", "SignerQuarantined"})
"""The types of facts that subscribers receive."""
PREFIX = "whsec_"
KEY_BYTES = (24, 64)
"""Smallest and largest size of a secret in bytes."""
TOLERANCE_S = 300
"""Largest difference between the time of sending and the receiver's clock, in seconds."""
TEXT_MOST = 1_000
"""Longer texts (a token's revert reason, for example) are cut, so that bodies stay below 20 kB."""
LARGE = ("units", "gas_wei")
"""Amounts that a JSON reader may not represent: they are text, as in `/v1/`."""
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
DAY_S = 86_400
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def key_of_secret(secret: str) -> bytes:
    """Return the HMAC key of `whsec_<base64>`. Raises InvalidSetting, which does not show it."""
    try:
        if not secret.startswith(PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        if not KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]:
            raise ValueError
    except (ValueError, binascii.Error):
        raise InvalidSetting(
            "is not a webhook secret",
            hint=f"{PREFIX} and base64 of {KEY_BYTES[0]} to {KEY_BYTES[1]} random bytes: "
            f'echo "{PREFIX}$(openssl rand -base64 32)".',
        ) from None
    return key


def sign(secret: str, message_id: str, sent_s: int, body: bytes) -> str:
    """Return one signature, `v1,<base64>`. `sent_s`: Unix seconds."""
    told = f"{message_id}.{sent_s}.".encode(errors="replace") + body
    mac = hmac.new(key_of_secret(secret), told, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message. Its id and its bytes are the same however often it is sent."""

    id: str
    body: bytes

    def headers(self, secrets: Sequence[str], sent_s: int) -> tuple[tuple[str, str], ...]:
        """Return the headers, signed with every secret: during a change receivers have either."""
        signatures = (sign(secret, self.id, sent_s, self.body) for secret in secrets)
        return (
            ("Content-Type", "application/json"),
            (ID, self.id),
            (TIMESTAMP, str(sent_s)),
            (SIGNATURE, " ".join(signatures)),
        )


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    tolerance_s: int = TOLERANCE_S,
) -> Any:
    """Return the body as JSON if it was signed with this secret, and recently. For receivers.

    `body`: the received bytes. `now_s`: Unix seconds, such as `time.time()`. Raises BadSignature.
    Messages may come more than once: keep the `webhook-id` of those that were handled.
    """
    known = {name.lower(): value for name, value in headers.items()}
    if not all(known.get(name) for name in (ID, TIMESTAMP, SIGNATURE)):
        raise BadSignature(f"{ID}, {TIMESTAMP} and {SIGNATURE} are needed.")
    if not re.fullmatch(r"[0-9]{1,12}", known[TIMESTAMP], re.ASCII):
        raise BadSignature(f"{TIMESTAMP} is not a number of seconds.")
    sent_s = int(known[TIMESTAMP])
    right = sign(secret, known[ID], sent_s, body).encode()
    given = known[SIGNATURE].encode(errors="replace").split(b" ")
    if not any(hmac.compare_digest(right, each) for each in given):
        raise BadSignature("no signature is that of this secret and this body.")
    if abs(now_s - sent_s) > tolerance_s:
        raise BadSignature(
            f"it was sent more than {tolerance_s} s before or after now.",
            hint="Is the clock right? If so, somebody repeats an old message.",
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadSignature("it is signed, and is not JSON.") from None


def message(seq: int, fact: ev.Event, payout: Payout | None) -> WebhookMessage:
    """Return the message of fact number `seq`, with the request of its payout."""
    data: dict[str, Any] = {"seq": seq}
    for name, value in ev.to_dict(fact).items():
        if name not in ("type", "source"):
            data[name] = _public_value(name, value)
    if payout is not None:
        data["payout"] = {
            "id": payout.id,
            "idempotency_key": payout.key,
            "user_id": payout.user_id,
            "address": payout.address,
            "credits": payout.credits,
            "units": str(payout.units),
            "asset": payout.asset,
        }
    told = {"type": fact.type, "timestamp": utc(fact.at_ms), "data": data}
    return WebhookMessage(ev.fact_id(fact), json.dumps(told, separators=(",", ":")).encode())


def _public_value(name: str, value: Any) -> Any:
    """Return a field of a fact as a message has it: large amounts as text, long texts cut."""
    if name in LARGE:
        return str(value)
    if isinstance(value, str) and len(value) > TEXT_MOST:
        return value[: TEXT_MOST - 1] + "…"
    return value


def utc(at_ms: int) -> str:
    """Return Unix milliseconds as ISO 8601 in UTC, such as 2026-11-22T00:11:43.000Z."""
    day, ms = divmod(at_ms, 1000 * DAY_S)
    year, month = 1970, 1
    while day >= (length := 365 + _leap(year)):
        day, year = day - length, year + 1
    while day >= (length := MONTHS[month - 1] + (month == 2 and _leap(year))):
        day, month = day - length, month + 1
    s, ms = divmod(ms, 1000)
    clock = f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}.{ms:03}"
    return f"{year:04}-{month:02}-{day + 1:02}T{clock}Z"


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


# --- How far a subscriber is ---

WAIT_S, WAIT_MOST_S = 1, 3_600
"""The wait after the first failure, which doubles each time; and the longest wait. Seconds."""
FAILING_MS = 3 * 1000 * DAY_S
"""Age of a failure at which a subscriber counts as failing. It is still tried once an hour."""


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """The delivery to one subscriber: all facts up to number `upto` were answered with 2xx.

    `failures`: failed attempts in a row, the first at `since_ms`, the next not before `next_ms`
    (Unix ms). `said`: reason of the last failure. `is_gone`: it answered 410 and is not tried
    again.
    """

    endpoint: str
    upto: int
    failures: int = 0
    since_ms: int = 0
    next_ms: int = 0
    is_gone: bool = False
    said: str = ""

    def is_due(self, now_ms: int) -> bool:
        """Return True if a message may be sent now. A clock that goes back does not extend the
        wait."""
        return not self.is_gone and not self.since_ms <= now_ms < self.next_ms

    def state(self, now_ms: int) -> str:
        """Return ok, retrying, failing (for days) or gone."""
        if self.is_gone:
            return "gone"
        if not self.failures:
            return "ok"
        return "failing" if now_ms - self.since_ms >= FAILING_MS else "retrying"


def wait_ms(failures: int, chance: float) -> int:
    """Return the wait after this many failures. `chance` in 0..1 spreads it over its upper half."""
    longest_s = min(WAIT_MOST_S, WAIT_S * 2 ** min(failures - 1, 20))
    return int(1000 * longest_s * (1 + chance) / 2)

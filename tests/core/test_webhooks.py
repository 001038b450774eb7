"""What subscribers get: an outside implementation accepts our signatures, and we accept its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from workbench.core import facts as ev
from workbench.core.errors import BadSignature, InvalidSetting
from workbench.core.payout import Payout, PayoutState
from workbench.core.webhooks import (
    DELIVERED,
    FAILING_MS,
    LARGE,
    TOLERANCE_S,
    WAIT_MOST_S,
    WebhookDelivery,
    WebhookMessage,
    key_of_secret,
    message,
    sign,
    utc,
    verify,
    wait_ms,
)

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
NOW = 1_795_306_303
PAID = ev.PayoutPaid(
    subject="0xab", at_ms=NOW * 1000 + 5, source="payouts",
    block=ev.BlockRef(7, "0xb1", "0xcc", -1), tx="0xcc", units=10**30, gas_wei=21_000 * 10**9,
)  # fmt: skip
PAYOUT = Payout(
    "0xab", PayoutState.PAID, "u1", "k1", "0x" + "ab" * 20, 40, 10**30, "eip155:1/native"
)
secrets = st.binary(min_size=24, max_size=64).map(lambda k: f"whsec_{base64.b64encode(k).decode()}")
ids = st.text("0123456789abcdef", min_size=1, max_size=64)


def sent(told: WebhookMessage, *by: str, at_s: int = NOW) -> dict[str, str]:
    return dict(told.headers(by or (SECRET,), at_s))


# --- Against the standard's own library ---


def test_the_vector_of_the_libraries() -> None:
    """The one that the standard's libraries are tested with."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    told = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == told


@given(secret=secrets, told=ids, body=st.text(), at_s=st.integers(0, 2**33))
def test_both_sign_alike(secret: str, told: str, body: str, at_s: int) -> None:
    theirs = Webhook(secret).sign(told, datetime.fromtimestamp(at_s, UTC), body)
    assert theirs == sign(secret, told, at_s, body.encode(errors="surrogatepass"))


def test_the_standards_library_takes_ours() -> None:
    """With the headers as they are sent; a changed body it refuses."""
    told = message(9, PAID, PAYOUT)
    headers = sent(told, OTHER, SECRET, at_s=int(datetime.now(UTC).timestamp()))
    assert json.loads(told.body) == Webhook(SECRET).verify(told.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(told.body.replace(b"0xab", b"0xac"), headers)


@given(secret=secrets, body=st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_we_take_the_standards_librarys(secret: str, body: dict[str, int]) -> None:
    text = json.dumps(body)
    theirs = Webhook(secret).sign("msg_1", datetime.fromtimestamp(NOW, UTC), text)
    headers = {"Webhook-Id": "msg_1", "WEBHOOK-TIMESTAMP": str(NOW), "webhook-signature": theirs}
    assert body == verify(secret, headers, text.encode(), NOW)


# --- Verifying ---


def test_what_was_sent_is_verified() -> None:
    """While one secret follows another, a receiver may have either."""
    told = message(9, PAID, PAYOUT)
    for secret in (SECRET, OTHER):
        assert "PayoutPaid" == verify(secret, sent(told, OTHER, SECRET), told.body, NOW)["type"]
    for edge in (NOW - TOLERANCE_S, NOW + TOLERANCE_S):
        verify(SECRET, sent(told), told.body, edge)


Change = Callable[[dict[str, str]], dict[str, str]]
WRONG: dict[str, Change] = {
    "no id": lambda h: h | {"webhook-id": ""},
    "no timestamp": lambda h: {k: v for k, v in h.items() if k != "webhook-timestamp"},
    "no signature": lambda h: {k: v for k, v in h.items() if k != "webhook-signature"},
    "another id": lambda h: h | {"webhook-id": "ff"},
    "another time": lambda h: h | {"webhook-timestamp": str(NOW + 1)},
    "a time that is none": lambda h: h | {"webhook-timestamp": "1e9"},
    "digits of another alphabet": lambda h: h | {"webhook-timestamp": "１２３"},
    "a signature that is none": lambda h: h | {"webhook-signature": "v1,,, ü \udcff v1 v1,AAAA"},
    "another version": lambda h: h | {"webhook-signature": "v2" + h["webhook-signature"][2:]},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused(change: Change) -> None:
    told = message(9, PAID, PAYOUT)
    with pytest.raises(BadSignature):
        verify(SECRET, change(sent(told)), told.body, NOW)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_tampered_body_is_refused(at: int, bit: int) -> None:
    """Whichever bit."""
    told = message(9, PAID, PAYOUT)
    body = bytearray(told.body)
    body[at % len(body)] ^= 1 << bit
    with pytest.raises(BadSignature, match="no signature"):
        verify(SECRET, sent(told), bytes(body), NOW)


@pytest.mark.parametrize("now", [NOW - TOLERANCE_S - 1, NOW + TOLERANCE_S + 1, 0])
def test_an_old_message_is_refused(now: int) -> None:
    """And one from the future: somebody's clock is wrong, or somebody repeats it."""
    told = message(9, PAID, PAYOUT)
    with pytest.raises(BadSignature, match="300 s before or after"):
        verify(SECRET, sent(told), told.body, now)


def test_another_secret_is_refused_and_signed_nonsense_too() -> None:
    told = message(9, PAID, PAYOUT)
    with pytest.raises(BadSignature, match="no signature"):
        verify(OTHER, sent(told), told.body, NOW)
    with pytest.raises(BadSignature, match="not JSON"):
        verify(SECRET, sent(WebhookMessage("1", b"hello")), b"hello", NOW)


@pytest.mark.parametrize(
    "secret",
    ["", "topsecret", "whsec_", SECRET[6:], "whsec_" + base64.b64encode(bytes(23)).decode(),
     "whsec_" + base64.b64encode(bytes(65)).decode(), SECRET[:-1] + "!", SECRET[:-1]],
)  # fmt: skip
def test_a_bad_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        key_of_secret(secret)
    assert "24 to 64 random bytes" in str(caught.value)
    assert not secret or secret == "whsec_" or secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- Content of messages ---


def test_the_message_of_a_fact() -> None:
    """Amounts are text; what the payout was asked for stands beside what happened."""
    told = message(9, PAID, PAYOUT)
    assert ev.fact_id(PAID) == told.id
    expected: dict[str, Any] = {
        "type": "PayoutPaid",
        "timestamp": "2026-11-22T00:11:43.005Z",
        "data": {
            "seq": 9, "subject": "0xab", "at_ms": NOW * 1000 + 5,
            "block": {"number": 7, "hash": "0xb1", "tx": "0xcc", "log_index": -1},
            "tx": "0xcc", "units": "1" + "0" * 30, "gas_wei": "21000000000000",
            "payout": {
                "id": "0xab", "idempotency_key": "k1", "user_id": "u1", "address": "0x" + "ab" * 20,
                "credits": 40, "units": "1" + "0" * 30, "asset": "eip155:1/native",
            },
        },
    }  # fmt: skip
    assert expected == json.loads(told.body)


@given(text=st.text(max_size=5_000))
def test_a_message_is_small_whatever_a_token_says(text: str) -> None:
    """And the same bytes each time."""
    fact = ev.PayoutRefunded(subject="0xab", at_ms=1, source="x", tx="0x", reason=text, gas_wei=1)
    told = message(1, fact, PAYOUT)
    assert len(told.body) < 20_000
    assert told == message(1, fact, PAYOUT)
    reason = json.loads(told.body)["data"]["reason"]
    assert reason == text or (len(reason) == 1_000 and reason[:-1] == text[:999])


def test_no_number_is_larger_than_a_reader_knows() -> None:
    """Every whole number of the told facts is text, a time, or one that JSON readers know."""
    kinds = [ev.Event.kinds[name] for name in DELIVERED]
    numbers = {n for kind in kinds for n, t in kind.__annotations__.items() if t == "int"}
    assert {"credits", "nonce", "place", *LARGE} == numbers


@given(at_ms=st.integers(0, 253_402_300_799_999))
def test_times_are_those_of_the_calendar(at_ms: int) -> None:
    seconds, ms = divmod(at_ms, 1000)
    assert datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{ms:03}Z") in (
        utc(at_ms), utc(at_ms).lstrip("0"),
    )  # fmt: skip


# --- How far it is ---


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_waits_double_and_stop_at_an_hour(failures: int, chance: float) -> None:
    full_s = min(WAIT_MOST_S, 2 ** (failures - 1))
    assert 500 * full_s <= wait_ms(failures, chance) <= 1000 * full_s


def test_states() -> None:
    assert "ok" == WebhookDelivery("x", 5).state(NOW)
    assert "retrying" == WebhookDelivery("x", 5, failures=1, since_ms=10).state(9 + FAILING_MS)
    assert "failing" == WebhookDelivery("x", 5, failures=1, since_ms=10).state(10 + FAILING_MS)
    assert "gone" == WebhookDelivery("x", 5, failures=1, since_ms=10, is_gone=True).state(10)


def test_when_it_is_asked_again() -> None:
    """After its wait, or at once if the clock was put back to before it began to fail."""
    at = WebhookDelivery("x", 5, failures=2, since_ms=100, next_ms=200)
    assert [True, False, False, True] == [at.is_due(now) for now in (99, 100, 199, 200)]
    assert WebhookDelivery("x", 5).is_due(0)
    assert not WebhookDelivery("x", 5, failures=1, since_ms=100, next_ms=200, is_gone=True).is_due(
        300
    )

"""Requests of other sites are refused, and an API key is required where one is set."""

from __future__ import annotations

import pytest

from tests.services.payouts.desk import Desk, ask


@pytest.mark.parametrize(
    "headers",
    [
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Origin", "https://evil.example"), ("Host", "127.0.0.1:8080")],
        [("Origin", "null"), ("Host", "127.0.0.1:8080")],
        [("Host", "evil.example:8080"), ("Origin", "http://evil.example:8080")],
        [("Host", "evil.example:8080")],
    ],
    ids=str,
)
def test_posts_from_other_sites_are_refused(desk: Desk, headers: list[tuple[str, str]]) -> None:
    for path in ("/earn", "/payout", "/v1/credits"):
        told = desk.post(path, ask(), *headers)
        assert (403, "cross_site") == (told.status, told.data()["error"])
    assert 0 == desk.user()["credits"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Host", "127.0.0.1:8080")],
        [("Sec-Fetch-Site", "same-origin"), ("Origin", "null")],
        [("Sec-Fetch-Site", "none")],
        [("Origin", "http://localhost:8080"), ("Host", "localhost:8080")],
    ],
    ids=str,
)
def test_our_own_forms_and_programs_pass(desk: Desk, headers: list[tuple[str, str]]) -> None:
    assert 200 == desk.post("/earn", {"user_id": "u1", "credits": 1}, *headers).status


def test_an_api_key_where_one_is_needed(desk: Desk) -> None:
    """Bearer, X-API-Key, or a browser's password; health is open, and the key is never shown."""
    key = "a-long-and-random-key"
    desk.rules(api_key=key)
    basic = "Basic dTphLWxvbmctYW5kLXJhbmRvbS1rZXk="
    good = [("Authorization", f"Bearer {key}"), ("X-API-Key", key), ("Authorization", basic)]
    for header in good:
        assert 200 == desk.post("/earn", {"user_id": "u1", "credits": 1}, header).status
    bad = [
        ("X-API-Key", "x"),
        ("Authorization", "Bearer"),
        ("Authorization", "Basic !"),
        ("A", "b"),
    ]
    for header in bad:
        for path in ("/earn", "/v1/credits"):
            told = desk.post(path, {"user_id": "u1", "credits": 1}, header)
            assert (401, "api_key_needed") == (told.status, told.data()["error"])
            assert "Basic" in dict(told.headers)["WWW-Authenticate"]
    assert 401 == desk.get("/user/u1").status == desk.get("/").status == desk.get("/metrics").status
    assert [200] * 3 == [desk.get(path).status for path in ("/health", "/livez", "/readyz")]
    assert key not in desk.get("/health").body.decode()

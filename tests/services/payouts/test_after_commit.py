"""After the commit nothing fails: any accepted text, over a real socket, as JSON and as a form."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from unicodedata import normalize
from urllib.parse import quote, unquote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.services.payouts.desk import FORM, JSON, TO
from tests.web.test_payout_pages import Site
from workbench.services.payouts.input import KEY, USER

PAGE = "text/html,application/xhtml+xml"
IDS = st.from_regex(USER, fullmatch=True).filter(
    lambda text: USER.fullmatch(normalize("NFC", text))
)
KEYS = st.from_regex(KEY, fullmatch=True)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def post(site: Site, path: str, fields: dict[str, Any], kind: str, accept: str) -> Any:
    """Status, headers and body of one request over a socket of its own."""
    line = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=10)
    body = urlencode(fields) if kind == FORM else json.dumps(fields)
    try:
        line.request("POST", path, body.encode(), {"Content-Type": kind, "Accept": accept})
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        line.close()


def get(site: Site, path: str, accept: str) -> tuple[int, bytes]:
    line = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=10)
    try:
        line.request("GET", path, headers={"Accept": accept})
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(user="한국", key="k", kind=FORM)
@example(user="Иван", key="k", kind=FORM)
@example(user="josé", key="%0d%0aX:", kind=FORM)
@example(user="..", key='"', kind=FORM)
@given(user=IDS, key=KEYS, kind=st.sampled_from([FORM, JSON]))
def test_what_is_accepted_is_answered_and_the_key_answers_the_same(
    site: Site, user: str, key: str, kind: str
) -> None:
    name = normalize("NFC", user)
    fields: dict[str, Any] = {
        "user_id": user,
        "credits": 2,
        "idempotency_key": f"{key}{name}"[:255],
    }
    if not KEY.fullmatch(fields["idempotency_key"]):
        fields["idempotency_key"] = key[:200] + name.encode().hex()[:50]
    payout = {**fields, "credits": 1, "address": TO}
    for path, asked in (("/earn", fields), ("/payout", payout)):
        first = post(site, path, asked, kind, PAGE if kind == FORM else JSON)
        again = post(site, path, asked, kind, PAGE if kind == FORM else JSON)
        if kind == FORM:
            assert (first[0], again[0]) == (303, 303), (path, first[2])
            place = first[1]["Location"]
            assert place == again[1]["Location"]
            assert unquote(place, errors="strict") == f"/user/{name}"
            assert get(site, place, PAGE)[0] == 200
        else:
            assert (first[0], again[0]) == (200, 200), (path, first[2])
            assert json.loads(again[2])["replayed"] is True
    status, body = get(site, f"/user/{quote(user, safe='')}", JSON)
    told = json.loads(body)
    assert (status, told["user_id"], told["known"]) == (200, name, True)


def test_composed_and_decomposed_letters_are_one_user(site: Site) -> None:
    for text in ("한글", "é"):
        for form in ("NFC", "NFD"):
            fields = {"user_id": normalize(form, text), "credits": 3}
            assert post(site, "/earn", fields, JSON, JSON)[0] == 200
        told = json.loads(get(site, f"/user/{quote(normalize('NFD', text))}", JSON)[1])
        assert (told["user_id"], told["credits"]) == (normalize("NFC", text), 6)
    for other in ("Ａ", "ﬁ", "²"):
        assert json.loads(get(site, f"/user/{quote(other)}", JSON)[1])["user_id"] == other

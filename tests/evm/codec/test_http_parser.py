"""HTTP answers: whole, in pieces, pipelined, without a body, too large, or no HTTP at all."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.evm.codec import http_parser
from workbench.evm.codec.http_parser import HttpAnswer, HttpAnswerParser, InvalidHttp, retry_after


def plain(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{each}\r\n" for each in (f"HTTP/1.1 {status}", *fields))
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*parts: bytes) -> bytes:
    body = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\nTrailer: x\r\n\r\n"


def read(said: bytes, cuts: Sequence[int] = (), *, ends: bool = False) -> list[HttpAnswer]:
    """All answers in what a connection said, cut into pieces at these places."""
    parser, places = HttpAnswerParser(), sorted({0, *cuts, len(said)})
    for first, last in itertools.pairwise(places):
        parser.feed(said[first:last])
    if ends:
        parser.finish()
    return list(parser.ready)


WHOLE: list[tuple[bytes, list[HttpAnswer]]] = [
    (plain(b"one"), [HttpAnswer(200, b"one")]),
    (plain(b"one") + plain(b"two"), [HttpAnswer(200, b"one"), HttpAnswer(200, b"two")]),
    (chunked(b"o", b"ne") + plain(b"two"), [HttpAnswer(200, b"one"), HttpAnswer(200, b"two")]),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"one"), [HttpAnswer(200, b"one")]),
    (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + plain(b"one"), [HttpAnswer(200, b"one")]),
    (
        b"HTTP/1.1 204 No Content\r\n\r\n" + plain(b"two"),
        [HttpAnswer(204, b""), HttpAnswer(200, b"two")],
    ),
    (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" + plain(b"two"),
        [HttpAnswer(304, b""), HttpAnswer(200, b"two")],
    ),
    (plain(b"one", "Connection: close"), [HttpAnswer(200, b"one", is_last=True)]),
    (
        plain(b"no", "Retry-After: 7", status="429 Too Many Requests"),
        [HttpAnswer(429, b"no", retry_after_s=7)],
    ),
]


@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 200), max_size=8))
def test_answers_are_the_same_however_they_are_cut(
    case: tuple[bytes, list[HttpAnswer]], cuts: list[int]
) -> None:
    said, wanted = case
    assert wanted == read(said, [cut % (len(said) + 1) for cut in cuts])


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    said = b"HTTP/1.1 200 OK\r\n\r\none"
    assert [] == read(said)
    assert [HttpAnswer(200, b"one", is_last=True)] == read(said, [20], ends=True)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
    ],
)
def test_half_an_answer_is_none(said: bytes) -> None:
    with pytest.raises(InvalidHttp, match="without a whole answer"):
        read(said, ends=True)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0 hello\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b'{"jsonrpc":"2.0"}\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI",
        b"\x16\x03\x01\x02\x00",
        gzip.compress(b"HTTP/1.1 200 OK\r\n\r\n", mtime=0),
    ],
)
def test_what_is_no_http_is_named(said: bytes) -> None:
    with pytest.raises(InvalidHttp) as caught:
        read(said)
    assert len(str(caught.value)) < 120


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_are_answers_or_no_http(said: bytes, cuts: list[int]) -> None:
    for before in (b"", b"HTTP/1.1 200 OK\r\n", plain(b"one")):
        try:
            read(before + said, [cut % (len(before + said) + 1) for cut in cuts], ends=True)
        except InvalidHttp as why:
            assert str(why)


def test_what_was_whole_before_the_nonsense_is_an_answer() -> None:
    parser = HttpAnswerParser()
    parser.feed(plain(b"one") + b"nonsense")
    assert HttpAnswer(200, b"one") == parser.ready.popleft()
    with pytest.raises(InvalidHttp):
        parser.feed(b"more")


def test_heads_and_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends is not kept in memory."""
    with pytest.raises(InvalidHttp, match="head of its answer is too large"):
        endless(b"HTTP/1.1 200 OK\r\n", b"X-A: y\r\n" * 1_000)
    monkeypatch.setattr(http_parser, "MAX_BODY_BYTES", 1 << 20)
    with pytest.raises(InvalidHttp, match="its answer is too large"):
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"x" * 65_536)
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with pytest.raises(InvalidHttp, match="its answer is too large"):
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)


def endless(first: bytes, piece: bytes) -> None:
    parser = HttpAnswerParser()
    parser.feed(first)
    for _ in range(100):
        parser.feed(piece)


NOON = b"Tue, 01 Dec 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({b"Retry-After": b"3"}, 3),
        ({b"RETRY-AFTER": b" 0 "}, 0),
        ({b"retry-after": b"9" * 40}, 86_400),
        ({b"Retry-After": b"-3"}, None),
        ({b"Retry-After": b"soon"}, None),
        ({b"Retry-After": b"\xb2"}, None),
        ({b"Retry-After": b"Tue, 01 Dec 2026 12:00:09 GMT", b"Date": NOON}, 9),
        ({b"Retry-After": b"Tue, 01 Dec 2026 11:00:00 GMT", b"Date": NOON}, 0),
        ({b"Retry-After": b"Tue, 01 Dec 2026 12:00:09 GMT"}, None),
        ({b"Retry-After": b"Tue, 01 Dec 2026 12:00:09", b"Date": NOON}, None),
    ],
)
def test_how_long_to_wait(fields: dict[bytes, bytes], seconds: int | None) -> None:
    """Seconds, or a date against the answer's own: no clock of ours is asked."""
    assert seconds == retry_after(fields)

"""Errors of the node are mapped to named errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.evm.codec.jsonrpc_calls import H2, HOST, refused
from workbench.core.errors import RpcAnswerInvalid, RpcFault, RpcLimited
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.jsonrpc import NodeRevert


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x08c379a0"}, "0x08c379a0"),
        ({"code": 3, "message": "execution reverted"}, "0x"),
        ({"code": -32000, "message": "VM Exception: Revert"}, "0x"),
        ({"code": -32015, "message": "error", "data": {"data": "0xabcd"}}, "0xabcd"),
        ({"code": 3, "message": "execution reverted", "data": "0xnonsense"}, "0x"),
        ({"code": 3, "message": "execution reverted", "data": "0x123"}, "0x"),
        ({"code": 3, "message": "execution reverted", "data": "0x12\n"}, "0x"),
    ],
)
def test_a_revert_is_told_with_its_data(error: dict[str, Any], data: str) -> None:
    """However a node words it: a revert, and data that can be decoded."""
    why = refused(error)
    assert isinstance(why, NodeRevert)
    assert data == why.data
    bytes.fromhex(why.data[2:])


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32601, "message": "the method does not exist"},
        {"code": -32000, "message": "exceeds block gas limit"},
        {"code": -32000, "message": "gas limit exceeded"},
        "forbidden",
        ["odd"],
        {"code": 1},
        {"code": 1, "message": "x" * 10_000},
        {"code": 1, "message": "two\nlines\x1b[31m"},
    ],
)
def test_an_error_of_the_node_is_a_fault(error: Any) -> None:
    """The node's own words are in the message, bounded, and the method that it refused."""
    why = refused(error)
    assert type(why) is RpcFault
    assert why.transient
    assert "eth_call" in why.message
    assert len(why.message) < 400
    assert why.message.isprintable()


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32005, "message": "limit exceeded"},
        {"code": -32005, "message": ""},
        {"code": 429, "message": "Too Many Requests"},
        {"code": -32000, "message": "daily request count exceeded, request rate limited"},
        {"code": -32097, "message": "Your app has exceeded its compute units per second"},
        "rate limit",
    ],
)
def test_a_limit_is_told_as_a_limit(error: Any) -> None:
    why = refused(error)
    assert isinstance(why, RpcLimited)
    assert why.transient
    assert f"the node at {HOST} limits requests" in why.message
    assert why.details == {"method": "eth_call"}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("query returned more than 10000 results", RpcFault),
        ("block range limit exceeded", RpcFault),
        ("limit exceeded", RpcFault),
        ("too many requests", RpcLimited),
    ],
)
def test_too_many_logs_are_no_limit_of_requests(message: str, kind: type[Any]) -> None:
    """Some nodes use one code for both: then fewer blocks are asked for."""
    assert kind is type(refused({"code": -32005, "message": message}, "eth_getLogs"))


@pytest.mark.parametrize(
    "raw", [b"", b"<html>502</html>", b"[]", b'"x"', b"null", b"{}", b'{"message":"slow down"}']
)
def test_what_is_no_answer_is_never_a_result(raw: bytes) -> None:
    """A gateway's page must not read as null: "no such receipt"."""
    with pytest.raises(RpcAnswerInvalid) as caught:
        jsonrpc.answer(HOST, 7, ("eth_getTransactionReceipt", H2), raw)
    assert caught.value.transient

"""Logs in ranges as long as a node allows."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.source import PACKAGE
from workbench.core.errors import RpcFault, RpcLimited, WorkbenchError
from workbench.evm.rpc.client import Rpc
from workbench.evm.rpc.log_ranges import LogRanges


class Limited(Rpc):
    """A node with one log in each block, that gives those of `most` blocks at once."""

    url = "http://test"

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, 0
        self.refusal: WorkbenchError = RpcFault("the node refused eth_getLogs: range too large.")

    async def call(self, method: str, *params: Any) -> Any:
        self.asked += 1
        (query,) = params
        if "blockHash" in query:
            first = last = int(query["blockHash"], 16)
        else:
            first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first + 1 > self.most:
            raise self.refusal
        return list(range(first, last + 1))

    async def close(self) -> None: ...


class Kept:
    """The newest report."""

    reason: str | None = None

    def ok(self, name: str, key: str = "") -> None:
        self.reason = ""

    def fails(self, name: str, reason: str, key: str = "") -> None:
        assert "logs_refused" == name
        self.reason = reason


@given(
    first=st.integers(0, 50),
    count=st.integers(0, 400),
    allowed=st.lists(st.integers(1, 600), min_size=1, max_size=4),
)
def test_every_log_once_whatever_the_node_allows(
    first: int, count: int, allowed: list[int]
) -> None:
    """In their order; and its limit may change at any time."""
    node = Limited(1)
    ranges = LogRanges(node)
    for node.most in allowed:
        found = asyncio.run(ranges.between({}, first, first + count - 1))
        assert list(range(first, first + count)) == found


def test_a_refused_range_is_found_again_in_few_questions() -> None:
    """500 blocks at once where that is allowed; 1 where nothing else is; and longer again."""
    node = Limited(500)
    ranges = LogRanges(node)
    asyncio.run(ranges.between({}, 0, 999))
    assert 2 == node.asked
    node.most = 1
    asyncio.run(ranges.between({}, 0, 9))
    assert 1 == ranges.span
    node.most = 500
    asyncio.run(ranges.between({}, 0, 99_999))
    assert 500 == ranges.span


def test_a_node_that_serves_no_logs_is_reported() -> None:
    """One block, by number or by hash, refused; and that it is over."""
    node, reports = Limited(0), Kept()
    ranges = LogRanges(node, reports)
    for asked in (ranges.between({}, 3, 4), ranges.of_block({}, "0x3")):
        with pytest.raises(RpcFault):
            asyncio.run(asked)
        assert "range too large" in (reports.reason or "")
    node.most = 5
    asyncio.run(ranges.between({}, 3, 4))
    assert "" == reports.reason


def test_every_reader_of_logs_asks_in_ranges() -> None:
    """Elsewhere only the simulator asks, of one block, and the search for the first of all logs."""
    asks = {
        module.name
        for module in PACKAGE.values()
        if re.search(r"""call\(\s*(["']eth_getLogs["']|LOGS)|now\(["']eth_getLogs""", module.text)
    }
    assert {
        "workbench.evm.rpc.log_ranges",
        "workbench.evm.deploy.inspection",
        "workbench.sim.checks.auditor",
        "workbench.sim.checks.bookkeeper",
    } == asks


def test_a_node_that_limits_requests_is_not_asked_more_often() -> None:
    """Shorter ranges would be more questions."""
    node = Limited(0)
    node.refusal, ranges = RpcLimited("too many requests."), LogRanges(node)
    with pytest.raises(RpcLimited):
        asyncio.run(ranges.between({}, 0, 99))
    assert (1, 500) == (node.asked, ranges.span)

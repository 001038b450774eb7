"""The loop of services: in a served process no fault ends it; elsewhere a defect fails the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from workbench.core.errors import (
    BlockMissing,
    ChainRewound,
    RpcFault,
    RpcLimited,
    RpcUnreachable,
    StoreBusy,
    WorkbenchError,
)
from workbench.services.common.loop import (
    BACKOFF_MOST_S,
    RETRY_AFTER_MOST_S,
    FaultPolicy,
    ServiceLoop,
)
from workbench.sim.time.loop import VirtualClock, VirtualLoop
from workbench.worlds.wiring import loop_of

START_S = 1_800_000_000
POLL_S = 0.5
FAULTS: list[tuple[Exception, str]] = [
    (RpcUnreachable("no chain at http://127.0.0.1:1."), "chain"),
    (RpcFault("the node refused eth_call."), "chain"),
    (ChainRewound("the chain went back."), "chain"),
    (BlockMissing("no block 7."), "chain"),
    (StoreBusy("locked."), "store"),
    (TypeError("int() argument must be a string"), "rounds"),
    (KeyError("effectiveGasPrice"), "rounds"),
    (RecursionError(), "rounds"),
    (AssertionError(), "rounds"),
    (WorkbenchError("a typed fault."), "rounds"),
]
"""What a round may raise, and the check that is red by it."""


class Stage:
    """A service of one loop on virtual time."""

    def __init__(self, on_fault: FaultPolicy) -> None:
        self.virtual = VirtualLoop()
        self.clock = VirtualClock(self.virtual, START_S)
        self.loop: ServiceLoop = loop_of("seller", self.clock, on_fault)
        self.at_s: list[float] = []

    def run(self, tick: Callable[[], None], for_s: float) -> None:
        """Rounds of `tick` for that long. Raises what ends them."""

        async def round_() -> None:
            self.at_s.append(self.clock.now_ms() / 1000 - START_S)
            tick()

        async def play() -> None:
            running = asyncio.ensure_future(self.loop.rounds("seller", round_, POLL_S))
            await self.clock.sleep(for_s)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if not running.cancelled():
                running.result()

        self.do(play())

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        self.virtual.run_until_complete(work)


@pytest.fixture
def served() -> Iterator[Stage]:
    stage = Stage(FaultPolicy.RETRY)
    yield stage
    stage.virtual.close()


@pytest.fixture
def simulated() -> Iterator[Stage]:
    stage = Stage(FaultPolicy.RAISE)
    yield stage
    stage.virtual.close()


def failing(*faults: Exception) -> Callable[[], None]:
    """Rounds that fail so, one after the other; then they succeed."""
    left = list(faults)

    def tick() -> None:
        if left:
            raise left.pop(0)

    return tick


@pytest.mark.parametrize(("why", "check"), FAULTS, ids=lambda it: type(it).__name__)
def test_no_fault_ends_a_served_process(served: Stage, why: Exception, check: str) -> None:
    """It is an alarm by name while it lasts, counted by its code, and gone when a round is good."""
    health = served.loop.health
    served.run(failing(*[why] * 3), 1.2)
    assert [check] == list(health.alarms())
    assert not health.is_ready()
    code = why.code if isinstance(why, WorkbenchError) else type(why).__name__
    assert {code: len(served.at_s)} == dict(health.errors)
    served.run(failing(), 1.2)
    assert {} == health.alarms()


@pytest.mark.parametrize(("why", "check"), FAULTS, ids=lambda it: type(it).__name__)
def test_what_is_not_transient_fails_a_simulated_run(
    simulated: Stage, why: Exception, check: str
) -> None:
    """Waiting heals transient faults alone, at the same pace as ever."""
    if isinstance(why, WorkbenchError) and why.transient:
        simulated.run(failing(*[why] * 4), 2.2)
        assert [0, 0.5, 1.0, 1.5, 2.0] == simulated.at_s
    else:
        with pytest.raises(type(why)):
            simulated.run(failing(why), 2.2)
        assert [0] == simulated.at_s


def test_back_off_doubles_and_is_bounded(served: Stage) -> None:
    """From one poll to `BACKOFF_MOST_S`; after a good round the pace is as before."""
    served.run(failing(*[TypeError("x")] * 9), 64)
    gaps = [b - a for a, b in zip(served.at_s, served.at_s[1:], strict=False)]
    assert [0.5, 1, 2, 4, 8, BACKOFF_MOST_S, BACKOFF_MOST_S, BACKOFF_MOST_S] == gaps[:8]
    assert gaps[9:] == []
    served.run(failing(), 1.2)
    assert [0.5, 0.5] == [round(b - a, 3) for a, b in zip(served.at_s[-3:], served.at_s[-2:])]  # noqa: B905


@pytest.mark.parametrize(
    ("asked", "wait_s"), [(40, 40), (0.1, 0.5), (10**9, RETRY_AFTER_MOST_S), ("soon", 0.5)]
)
def test_a_node_that_limits_us_is_believed(served: Stage, asked: Any, wait_s: float) -> None:
    """`retry_after_s` of the fault, within bounds; what is no number of seconds is ignored."""
    served.run(failing(RpcFault("too many requests.", retry_after_s=asked)), 400)
    assert wait_s == served.at_s[1]


def test_a_defect_is_logged_with_its_trace_once(
    served: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A transient fault in one line, once; and that it is over."""
    with caplog.at_level(logging.WARNING, logger="workbench"):
        served.run(failing(*[TypeError("that is none")] * 3), 6)
        traced = [each for each in caplog.records if each.exc_info]
        assert 1 == len(traced)
        assert "that is none" in traced[0].getMessage()
        caplog.clear()
        served.run(failing(*[RpcUnreachable("nobody there.")] * 3), 6)
    lines = [each.getMessage() for each in caplog.records]
    assert ["seller: chain: nobody there.", "seller: chain: well again"] == lines


def test_a_part_fails_by_itself(served: Stage) -> None:
    """What follows it is done, at the usual pace; its alarm is gone after a round without it."""
    whys = [KeyError("status"), RpcFault("refused."), None]
    red = []

    def tick() -> None:
        why = whys.pop(0) if whys else None
        with served.loop.part("settlement 1"):
            if why:
                raise why
        red.append(list(served.loop.health.alarms()))

    served.run(tick, 1.7)
    assert [["rounds"], ["chain"], ["chain"], []] == red
    assert [0, 0.5, 1, 1.5] == served.at_s


def test_another_loop_of_the_service_keeps_its_alarm(served: Stage) -> None:
    """A good round of the main loop says nothing about a receiver's own loop."""

    async def defective() -> None:
        raise KeyError("seq")

    async def play() -> None:
        other = asyncio.ensure_future(served.loop.rounds("webhook 1", defective, POLL_S))
        main = asyncio.ensure_future(served.loop.rounds("seller", good, POLL_S))
        await served.clock.sleep(20)
        assert ["rounds"] == list(served.loop.health.alarms())
        for task in (other, main):
            task.cancel()

    async def good() -> None:
        served.at_s.append(0)

    served.do(play())
    assert 40 <= len(served.at_s)


COMMON = [RpcUnreachable("away."), RpcLimited("later."), StoreBusy("locked.")]


@pytest.mark.parametrize("why", COMMON)
def test_what_all_parts_would_meet_ends_the_round(served: Stage, why: Exception) -> None:
    with pytest.raises(type(why)), served.loop.part("settlement 1"):
        raise why


def test_a_part_that_fails_fails_a_simulated_run(simulated: Stage) -> None:
    with pytest.raises(KeyError), simulated.loop.part("settlement 1"):
        raise KeyError("status")


def test_a_round_that_hangs_is_an_alarm(served: Stage) -> None:
    """No fault, and no end: the age of the last good round tells."""
    served.run(lambda: None, 1)

    async def hang() -> None:
        await served.clock.sleep(10**6)

    async def play() -> None:
        running = asyncio.ensure_future(served.loop.rounds("seller", hang, POLL_S))
        await served.clock.sleep(700)
        running.cancel()

    assert {} == served.loop.health.alarms()
    served.do(play())
    assert "has not succeeded for 11 minutes" in served.loop.health.alarms()["rounds"]

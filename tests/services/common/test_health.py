"""The registry of checks: which are red, since when, and what each caller is shown."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.source import ROOT
from workbench.core.errors import RpcFault
from workbench.services.common.checks import CHECKS, SERVICES
from workbench.services.common.health import Health

ALL = tuple(CHECKS)


class Hand:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.at_s = 1_800_000_000.0

    def now_ms(self) -> int:
        return int(self.at_s * 1000)

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def health(clock: Hand) -> Health:
    return Health(clock, "payouts", ALL)


def test_a_new_service_is_well(health: Health) -> None:
    assert ({}, True) == (health.alarms(), health.is_ready())


def test_a_check_that_could_not_run_is_an_alarm_by_name_and_reason(clock: Hand) -> None:
    """Not at once: a node may lag. And its text says since when, why, and what to do."""
    health = Health(clock, "payouts", ["reconciliation", "chain"])
    health.ok("reconciliation")
    clock.at_s += 500
    health.fails("reconciliation", "the node refuses eth_getLogs: too many blocks.")
    assert {} == health.alarms()
    clock.at_s += 101
    assert {
        "reconciliation": "reconciliation has not succeeded for 10 minutes: the node refuses "
        "eth_getLogs: too many blocks. Until then a loss would not be noticed."
    } == health.alarms()
    health.ok("reconciliation")
    assert {} == health.alarms()


@pytest.mark.parametrize("name", [name for name in ALL if CHECKS[name].max_age_s])
def test_a_check_that_never_ran_is_an_alarm(name: str, health: Health, clock: Hand) -> None:
    """Silence is never health."""
    clock.at_s += (CHECKS[name].max_age_s or 0) + 1
    assert "it did not come to its end" in health.alarms()[name]
    assert health.report()[name] == {"ok": False, "age_s": None}


@pytest.mark.parametrize("name", ALL)
def test_every_reason_that_lasts_is_an_alarm(name: str, health: Health, clock: Hand) -> None:
    """And is gone with it; its text ends with what to do."""
    health.ok(name)
    for _ in range(130):
        health.fails(name, "it is so.")
        clock.at_s += 5
        health.ok("rounds") if name != "rounds" else None
    assert health.alarms()[name].endswith(CHECKS[name].remedy)
    assert "it is so." in health.alarms()[name]
    health.ok(name)
    assert name not in health.alarms()


def test_grace(health: Health, clock: Hand) -> None:
    """A single refused send is none of the operator's; one that lasts is."""
    health.fails("sends_refused", "underpriced.")
    clock.at_s += 59
    health.fails("sends_refused", "underpriced.")
    assert {} == health.alarms()
    clock.at_s += 1
    assert ["sends_refused"] == list(health.alarms())


def test_what_nobody_tells_again_is_forgotten(health: Health, clock: Hand) -> None:
    """Where nothing would tell that it is over."""
    health.fails("requests", "a defect: KeyError; its trace is in the log.")
    assert ["requests"] == list(health.alarms())
    assert health.is_ready(), "a warning takes no service away from its users"
    clock.at_s += 600
    assert "requests" not in health.alarms()


def test_several_things_of_one_check(health: Health) -> None:
    """Each has its reason; few are named, and the others are counted."""
    for number in range(5):
        health.fails("payout_stuck", f"payout {number} waits.", str(number))
    health._clock.at_s += 60  # type: ignore[attr-defined]
    assert health.alarms()["payout_stuck"].startswith(
        "payout 0 waits; payout 1 waits; payout 2 waits; and 2 more. Look"
    )
    health.keep("payout_stuck", {"4"})
    assert health.alarms()["payout_stuck"].startswith("payout 4 waits. Look")
    health.ok("payout_stuck", "4")
    assert {} == health.alarms()


def test_a_check_of_another_process_rests(health: Health, clock: Hand) -> None:
    """It neither ages nor fails, until it is ours again."""
    health.fails("reconciliation", "the node is away.")
    health.rest("reconciliation")
    clock.at_s += 10_000
    assert "reconciliation" not in health.alarms()
    health.ok("reconciliation")
    clock.at_s += 10_000
    assert "reconciliation" in health.alarms()


@given(jumps=st.lists(st.integers(-400 * 86_400, 400 * 86_400), min_size=1, max_size=6))
def test_a_clock_that_jumps_hides_nothing(jumps: list[int]) -> None:
    """Whatever it does, a check that does not succeed is red at the latest after its age."""
    clock = Hand()
    health = Health(clock, "payouts", ["reconciliation"])
    health.ok("reconciliation")
    for jump in jumps:
        clock.at_s += jump
        health.alarms()
    clock.at_s += 601
    assert ["reconciliation"] == list(health.alarms())


def test_who_may_not_see_reasons_sees_names_and_words(health: Health) -> None:
    """No payout's id, transaction, receiver, nor the node's host and port."""
    health.fails("signer_quarantined", "payout 0xabc to 0xdef at http://10.0.0.7:8545.")
    health.fails("chain", "no chain at http://10.0.0.7:8545.")
    assert "10.0.0.7" in str(health.shown(to_all=False))
    told = health.shown(to_all=True)
    assert ["chain", "signer_quarantined"] == list(told)
    assert not re.search(r"0x|10\.0\.0|8545|http", str(told) + str(health.report()))


def test_faults_are_counted_by_code(health: Health) -> None:
    health.count(RpcFault("refused."))
    health.count(KeyError("x"))
    lines = health.metrics()
    assert 'payouts_errors_total{code="rpc_fault"} 1' in lines
    assert 'payouts_errors_total{code="KeyError"} 1' in lines
    assert 'payouts_alarm{name="chain"} 0' in lines


# --- The table ---


HEADER = "| Alarm | Meaning | What to do |"


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Return the rows of the table of alarms: meaning and remedy by name."""
    table = text.partition(HEADER)[2].partition("\n\n")[0]
    found = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    return {name: (says, do) for name, says, do in found}


def row_problems(text: str) -> list[str]:
    """Return the differences between the guide and the registry."""
    told = rows(text)
    problems = [f"the guide has no row for {name}" for name in CHECKS if name not in told]
    problems += [
        f"the guide has a row for {name}, and no check" for name in told if name not in CHECKS
    ]
    for name in CHECKS.keys() & told.keys():
        if told[name] != (CHECKS[name].meaning, CHECKS[name].remedy):
            problems.append(f"the row of {name} differs from the registry")
    return problems


def test_every_alarm_is_documented() -> None:
    """One row for each, with what to do; a name that nobody registers has none."""
    guide = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
    assert [] == row_problems(guide), f"the table as it must be:\n{alarm_table()}"
    assert CHECKS.keys() == {name for names in SERVICES.values() for name in names}
    for planted in ("| `chain` |", "| `fees` |"):
        assert 1 <= len(row_problems(guide.replace(planted, "| `unknown` |")))


def alarm_table() -> str:
    """Return the table as it must be in the guide."""
    lines = [f"| `{c.name}` | {c.meaning} | {c.remedy} |" for c in CHECKS.values()]
    return "\n".join([HEADER, "|---|---|---|", *lines])

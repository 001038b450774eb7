"""The panel without a front end: its buttons are clicked in Python, its widgets are read."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sim.scenarios import paying, small
from workbench.commands import play
from workbench.core.errors import InputError
from workbench.lab import panel_parts as parts
from workbench.lab.controls import CHOSEN, settings_of
from workbench.lab.panel import _OF_CELL, Panel, panel
from workbench.lab.scenarios import found, shipped
from workbench.results.run import Run
from workbench.scenario import Scenario, fault_fields, fields, order_for

WAIT_S = 300.0


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A folder for runs. At the end the panel of this test is closed, and no node is left."""
    before = nodes()
    yield tmp_path / "runs"
    last = _OF_CELL.pop("", None)
    made = last() if last else None
    if made is not None:
        made.close()
    assert nodes() <= before


def nodes() -> set[int]:
    """The chain's nodes that this process has started."""
    found = psutil.Process().children(recursive=True)
    return {each.pid for each in found if "anvil" in each.name()}


def told(html: Any) -> str:
    """What a widget of HTML says, without its marks."""
    return unescape(re.sub("<[^>]*>", "", html.value))


def played(made: Panel) -> Run:
    """Run, to the end, as fast as it can."""
    made.parts.pace.value = "max"
    made.parts.run.click()
    assert made.session is not None, told(made.parts.error)
    return made.session.wait(WAIT_S)


# --- Settings ---


@pytest.mark.parametrize("name", sorted(shipped()))
def test_settings_that_nobody_touches_change_nothing(name: str, runs: Path) -> None:
    """All fields, through their controls and back, are the words that the file has."""
    scenario = found(name)
    every = tuple(field.path for field in fields(scenario))
    made = panel(name, settings=every, runs=runs)
    controls = {each.field.path: each for each in made._settings}
    assert list(controls) == list(every)
    for field in fields(scenario):
        assert controls[field.path].words == (field.value or ""), field.path
    assert made._chosen() == scenario


def test_the_usual_settings_have_a_name_and_a_unit(runs: Path) -> None:
    made = panel("happy-path", runs=runs)
    shown = [
        (each.label, each.input.value, [child.value for child in each.box.children[0].children[1:]])
        for each in made._settings
    ]
    assert shown == [
        ("Block time", "2", ["s"]),
        ("Finality", "2", ["blocks"]),
        ("Time to fund", "600", ["s"]),
        ("Time to swap", "600", ["s"]),
        ("Rate band", "1", ["%"]),
    ]
    assert [each.field.path for each in settings_of(found("happy-path"), CHOSEN)] == list(CHOSEN)


def test_a_setting_is_played_as_it_was_entered(runs: Path) -> None:
    """With its unit and without, and money to the last digit."""
    paths = ("chain.block_time", "market.pool", "market.band")
    made = panel(small(), settings=paths, runs=runs)
    block, pool, band = made._settings
    block.input.value, pool.input.value, band.input.value = "3", "20000.123456 USDC", "0.5 %"
    chosen = made._chosen()
    written = {field.path: field.value for field in fields(chosen)}
    assert [written[path] for path in paths] == ["3 s", "20000.123456 USDC", "0.5 %"]


@pytest.mark.parametrize(
    ("path", "wrong", "right"),
    [
        ("seller.quote_lifetime", "99999999", "40"),
        ("chain.finality", "many", "3"),
        ("market.band", "", "2 %"),
    ],
)
def test_what_cannot_be_used_is_said_below_its_field(
    path: str, wrong: str, right: str, runs: Path
) -> None:
    made = panel("happy-path", settings=(path,), runs=runs)
    (setting,) = made._settings
    setting.input.value = wrong
    assert 'role="alert"' in setting.error.value
    assert told(setting.error).startswith(setting.label)
    assert made.parts.run.disabled
    made.parts.run.click()
    assert made.session is None
    assert "cannot be used" in told(made.parts.error)
    setting.input.value = right
    assert (setting.error.value, made.parts.run.disabled) == ("", False)


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "", "٣", str(2**63), "1" * 30])
def test_a_seed_that_is_none_is_said(wrong: str, runs: Path) -> None:
    made = panel("happy-path", runs=runs)
    made.parts.seed.value = wrong
    assert told(made.parts.seed_error).startswith("Seed is ")
    assert made.parts.run.disabled
    made.parts.seed.value = "4"
    made.parts.next_seed.click()
    assert made.parts.seed.value == "5"
    assert (made.parts.seed_error.value, made.parts.run.disabled) == ("", False)


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "fast", "1e12"])
def test_a_pace_that_is_none_is_said(wrong: str, runs: Path) -> None:
    made = panel("happy-path", runs=runs)
    made.parts.pace.value = wrong
    assert told(made.parts.error).startswith("Pace is ")
    made.parts.pace.value = "max"
    assert made.parts.error.value == ""
    assert parts.pace_of(made.parts) is None
    assert made.parts.pace_unit.value == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("now", None), ("", None), ("150", 150.0), ("2:30", 150.0), ("2.5 s", 2.5), ("0", 0.0)],
)
def test_moments_as_people_write_them(text: str, seconds: float | None, runs: Path) -> None:
    made = panel("happy-path", runs=runs)
    made.parts.when.value = text
    assert parts.when_of(made.parts) == seconds


@pytest.mark.parametrize("text", ["later", "1:2:3", ":", "1:-3", "-1:00", "1:75"])
def test_moments_that_are_none(text: str, runs: Path) -> None:
    made = panel("happy-path", runs=runs)
    made.parts.when.value = text
    with pytest.raises(InputError, match="When is "):
        parts.when_of(made.parts)


# --- Scenarios ---


def test_a_scenario_that_cannot_be_read_is_said_and_another_can_be_chosen(
    runs: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("duration: soon\n", encoding="utf-8")
    for scenario in ("no-such", wrong, tmp_path / "none.yaml"):
        made = panel(scenario, runs=runs)
        assert 'role="alert"' in made.parts.error.value
        assert made.parts.run.disabled
        made.parts.run.click()
        assert made.session is None
        made.parts.scenario.value = "happy-path"
        assert (made.parts.error.value, made.parts.run.disabled) == ("", False)
        made.parts.scenario.value = str(scenario)
        assert made.parts.run.disabled


def test_a_scenario_that_was_given_can_be_chosen_again(runs: Path) -> None:
    """It has no file of its name."""
    scenario = small(seed=8)
    made = panel(scenario, runs=runs)
    made.parts.scenario.value = "storm"
    made.parts.scenario.value = "small"
    assert (made._chosen(), made.parts.seed.value) == (scenario, "8")


@pytest.mark.parametrize("scenario", [found("happy-path"), found("storm"), small(), paying()])
def test_each_fault_that_a_scenario_can_take_is_usable_as_it_stands(
    scenario: Scenario, runs: Path
) -> None:
    """The parameter beside a site is one that can be ordered, and means the site's usual value."""
    made = panel(scenario, runs=runs)
    sites = [value for _, value in made.parts.site.options]
    assert sorted(sites) == sorted(each.name for each in fault_fields())
    for field in fault_fields():
        if field.name == "crash.payouts" and scenario.payouts is None:
            continue
        made.parts.site.value = field.name
        order = order_for(scenario, field.name, made.parts.parameter.value)
        assert order.number == order_for(scenario, field.name).number
        assert made.parts.parameter_unit.value == field.unit


# --- A run ---


def test_a_run_is_kept_and_can_be_repeated(runs: Path) -> None:
    """With the fault that was ordered in it; the panel holds the session and the run."""
    made = panel(small(), runs=runs)
    assert (made.session, made.run) == (None, None)
    made.parts.run.click()
    session = made.session
    assert session is not None
    session.pause()
    made.parts.when.value = "2:00"
    made.parts.order.click()
    assert told(made.parts.error) == "When is '2:00', and faults of this run happen until 2:00 min."
    made.parts.when.value = "0:50"
    made.parts.order.click()
    assert made.parts.error.value == ""
    made.parts.pace.value = "max"
    made.parts.run.click()
    run = session.wait(WAIT_S)
    assert made.run is run
    assert run.finished
    assert [(order.site, order.at_s) for order in run.orders] == [("crash.facilitator", 50.0)]
    assert "Kill the facilitator" in told(made.parts.orders)
    (folder,) = runs.iterdir()
    assert told(made.parts.repeat) == f"Repeat it: workbench replay runs/{folder.name}"
    assert play.replay(folder, lambda _: None).trace_hash == run.trace_hash
    made.parts.again.click()
    second = made.session
    assert second is not None
    assert second is not session
    again = second.wait(WAIT_S)
    assert (again.orders, again.finished) == ((), True)


def test_settings_are_locked_while_a_run_goes_on(runs: Path) -> None:
    made = panel("happy-path", runs=runs)
    locked = [made.parts.scenario, made.parts.seed, made.parts.next_seed]
    locked += [each.input for each in made._settings]
    made.parts.run.click()
    assert made.session is not None
    assert all(each.disabled for each in locked)
    assert told(made.parts.note).startswith("Fixed while the run goes on.")
    made.session.pause()
    made.parts.pace.value = "9"
    assert made.session.pace == 9.0
    block = made.session.progress.block
    made.parts.step.click()
    assert (made.session.progress.block, made.session.state) == ((block or 0) + 1, "paused")
    assert made.parts.run.description == "Resume"
    made.parts.stop.click()
    assert made.session.wait(WAIT_S).finished is False
    assert not any(each.disabled for each in locked)
    assert (made.parts.note.value, made.parts.run.description) == ("", "Run")
    assert all(each.disabled for each in (made.parts.step, made.parts.stop, made.parts.order))


def test_an_order_without_a_run_and_after_its_end_is_answered(runs: Path) -> None:
    made = panel(small(), runs=runs)
    made.parts.order.click()
    assert told(made.parts.error).startswith("Nothing runs that a fault could hit")
    played(made)
    made.parts.order.click()
    assert told(made.parts.error).startswith("This run is over")


def test_the_panel_of_a_run_shows_it(runs: Path) -> None:
    run = played(panel(small(), runs=runs))
    made = panel(run, runs=runs)
    assert made.run is run
    assert made.tracker.state == "done"
    assert made.parts.seed.value == "3"


def test_the_cell_that_runs_again_ends_what_its_first_panel_plays(runs: Path) -> None:
    others = nodes()
    first = panel("happy-path", runs=runs)
    first.parts.run.click()
    session = first.session
    assert session is not None
    session.pause()
    assert len(nodes() - others) == 1
    second = panel("happy-path", runs=runs)
    assert session.state == "stopped"
    assert nodes() == others
    assert first.tracker.comm is None
    assert second.tracker.comm is not None
    assert second.session is None


def test_a_panel_that_is_closed_ends_its_run(runs: Path) -> None:
    others = nodes()
    made = panel("happy-path", runs=runs)
    made.parts.run.click()
    session = made.session
    assert session is not None
    made.close()
    assert session.state == "stopped"
    assert nodes() == others
    gc.collect()


def test_what_a_panel_is_called_names_no_address(runs: Path) -> None:
    made = panel(small(), runs=runs)
    assert repr(made) == "Panel(small, not started)"
    played(made)
    assert repr(made) == "Panel(small, done)"
    assert repr(panel("no-such", runs=runs)) == "Panel(no scenario, not started)"

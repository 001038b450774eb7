"""Scenarios by name, path or run."""

from __future__ import annotations

from pathlib import Path

from workbench.core.errors import InputError, ScenarioError
from workbench.evm.build.toolchain import project_root
from workbench.results.run import Run
from workbench.scenario import Scenario, load
from workbench.scenario.kinds import closest


def shipped() -> dict[str, Path]:
    """Return the scenario files of the project, by name."""
    return {path.stem: path for path in sorted((project_root() / "scenarios").glob("*.yaml"))}


def found(scenario: str | Path | Scenario | Run) -> Scenario:
    """Return the scenario of a name, a path, or a run. Raises ScenarioError, InputError."""
    if isinstance(scenario, Scenario):
        return scenario
    if isinstance(scenario, Run):
        if scenario.scenario is None:
            raise InputError(
                "this run was made by hand and has no scenario.",
                hint="Show it with tracker(run).",
            )
        return scenario.scenario
    if not isinstance(scenario, str | Path):
        raise InputError(
            f"a {type(scenario).__name__} is no scenario.",
            hint='Give a name such as "storm", a path, a Scenario, or a Run.',
        )
    known = shipped()
    if str(scenario) in known:
        return load(known[str(scenario)])
    path = Path(scenario)
    if path.suffix in (".yaml", ".yml"):
        return load(path)
    raise ScenarioError(f"there is no scenario {str(scenario)!r}{closest(str(scenario), [*known])}")


def names_of(scenario: object) -> tuple[list[str], str]:
    """Return the names to choose from, and the chosen one."""
    names = list(shipped())
    if isinstance(scenario, Scenario):
        chosen = scenario.name
    elif isinstance(scenario, Run):
        chosen = scenario.scenario.name if scenario.scenario else "a run"
    else:
        chosen = str(scenario)
    return (names if chosen in names else [chosen, *names]), chosen

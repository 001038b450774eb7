"""Scenarios: run, replay, check, show, fields, list, schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.core.errors import NotFound

if TYPE_CHECKING:
    pass
from workbench.cli.output import clean_exit, progress
from workbench.cli.root import main


@main.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Another than the file's.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help='Change a value of the file, such as chain.finality="5 blocks".')  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"),
              help="Folder in which the run is kept.")  # fmt: skip
@click.option("--no-notebook", is_flag=True, help="Only the run: no executed notebook beside it.")
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def run_command(
    file: Path,
    seed: int | None,
    settings: tuple[str, ...],
    runs: Path,
    no_notebook: bool,
    as_json: bool,
) -> None:
    """Play the scenario of FILE on virtual time, check every invariant, and keep the run.

    The same file and seed give the same run, byte for byte. Ctrl-C and SIGTERM keep what was run.
    Exit code 0 means: everything ended, and no invariant was broken.
    """
    with clean_exit(as_json):
        from workbench.commands.play import play
        from workbench.scenario import assignments, load

        chosen = load(file, assignments(settings))
        played = play(chosen, seed, runs=runs, notebook=not no_notebook, say=progress)
        if as_json:
            click.echo(json.dumps(played.summary()))
        else:
            _show_run(played)
        if played.interrupt is not None:
            raise played.interrupt
        sys.exit(0 if played.sound else 1)


@main.command("replay")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def replay_command(run_dir: Path, as_json: bool) -> None:
    """Play the run in RUN_DIR once more: the same facts, or the first that differs."""
    with clean_exit(as_json):
        from workbench.commands.play import replay

        again = replay(run_dir, progress)
        if as_json:
            click.echo(json.dumps({"status": "equal", "trace_hash": again.trace_hash}))
        else:
            click.echo(f"Equal: {len(again.events)} facts, trace {again.trace_hash}")


@main.group()
def scenario() -> None:
    """Scenario files, scenarios/*.yaml: check, show and list them.

    Their format: `workbench scenario schema`, or the examples in scenarios/.
    """


_SET = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help='Another value, such as chain.finality="5 blocks"; may be repeated.',
)


@scenario.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_SET
@click.option("--json", "as_json", is_flag=True, help="One JSON line: status, files, problems.")
def scenario_check(files: tuple[Path, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """Read all FILES, and report every problem of each, by line and field.

    Exit code 1 if there is a problem.
    """
    with clean_exit(as_json):
        from workbench.scenario import assignments, survey

        _tell_scenarios(survey(files, assignments(settings)), as_json)


@scenario.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@_SET
@click.option("--json", "as_json", is_flag=True,
              help="One JSON line: what a run keeps, and `values` as integers.")  # fmt: skip
def scenario_show(file: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Print the scenario of FILE with every default, as a scenario file."""
    with clean_exit(as_json):
        from dataclasses import asdict

        from workbench.scenario import assignments, load, to_yaml

        shown = load(file, assignments(settings))
        if as_json:
            click.echo(json.dumps(shown.to_json() | {"values": asdict(shown)}))
        else:
            click.echo(to_yaml(shown), nl=False)


@scenario.command("fields")
@click.argument("file", type=click.Path(path_type=Path))
@_SET
@click.option("--json", "as_json", is_flag=True,
              help="One JSON line: `fields`, and the `faults` one can order.")  # fmt: skip
def scenario_fields(file: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """List every value that --set can change in FILE: unit, bounds, default, and meaning."""
    with clean_exit(as_json):
        from workbench.scenario import assignments, fault_fields, load

        found = load(file, assignments(settings)).fields()
        if as_json:
            faults = [each.to_json() for each in fault_fields()]
            click.echo(json.dumps({"fields": [each.to_json() for each in found], "faults": faults}))
            return
        for each in found:
            value = "not in this scenario" if each.value is None else each.value
            bounds = f"{each.minimum} to {each.maximum}" if each.minimum else ""
            words = " | ".join(each.choices)
            default = f"default {each.default}" if each.default else ""
            told = ", ".join(filter(None, (each.type, bounds, words, default)))
            click.echo(f"{each.path}: {value}\n    {told}\n    {each.help}")


@scenario.command("list")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("scenarios"),
              show_default=True, help="Where the files are.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON line: status, files, problems.")
def scenario_list(folder: Path, as_json: bool) -> None:
    """Name the scenario files of a folder, with the question that each answers."""
    with clean_exit(as_json):
        from workbench.scenario import survey

        found = survey(sorted(folder.glob("*.yaml")))
        if not found:
            raise NotFound(f"{folder} holds no scenario file.", hint="Give another with --folder.")
        _tell_scenarios(found, as_json, about=True)


@scenario.command("schema")
def scenario_schema() -> None:
    """Print the format as JSON Schema, for editors (the text of scenarios/schema.json)."""
    from workbench.scenario import schema_text

    click.echo(schema_text(), nl=False)


def _tell_scenarios(found: list[dict[str, Any]], as_json: bool, about: bool = False) -> None:
    """A line or two for each sound file; all problems of the others on stderr, and exit code 1."""
    bad = any(each["problems"] for each in found)
    if as_json:
        click.echo(json.dumps({"status": "failed" if bad else "ok", "files": found}))
    for each in [] if as_json else found:
        for problem in each["problems"]:
            click.echo(click.style(problem["text"], fg="red"), err=True)
        if not each["problems"]:
            faults = f", faults {' '.join(each['faults'])}" if each["faults"] else ""
            plant = f", plants {each['plant']}" if each["plant"] else ""
            who = [f"{each[role]} {role}" for role in ("buyers", "users") if each[role]]
            many = ", ".join([*who, each["duration"]])
            click.echo(f"{each['file']}: ok, {many}{faults}{plant}")
            if about:
                click.echo(f"  {each['about']}")
    if bad:
        sys.exit(1)


def _show_run(played: Any) -> None:
    run = played.run
    outcomes = ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in run.outcomes.items())
    click.echo(f"{outcomes or 'no buyer'}; {len(run.events)} facts; trace {run.trace_hash}")
    rare = [f"{name} {count}" for name, count in run.sometimes.items() if count]
    click.echo(f"  paths taken: {', '.join(rare) or 'none'}")
    for fact in run.events:
        if fact.type == "InvariantBroken":
            click.echo(click.style("  broken: ", fg="red") + f"{fact.invariant}: {fact.message}")
    if not run.finished:
        click.echo("  stopped before its end; what was run until then is kept.")
    elif played.sound:
        click.echo("  every invariant held, in every block.")
    if played.notebook:
        click.echo(f"  notebook: {played.notebook}")
    if run.finished:
        click.echo(f"  again: workbench replay {played.run_dir}")

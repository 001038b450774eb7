"""The commands `workbench scenario check`, `show`, `list` and `schema`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.scenario.files import FOLDER, LEAST
from tests.scenario.test_scenario import OURS
from workbench.scenario import (
    PLANTS,
    Scenario,
    load,
    parse,
)

COMMAND = [str(Path(sys.executable).with_name("workbench")), "scenario"]


def run(*arguments: str, cwd: Path = FOLDER.parent) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_check_reads_every_file_and_tells_everything(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(LEAST, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(LEAST + "sed: 1\nplant: x\n", encoding="utf-8")
    done = run("check", "bad.yaml", "good.yaml", "none.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "good.yaml: ok, 2 buyers, 10 min\n"
    assert done.stderr.splitlines() == [
        'bad.yaml:5: sed: is an unknown field; did you mean "seed"?',
        f'bad.yaml:6: plant: "x" is not known; known are {", ".join(PLANTS)}, none.',
        "none.yaml: there is no such file.",
    ]
    told = json.loads(run("check", "bad.yaml", "good.yaml", "--json", cwd=tmp_path).stdout)
    assert told["status"] == "failed"
    assert [len(each["problems"]) for each in told["files"]] == [2, 0]
    assert told["files"][0]["problems"][0] == {
        "where": "bad.yaml:5",
        "field": "sed",
        "message": 'is an unknown field; did you mean "seed"?',
        "text": 'bad.yaml:5: sed: is an unknown field; did you mean "seed"?',
    }
    settled = run("check", "good.yaml", "--set", "chain.finality=5 blocks", "--json", cwd=tmp_path)
    assert (settled.returncode, json.loads(settled.stdout)["status"]) == (0, "ok")


def test_show_prints_a_scenario_file_with_every_default(tmp_path: Path) -> None:
    shown = run("show", "scenarios/happy-path.yaml", "--set", "seed=8")
    assert shown.returncode == 0
    base = load(FOLDER / "happy-path.yaml")
    assert parse(shown.stdout, "happy-path.yaml") == replace(base, seed=8)
    told = json.loads(run("show", "scenarios/happy-path.yaml", "--json").stdout)
    values = told.pop("values")
    assert Scenario.from_json(told) == base
    assert values["chain"]["block_time_ms"] == 2_000
    failed = run("show", "scenarios/happy-path.yaml", "--json", "--set", "seed=x")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"] == "scenario_invalid"
    assert '--set: seed: "x" is not a whole number' in failed.stderr


def test_list_names_the_questions_and_schema_prints_the_kept_one(tmp_path: Path) -> None:
    listed = json.loads(run("list", "--json").stdout)["files"]
    assert [each["file"] for each in listed] == [f"scenarios/{path.name}" for path in OURS]
    assert all(each["about"] and not each["problems"] for each in listed)
    assert run("list").stdout.count(": ok, ") == len(OURS)
    empty = run("list", cwd=tmp_path)
    assert empty.returncode == 1
    assert "scenarios holds no scenario file." in empty.stderr
    assert run("schema").stdout == (FOLDER / "schema.json").read_text(encoding="utf-8")

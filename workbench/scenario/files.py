"""Files and words into a `Scenario`, and a `Scenario` into words again.

Whatever the words come from, a file, a run's folder or `--set`, they are read by the one table,
and all problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from workbench.core.errors import ScenarioError
from workbench.scenario.checks import contradictions
from workbench.scenario.fields import fields
from workbench.scenario.kinds import NONE, ValueKind
from workbench.scenario.model import RatePath, Scenario
from workbench.scenario.reading import FieldPath, Reading, shown
from workbench.scenario.series import Series, held, read_series, series_problems
from workbench.scenario.table import (
    FAULTS,
    FILE,
    MAX_RATE_E8,
    MIN_RATE_E8,
    TableField,
    TableSection,
)
from workbench.scenario.tree import (
    MAX_BYTES,
    ScenarioProblem,
    TreeNode,
    UnreadableText,
    dotted,
    from_plain,
    parse_tree,
)

FORMAT = 1
"""Version of `Scenario.to_json`."""
MOST_TOLD = 50
FindSeries = Callable[[str], tuple[Series, list[ScenarioProblem]]]


def load(path: Path | str, settings: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario of a file, with `settings` as for `override`. Raises ScenarioError."""
    path = Path(path)
    where = path.as_posix()
    try:
        if not path.is_file():
            _refuse([ScenarioProblem(where, "", "there is no such file.")])
        if path.stat().st_size > MAX_BYTES:
            _refuse([ScenarioProblem(where, "", f"is larger than {MAX_BYTES:,} bytes.")])
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        _refuse([ScenarioProblem(where, "", "cannot be read as UTF-8 text.")])
    scenario = parse(text, where, path.parent)
    return override(scenario, settings, "--set", path.parent) if settings else scenario


def parse(text: str, where: str = "<text>", folder: Path | str = ".") -> Scenario:
    """The scenario that a text describes. `folder`: where its files are. Raises ScenarioError."""
    try:
        node, problems = parse_tree(text, where)
    except UnreadableText as why:
        _refuse([why.problem])
    if node is None:
        _refuse([ScenarioProblem(where, "", "is empty.")])
    name = Path(where.strip("<>")).stem or "scenario"
    return _read(node, name, lambda file: read_series(Path(folder) / file), problems)


def override(
    scenario: Scenario,
    settings: Mapping[str, Any],
    where: str = "override",
    folder: Path | str = ".",
) -> Scenario:
    """The scenario with other settings, in the words of a file: `{"chain.finality": "5 blocks"}`.

    A list is entered by number (`buyers.0.count`), or whole (`buyers.count`: every group's); a
    fault by its site (`faults.http.lost.chance`). Raises ScenarioError.
    """
    tree, set_at, problems = words(scenario), set[FieldPath](), list[ScenarioProblem]()
    for name, value in settings.items():
        found = _place(tree, _parts(name), value, ())
        set_at.update(found)
        if not found:
            problems.append(ScenarioProblem(where, dotted((name,)), "is no setting."))
    if problems:
        _refuse(problems)
    _prune(FILE, tree, (), set_at)

    def find(file: str) -> tuple[Series, list[ScenarioProblem]]:
        path = scenario.market.path
        if path.points and file == path.file:
            return held(path.points, file), []
        return read_series(Path(folder) / file)

    return _read_plain(tree, scenario.name, find, where)


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """`("chain.finality=5 blocks",)` for `override`. Raises ScenarioError."""
    bad = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if bad:
        told = 'is no setting; write such as chain.finality="5 blocks".'
        _refuse([ScenarioProblem("--set", "", f"{shown(text)} {told}") for text in bad])
    pairs = (text.partition("=") for text in texts)
    return {name.strip(): value.strip() for name, _, value in pairs}


def survey(
    paths: Iterable[Path], settings: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """What each file holds in short, and its `problems`: JSON-ready, and never an error."""
    return [_surveyed(path, settings) for path in paths]


def _surveyed(path: Path, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    file = path.as_posix()
    try:
        found = load(path, settings)
    except ScenarioError as why:
        return {"file": file, "problems": why.details["problems"]}
    return {
        "file": file,
        "problems": [],
        "name": found.name,
        "about": found.about,
        "seed": found.seed,
        "duration": words(found)["duration"],
        "buyers": sum(group.count for group in found.buyers),
        "users": sum(group.count for group in found.payouts.users) if found.payouts else 0,
        "faults": list(dict.fromkeys(fault.site for fault in found.faults)),
        "plant": found.plant,
    }


# --- A scenario as words ---


def words(scenario: Scenario) -> dict[str, Any]:
    """Every value as a file would say it, defaults too: plain data, ready for YAML."""
    told = _section_words(FILE, scenario)
    faults: dict[str, Any] = {}
    for fault in scenario.faults:
        said = _section_words(FAULTS[fault.site], fault)
        if fault.stop_s == scenario.duration_s:  # Then it follows the duration, also when set anew.
            del said["stop"]
        faults.setdefault(fault.site, []).append(said)
    plain = {site: each[0] if len(each) == 1 else each for site, each in faults.items()}
    plant = told.pop("plant")
    return {**told, "faults": plain, "plant": plant}


def to_yaml(scenario: Scenario) -> str:
    """The words as a scenario file."""
    text: str = yaml.safe_dump(words(scenario), sort_keys=False, allow_unicode=True, width=100)
    return text


def _section_words(section: TableSection, value: Any) -> dict[str, Any]:
    model = getattr(value, "model", "")
    return {item.name: _item_words(item, value) for item in section.items if item.used_by(model)}


def _item_words(item: TableField, value: Any) -> Any:
    held = tuple(getattr(value, attribute) for attribute in item.into)
    one = held[0] if len(held) == 1 else held
    if isinstance(item.kind, ValueKind):
        return item.kind.show(one)
    if item.many:
        return [_section_words(item.kind, each) for each in one]
    return NONE if one is None else _section_words(item.kind, one)


def to_json(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as plain data; see `Scenario.to_json`."""
    points = [list(point) for point in scenario.market.path.points]
    name, said = scenario.name, words(scenario)
    return {"format": FORMAT, "name": name, "scenario": said, "points": points}


def from_json(data: Any) -> Scenario:
    """Return the scenario of `to_json`; see `Scenario.from_json`."""
    where = "scenario"
    if not isinstance(data, dict) or set(data) != {"format", "name", "scenario", "points"}:
        _refuse([ScenarioProblem(where, "", "is not what a run keeps of a scenario.")])
    if data["format"] != FORMAT or isinstance(data["format"], bool):
        _refuse([ScenarioProblem(where, "format", f"is not {FORMAT}, the one that is read here.")])
    if not isinstance(data["name"], str) or not isinstance(data["points"], list):
        _refuse([ScenarioProblem(where, "", "has a damaged name, or damaged points.")])
    points = []
    for point in data["points"]:
        pair = isinstance(point, list) and [type(number) for number in point] == [int, int]
        if not pair or not MIN_RATE_E8 <= point[1] <= MAX_RATE_E8 or not 0 <= point[0] <= 10**12:
            _refuse([ScenarioProblem(where, "points", "are not pairs of seconds and rate.")])
        points.append((point[0], point[1]))

    def find(file: str) -> tuple[Series, list[ScenarioProblem]]:
        begun = points and points[0][0] == 0
        missing = [] if begun else [ScenarioProblem(where, "points", "do not begin with second 0.")]
        return held(tuple(points), file), missing

    return _read_plain(data["scenario"], data["name"], find, where)


# --- Words into a scenario ---


def _read_plain(data: Any, name: str, find: FindSeries, where: str) -> Scenario:
    try:
        node = from_plain(data, where)
    except UnreadableText as why:
        _refuse([why.problem])
    return _read(node, name, find, [])


def _read(node: TreeNode, name: str, find: FindSeries, problems: list[ScenarioProblem]) -> Scenario:
    """The scenario of a tree. Contradictions are looked for where every word can be read."""
    reading = Reading(problems)
    values = reading.fields(FILE, node, (), also=("faults",))
    faults = reading.faults(node, values.get("duration_s", 1))
    market = values.get("market")
    path = market.path if market else RatePath()
    series, of_series = find(path.file) if path.model == "csv" and path.file else (None, [])
    if series and series.points:
        path = replace(path, points=series.points, start_e8=series.points[0][1])
        values["market"] = replace(values["market"], path=path)
    if reading.problems:
        _refuse(sorted(reading.problems, key=lambda each: each.line) + of_series)
    scenario = Scenario(name=name, faults=faults, **values)
    if series and not of_series:
        step_s = scenario.market.step_s
        of_series += series_problems(series, step_s, path.gaps, scenario.duration_s)
    against = [reading.at(field).problem(field, told) for field, told in contradictions(scenario)]
    if against or of_series:
        _refuse(sorted(against, key=lambda each: each.line) + of_series)
    return scenario


def _refuse(problems: list[ScenarioProblem]) -> NoReturn:
    """Raise ScenarioError that tells them all."""
    told = problems[:MOST_TOLD]
    if len(problems) > MOST_TOLD:
        more = len(problems) - MOST_TOLD
        told = [*told, ScenarioProblem("", "", f"and {more} more problems.")]
    raise ScenarioError(
        "\n".join(map(str, told)),
        problems=[
            {"where": each.where, "field": each.field, "message": each.message, "text": str(each)}
            for each in told
        ],
    )


# --- Overrides ---


def _parts(name: str) -> FieldPath:
    """`faults.http.lost.chance` has three parts: a site's name holds a dot."""
    parts = tuple(name.split("."))
    if parts[0] == "faults" and len(parts) > 2:
        return "faults", ".".join(parts[1:3]), *parts[3:]
    return parts


def _place(tree: Any, parts: FieldPath, value: Any, path: FieldPath) -> list[FieldPath]:
    """Put a value into plain data; where it went. Empty: there is no such place."""
    name, rest = parts[0], parts[1:]
    if isinstance(tree, list):
        if not name.isascii() or not name.isdigit():
            every = [_place(each, parts, value, (*path, str(n))) for n, each in enumerate(tree)]
            return [place for places in every for place in places]
        if int(name[:9]) >= len(tree):
            return []
        if rest:
            return _place(tree[int(name)], rest, value, (*path, name))
        tree[int(name)] = value
        return [(*path, name)]
    if not isinstance(tree, dict):
        return []
    if not rest:
        tree[name] = value
        return [(*path, name)]
    if not isinstance(tree.get(name), dict | list):
        tree[name] = {}
    return _place(tree[name], rest, value, (*path, name))


def _prune(section: TableSection, tree: Any, path: FieldPath, set_at: set[FieldPath]) -> None:
    """Where another model was chosen, drop what only the former one had."""
    if not isinstance(tree, dict):
        return
    if (*path, "model") in set_at:
        model = str(tree["model"])
        for item in section.items:
            if not item.used_by(model) and (*path, item.name) not in set_at:
                tree.pop(item.name, None)
    for item in section.items:
        below = tree.get(item.name)
        if isinstance(item.kind, TableSection):
            if isinstance(below, list):
                for n, each in enumerate(below):
                    _prune(item.kind, each, (*path, item.name, str(n)), set_at)
            else:
                _prune(item.kind, below, (*path, item.name), set_at)


class _FileFormat:
    """See `scenario.model.ScenarioFormat`."""

    fields = staticmethod(fields)
    to_json = staticmethod(to_json)
    from_json = staticmethod(from_json)


FILE_FORMAT = _FileFormat()
"""The format that the package installs into the model."""

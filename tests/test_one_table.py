"""States are listed in one place, `core/lifecycle.py`; what shows them has no list of its own.

A second list goes wrong silently: a state that is added to the first is then missing in a chart,
or has another colour there. The rules below are held against the files that show states, and
against breaches planted in copies of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.core.lifecycle import OUTCOMES, PALETTE, PAYOUT_STAGES, STAGES

ROOT = Path(__file__).resolve().parents[1] / "workbench"
SHOWING = ("results/charts/*", "results/*.py", "web/static/*", "lab/*.py", "cli/*.py",
           "services/otc/tracker.py")  # fmt: skip
"""The files that show states, by pattern from the package's folder."""
FILES = sorted(path for pattern in SHOWING for path in ROOT.glob(pattern) if path.is_file())
WORDS = {look.word for look in (*STAGES, *PAYOUT_STAGES, *OUTCOMES)}
COLOURS = {hexadecimal for pair in PALETTE.values() for hexadecimal in pair}
A_LIST = 3
"""So many words of states in one literal are a list of states."""
NEAR = 4
"""In files that are not Python: so many lines in a row are taken for one literal."""
QUOTED_OR_KEY = re.compile(r"[\"'`](\w+)[\"'`]|(?:^|[{,\s])(\w+)\s*:(?!:)|[.\[](?:[se]-)?(\w+)\b")


def problems(name: str, text: str) -> list[str]:
    """Colours of the palette, and lists of states, in one file."""
    found = [f"{name} has the colour {c} of a state" for c in sorted(COLOURS) if c in text.lower()]
    lists = _python_lists(text) if name.endswith(".py") else _other_lists(text)
    return found + [f"{name}:{line} lists {', '.join(sorted(words))}" for line, words in lists]


def _python_lists(text: str) -> Iterator[tuple[int, set[str]]]:
    """Literals with many words of states among their members or keys."""
    for node in ast.walk(ast.parse(text)):
        members: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            members = [*node.elts]
        elif isinstance(node, ast.Dict):
            members = [*node.keys]
        words = {m.value for m in members if isinstance(m, ast.Constant) and m.value in WORDS}
        if len(words) >= A_LIST:
            yield getattr(node, "lineno", 0), words


def _other_lists(text: str) -> Iterator[tuple[int, set[str]]]:
    """Lines that follow each other and name many states as texts, keys, classes or variables."""
    lines = [
        {word for found in QUOTED_OR_KEY.finditer(line) for word in found.groups() if word in WORDS}
        | set(re.findall(r"--(\w+)\s*:", line)) & WORDS
        for line in text.splitlines()
    ]
    for n in range(len(lines)):
        words = set().union(*lines[n : n + NEAR])
        if len(words) >= A_LIST and lines[n]:
            yield n + 1, words


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_shows_states_takes_them_from_the_table(path: Path) -> None:
    """Neither a colour nor a list of words."""
    assert [] == problems(path.name, path.read_text("utf-8"))


def test_the_files_are_found() -> None:
    """All that draws, and the page of the tracker."""
    names = {path.name for path in FILES}
    assert {"timeline_png.py", "run_charts.py", "timeline_svg.py", "timeline_model.py", "page.css",
            "page.js", "metrics.py", "frames.py", "buyers.py", "tracker.html"} <= names  # fmt: skip


PLANTED = [
    (
        "results/charts/run_charts.py",
        'ENDS = ("executed", "refunded", "rejected")',
        "lists executed",
    ),
    (
        "results/charts/timeline_model.py",
        'C = {"created": 1, "funded": 2, "swapped": 3}',
        "lists created",
    ),
    ("results/metrics.py", 'f = frame.isin(["gave_up", "asked_only", "open"])', "lists asked_only"),
    ("results/frames.py", 'X = {"paid", "held", "sent"}', "lists held"),
    ("results/charts/timeline_png.py", f'INK = "{PALETTE["executed"][0]}"', "has the colour"),
    ("results/charts/page.css", f".x {{ fill: {PALETTE['swapped'][1]}; }}", "has the colour"),
    (
        "results/charts/page.css",
        ".s-created { fill: red; } .s-funded {} .s-swapped {}",
        "lists created",
    ),
    ("results/charts/page.css", "--created: red; --funded: red;\n--swapped: red;", "lists created"),
    ("results/charts/page.js", 'const S = ["created", "funded", "swapped"];', "lists created"),
    (
        "web/static/tracker.html",
        'const NEXT = {\n  created: "C",\n  funded: "F",\n  final: "X",\n};',
        "lists created",
    ),
    (
        "web/static/tracker.html",
        '<b data-filter="executed"></b>\n<b data-filter="refunded"></b>\n'
        '<b data-filter="rejected">',
        "lists executed",
    ),
]


@pytest.mark.parametrize(("file", "line", "told"), PLANTED, ids=[line for _, line, _ in PLANTED])
def test_a_planted_list_is_caught(file: str, line: str, told: str, tmp_path: Path) -> None:
    """Written to a copy of the file, and read back as the file is."""
    copy = tmp_path / Path(file).name
    copy.write_text((ROOT / file).read_text("utf-8") + f"\n\n{line}\n", "utf-8")
    found = problems(copy.name, copy.read_text("utf-8"))
    assert found
    assert told in found[0]


def test_one_word_at_its_place_is_let_through() -> None:
    """A rule about one state may name it."""
    assert [] == problems("x.py", 'done = timeline.stage == "executed"\nbad = ("refunded", "x")')
    assert [] == problems(
        "x.js", 'const GOOD = "executed"; // as it should\nif (x === "open") go();'
    )

"""Rules for the documents: short, linked without gaps, and true. Each rule has a planted breach."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath

import click
import pytest

from tests.documents import (
    FENCE,
    HEADING,
    ROOT,
    all_documents,
    code_blocks,
    documents,
    how_to,
    without_code,
)
from workbench.cli import main
from workbench.settings import SETTINGS

MOST_WORDS = {"README.md": 1_200, "ARCHITECTURE.md": 800}
LINK = re.compile(r"\]\(([^()\s]+)\)")
SETTING_ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", re.MULTILINE)
VERSION = re.compile(
    r"^## \[?([0-9]+\.[0-9]+\.[0-9]+)\]? - [0-9]{4}-[0-9]{2}-[0-9]{2}$", re.MULTILINE
)


# --- Length ---


def too_long(path: str, text: str) -> list[str]:
    """Report a document with more words than it may have."""
    count, most = len(text.split()), MOST_WORDS[path]
    return [f"{path} has {count} words, at most {most} are allowed"] if count > most else []


@pytest.mark.parametrize("path", MOST_WORDS)
def test_a_document_is_short(path: str) -> None:
    assert [] == too_long(path, (ROOT / path).read_text(encoding="utf-8"))


def test_a_long_document_is_caught() -> None:
    assert [] == too_long("README.md", "word " * 1_200)
    assert ["README.md has 1201 words, at most 1200 are allowed"] == too_long(
        "README.md", "word\n" * 1_201
    )


# --- Links ---


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as hosts of git repositories make them."""
    found: Counter[str] = Counter()
    names = set()
    for _, title in HEADING.findall(FENCE.sub("", text)):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def link_problems(path: str, text: str, files: Callable[[str], str | None]) -> list[str]:
    """Report the relative links of a document whose file or anchor does not exist.

    `files` returns the text of a file by its path from the top folder, "" for one that is not text,
    and None for one that does not exist.
    """
    problems = []
    for target in LINK.findall(without_code(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        where = normal(PurePosixPath(path).parent / name) if name else path
        linked = text if not name else files(where)
        if linked is None:
            problems.append(f"{path}: {target}: there is no {where}")
        elif anchor and anchor not in anchors(linked):
            problems.append(f"{path}: {target}: {where} has no such heading")
    return problems


def normal(path: PurePosixPath) -> str:
    """Return a path without `..`; one that leaves the top folder keeps them."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def file_text(path: str) -> str | None:
    """Return the text of a file of this repository, for `link_problems`."""
    file = ROOT / path
    if not file.is_file():
        return "" if file.is_dir() else None
    return file.read_text(encoding="utf-8") if file.suffix == ".md" else ""


def test_links_lead_somewhere() -> None:
    found = all_documents()
    assert {"README.md", "CHANGELOG.md", "bench/README.md", "docs/health.md"} <= set(found)
    problems = [
        each for path, text in found.items() for each in link_problems(path, text, file_text)
    ]
    assert [] == problems


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[x](gone.md)", "docs/a.md: gone.md: there is no docs/gone.md"),
        ("![x](../gone.png)", "docs/a.md: ../gone.png: there is no gone.png"),
        ("[x](../../b.md)", "docs/a.md: ../../b.md: there is no ../b.md"),
        ("[x](#two)", "docs/a.md: #two: docs/a.md has no such heading"),
        ("[x](../b.md#two)", "docs/a.md: ../b.md#two: b.md has no such heading"),
        ("[![x](gone.png)](../b.md)", "docs/a.md: gone.png: there is no docs/gone.png"),
    ],
)
def test_a_planted_dead_link_is_caught(link: str, problem: str) -> None:
    files = {"b.md": "# One\n```\n# Two\n```\n"}.get
    text = f"# One\n{link} and more\n"
    assert [problem] == link_problems("docs/a.md", text, files)


@pytest.mark.parametrize(
    "link",
    ["[x](../b.md#one--two-1)", "[x](#a)", "[x](https://a.example/#z)", "`[x](gone.md)`",
     "```\n[x](gone.md)\n```\n"],
)  # fmt: skip
def test_a_link_that_leads_somewhere_is_let_through(link: str) -> None:
    files = {"b.md": "## One & two\n## One & two\n"}.get
    assert [] == link_problems("docs/a.md", f"# `A`!\n{link}", files)


# --- Guides are found, and pictures are used ---


def lost(readme: str, everything: str, names: list[str]) -> list[str]:
    """Report guides that README does not link, and pictures that no document links."""
    problems = []
    for name in names:
        text = readme if name.endswith(".md") else everything
        if not any(target.partition("#")[0].endswith(name) for target in LINK.findall(text)):
            problems.append(f"docs/{name} is not linked")
    return problems


def test_every_guide_and_picture_is_linked() -> None:
    names = sorted(path.name for path in (ROOT / "docs").iterdir())
    guides = documents()
    assert [] == lost(guides["README.md"], "\n".join(guides.values()), names)


def test_a_lost_guide_or_picture_is_caught() -> None:
    assert ["docs/b.md is not linked"] == lost("[a](docs/a.md)", "[b](b.md)", ["a.md", "b.md"])
    assert ["docs/y.png is not linked"] == lost("", "![x](x.png)", ["x.png", "y.png"])


# --- Code in documents is true ---


def python_problems(code: str) -> list[str]:
    """Report Python that does not compile, and imports of the package that fail."""
    try:
        tree = ast.parse(code)
    except SyntaxError as why:
        return [f"line {why.lineno}: {why.msg}"]
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench"):
            try:
                module = import_module(node.module or "")
            except ImportError as why:
                problems.append(str(why))
                continue
            missing = [name.name for name in node.names if not hasattr(module, name.name)]
            problems += [f"{node.module} has no {name}" for name in missing]
    return problems


def test_python_of_the_guides_can_be_imported() -> None:
    found = [
        f"{block.path}: {problem}"
        for block in code_blocks(documents(), "python")
        for problem in python_problems(block.text)
    ]
    assert [] == found


def test_python_that_is_wrong_is_caught() -> None:
    assert ["line 1: invalid syntax"] == python_problems(
        "from workbench import\n".replace("\n", " ;")
    )
    assert ["No module named 'workbench.gone'"] == python_problems("from workbench.gone import x")
    assert ["workbench has no gone"] == python_problems("def f():\n    from workbench import gone")
    assert [] == python_problems("from workbench import simulated")


def line_problems(line: str) -> list[str]:
    """Report a `workbench` command line whose command or options do not exist."""
    words = [word for word in shlex.split(line, comments=True) if word != "…"]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if not words or words[0] != "workbench":
        return []
    command: click.Command = main
    typed = [words.pop(0)]
    while isinstance(command, click.Group):
        if not words or words[0] not in command.commands:
            return [f"{' '.join(typed)} has no command {words[0] if words else ''}".strip()]
        command = command.commands[words[0]]
        typed.append(words.pop(0))
    known = {name for parameter in command.params for name in parameter.opts}
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    return [f"{' '.join(typed)} has no {option}" for option in options if option not in known]


def test_command_lines_of_the_documents_exist() -> None:
    blocks = list(code_blocks(all_documents()))
    shell = [block for block in blocks if block.language in ("", "bash", "sh")]
    lines = [(block.path, line) for block in shell for line in block.text.splitlines()]
    assert len([line for _, line in lines if "workbench " in line]) > 30
    found = [f"{path}: {problem}" for path, line in lines if "workbench " in line
             for problem in line_problems(line)]  # fmt: skip
    assert [] == found


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("workbench fly", "workbench has no command fly"),
        ("workbench ledger", "workbench ledger has no command"),
        ("X=1 workbench buy 1 --fast # --slow", "workbench buy has no --fast"),
        ("workbench scenario show x --seed=1", "workbench scenario show has no --seed"),
    ],
)
def test_a_planted_command_line_is_caught(line: str, problem: str) -> None:
    assert [problem] == line_problems(line)


@pytest.mark.parametrize(
    "line",
    ["workbench buy 1 --json", "A=1 workbench demo --ports auto # a remark", "docker run --rm x",
     'workbench run x.yaml --set a.b="1 s" --seed 7', ""],
)  # fmt: skip
def test_a_command_line_that_exists_is_let_through(line: str) -> None:
    assert [] == line_problems(line)


def run_python(code: str, folder: Path) -> str:
    """Run a block in a folder that has the scenarios; return its output."""
    (folder / "scenarios").symlink_to(ROOT / "scenarios")
    (folder / "block.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "block.py"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    shown = run_python(how_to("Ten lines of Python"), tmp_path)
    assert "delivered" in shown
    assert "{'executed': 20} {}" in shown
    assert (tmp_path / "timeline.png").exists()


def test_the_python_of_worlds_runs(tmp_path: Path) -> None:
    assert "('vault', 'EURC'): 0" in run_python(how_to("Worlds"), tmp_path)


@pytest.mark.check
@pytest.mark.parametrize("title", ["Look at a run in Python", "Sessions in code"])
def test_the_longer_python_runs(tmp_path: Path, title: str) -> None:
    run_python(how_to(title), tmp_path)


# --- Settings ---


def setting_problems(guide: str) -> list[str]:
    """Report the differences between the guide's tables and the settings."""
    rows = {name: default for name, default, _ in SETTING_ROW.findall(guide)}
    settings = {each.name: each.default for _, group in SETTINGS for each in group}
    problems = [f"the guide has no row for {name}" for name in settings.keys() - rows.keys()]
    problems += [f"{name} is no setting" for name in rows.keys() - settings.keys()]
    for name in rows.keys() & settings.keys():
        if rows[name] != settings[name]:
            problems.append(f"the default of {name} is {settings[name]!r}, not {rows[name]!r}")
    return sorted(problems)


def test_every_setting_is_in_the_guide_with_its_default() -> None:
    assert [] == setting_problems(documents()["docs/settings.md"])


def test_a_wrong_row_of_the_settings_is_caught() -> None:
    guide = documents()["docs/settings.md"]
    assert ["the default of PORT is '8080', not '8081'"] == setting_problems(
        guide.replace("| `PORT` | `8080` |", "| `PORT` | `8081` |")
    )
    assert ["PORTS is no setting", "the guide has no row for PORT"] == setting_problems(
        guide.replace("| `PORT` |", "| `PORTS` |")
    )


# --- Version ---


def version_problems(changelog: str, version: str) -> list[str]:
    """Report a changelog whose newest entry is not this version, or whose order is wrong."""
    found = VERSION.findall(changelog)
    if found[:1] != [version]:
        return [f"the newest entry is {found[0] if found else None}, the package is {version}"]
    numbers = [tuple(map(int, each.split("."))) for each in found]
    ordered = sorted(set(numbers), reverse=True)
    return [] if numbers == ordered else ["versions are not in descending order"]


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [] == version_problems(changelog, project["version"])


def test_a_changelog_of_another_version_is_caught() -> None:
    text = "## 0.2.0 - 2026-12-01\n\n## 0.1.0 - 2026-11-22\n"
    assert [] == version_problems(text, "0.2.0")
    assert ["the newest entry is 0.2.0, the package is 0.3.0"] == version_problems(text, "0.3.0")
    assert ["the newest entry is None, the package is 0.2.0"] == version_problems("", "0.2.0")
    assert ["versions are not in descending order"] == version_problems(text + text, "0.2.0")

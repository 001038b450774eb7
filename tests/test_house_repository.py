"""The repository: documented commands, and no path, registry or missing document in a file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.source import (
    ROOT,
)
from workbench.cli import main


def commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """All commands below a group, by what one types."""
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


def command_problems(group: click.Group, guide: str) -> list[str]:
    """Commands that the guide does not name, and what has no help."""
    problems = []
    for typed, command in commands(group, "workbench"):
        if not re.search(rf"(?<![\w-]){re.escape(typed)}(?![\w-])", guide):
            problems.append(f"docs/commands.md does not name `{typed}`")
        if not (command.help or "").strip():
            problems.append(f"{typed} has no help")
        for parameter in command.params:
            told = getattr(parameter, "help", None)
            if isinstance(parameter, click.Argument):
                told = (parameter.name or "").upper() in (command.help or "")
            if not told:
                problems.append(f"{typed} says nothing about {parameter.name}")
    return problems


def test_every_command_is_in_the_guide_and_has_help() -> None:
    """By the words that one types: `workbench NAME`."""
    guide = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [] == command_problems(main, guide)
    assert {"demo", "up", "buy", "env"} <= set(main.commands)


# A pattern does not match itself, so this file may hold them.
PLACES = {
    "a path of this machine": r"(?<![\w.~-])/(?:work|root)/",
    "somebody's home": r"(?<![\w.~-])/(?:home|Users)/[\w.-]+/",
    "a home on Windows": r"[A-Z]:\\{1,2}Users\\",
    "a registry's address": r"registry\.(?:npmjs|yarnpkg)|\bpypi\.org|pythonhosted\.org",
    "an address in a lock file": r'"resolved"\s*:',
    "an index in a lock file": r"(?m)^--(?:extra-)?index-url",
}


def place_problems(path: str, text: str) -> list[str]:
    """Absolute paths of a machine, and addresses of registries."""
    return [
        f"{path} holds {what}: {found[0]!r}"
        for what, pattern in PLACES.items()
        if (found := re.search(pattern, text))
    ]


def tracked() -> list[str]:
    """The files that git tracks here, and that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: nothing is tracked")
def test_no_tracked_file_names_this_machine_or_a_registry() -> None:
    """Pictures and outputs of notebooks among them."""
    files = tracked()
    assert "workbench/core/money.py" in files
    texts = {path: (ROOT / path).read_bytes().decode("latin-1") for path in files}
    problems = [problem for path, text in texts.items() for problem in place_problems(path, text)]
    assert [] == problems


def test_an_undocumented_command_is_caught() -> None:
    """One that the guide does not name, one without help, an option and an argument without."""

    @click.group()
    def cli() -> None: ...

    @cli.command(help="Does.")
    @click.option("--how")
    @click.argument("what")
    def act(how: str, what: str) -> None: ...

    @cli.command()
    def mute() -> None: ...

    expected = [
        "workbench act says nothing about how",
        "workbench act says nothing about what",
        "workbench mute has no help",
    ]
    assert expected == command_problems(cli, "`workbench act` and `workbench mute`")
    missing = command_problems(cli, "workbench actor, workbench act-now, myworkbench mute")
    unnamed = {f"docs/commands.md does not name `workbench {name}`" for name in ("act", "mute")}
    assert unnamed < set(missing)


def mark_free(text: str) -> str:
    """Without the marks that keep this file from holding what it looks for."""
    return text.replace("¦", "")


@pytest.mark.parametrize(
    "text",
    [
        "see /¦work/main/README.md",
        '"/¦root/.cache/pip"',
        "(/¦home/ada/project)",
        "/¦Users/ada/project",
        "C:\\¦Users\\ada",
        "https://registry.¦npmjs.org/solc",
        "https://¦py¦pi.org/simple",
        "https://files.python¦hosted.org/packages",
        '      "resolved¦": "x"',
        "-¦-index-url https://x",
    ],
)
def test_a_planted_path_or_address_is_caught(text: str) -> None:
    """Alone, and in the middle of a file's text; and not with its marks, here."""
    assert [] == place_problems("x", text)
    assert 1 == len(place_problems("x", mark_free(text)))
    assert 1 == len(place_problems("x", f"a\n{mark_free(text)}\nb"))


@pytest.mark.parametrize(
    "text",
    [
        "homework/main",
        "src/work/x.py",
        "./root/x",
        "~/home/x/y",
        "https://example.org/home/",
        "the /home of",
        "omit-lockfile-registry-resolved=true",
        "PyPI",
    ],
)
def test_what_is_no_path_of_a_machine_is_let_through(text: str) -> None:
    """Words and relative paths."""
    assert [] == place_problems("x", text)


# --- tests/ mirrors the package ---

UNTESTED = {
    "core/ports": "Protocols: their implementations are tested where they are",
    "store/ledger/migrations": "tested with the ledger's database",
    "store/ledger/migrations/versions": "tested with the ledger's database",
}
"""Folders of the package without a folder of tests, with the reason."""
NOT_OF_THE_PACKAGE = {"contracts", "lab/audit"}
"""Folders of tests that mirror no folder of the package."""


def folders(root: Path) -> set[str]:
    """Return the folders that hold Python files, relative to `root`."""
    found = {path.parent.relative_to(root).as_posix() for path in root.rglob("*.py")}
    return {folder for folder in found if "__pycache__" not in folder} - {"."}


def mirror_problems(package: set[str], tests: set[str]) -> list[str]:
    """Find folders without a counterpart."""
    missing = sorted(package - tests - set(UNTESTED))
    extra = sorted(tests - package - NOT_OF_THE_PACKAGE)
    return [f"tests/{f} is missing" for f in missing] + [
        f"tests/{f} mirrors nothing" for f in extra
    ]


def test_the_folders_of_the_tests_are_those_of_the_package() -> None:
    """The tests of a folder have the same path below tests/."""
    package = folders(ROOT / "workbench")
    assert set(UNTESTED) <= package
    assert [] == mirror_problems(package, folders(ROOT / "tests"))


def test_every_folder_of_tests_has_a_test() -> None:
    for folder in folders(ROOT / "tests") & folders(ROOT / "workbench"):
        assert any((ROOT / "tests" / folder).rglob("test_*.py")), folder


def test_a_folder_without_a_counterpart_is_found() -> None:
    assert ["tests/attic is missing"] == mirror_problems({"attic"}, set())
    assert ["tests/attic mirrors nothing"] == mirror_problems(set(), {"attic"})


# --- Documents that exist, and plain words ---

ABSENT = re.compile(
    r"\bDESIGN\b|\bagreement \d+|\bhouse\.md\b|\bfindings?/|\bfinding \d+|\bissue \d+\b"
    r"|\b(services|simulation|lab|contracts|libraries|aesthetics|x402-attacks)\.md \d+"
)
"""References to documents that are not in the repository."""
PHRASES = re.compile(
    r"who may lose heart|what it said is known|looked after so often|[Ss]o often an act"
    r"|the place among equals|[Ss]o many turns|[Ee]nough in most weathers|others' use of our key"
    r"|what the system has to say|SQLite has still to be given|[Tt]wo that believe to be this one"
    r"|by and by|\bon a leash\b|somebody else's|at hand\b|\bis told\b|\bare told\b|\bas told\b"
)
"""Phrases that a reader whose first language is not English does not understand at once."""


def wording_problems(path: str, text: str) -> list[str]:
    """Find references to absent documents, and phrases that are not plain English."""
    return [
        f"{path}:{text[: found.start()].count(chr(10)) + 1} says {found[0]!r}"
        for pattern in (ABSENT, PHRASES)
        for found in pattern.finditer(text)
    ]


WORDED = (".py", ".sol", ".js", ".html", ".css", ".md", ".toml", ".yaml", ".yml", "Makefile")
QUOTING = {"tests/test_house_repository.py", "CHANGELOG.md"}
"""Files that may quote these words: the rule itself, and the history."""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: nothing is tracked")
def test_texts_are_plain_and_refer_to_documents_that_exist() -> None:
    problems = []
    for path in tracked():
        if path.endswith(WORDED) and path not in QUOTING:
            problems += wording_problems(path, (ROOT / path).read_text(encoding="utf-8"))
    assert [] == problems


@pytest.mark.parametrize(
    "text", ["see DESIGN", "(agreement 6)", "services.md 28", "a node on a leash", "by and by"]
)
def test_a_planted_phrase_is_found(text: str) -> None:
    assert [f"x.py:2 says {text.strip('()').removeprefix('see ')!r}"[:12]] == [
        problem[:12] for problem in wording_problems("x.py", f"x = 1\n# {text}\n")
    ]

"""The house rules of the Solidity files: licences, compiler, length, words for every function."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contracts.harness import NODE_MODULES, REPO

OURS = sorted((REPO / "contracts").rglob("*.sol"))
each_file = pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.stem))


def with_imports(path: Path, seen: set[Path]) -> set[Path]:
    """The file and all that it imports, directly or not."""
    path = path.resolve()
    if path not in seen:
        seen.add(path)
        for unit in re.findall(
            r'^import[^"]*"([^"]+)";', path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            base = path.parent if unit.startswith(".") else NODE_MODULES
            with_imports(base / unit, seen)
    return seen


# Its comment, its name, and its text up to the closing brace, if it has a body.
FUNCTION = re.compile(
    r"((?:^    ///[^\n]*\n)*)^    (?:function (\w+)|constructor)([^;{]*(?:;|\{\}|\{.*?^    \}$))",
    re.MULTILINE | re.DOTALL,
)


@each_file
def test_all_it_imports_is_mit(path: Path) -> None:
    for imported in with_imports(path, set()):
        licence = re.search(r"SPDX-License-Identifier: (\S+)", imported.read_text(encoding="utf-8"))
        assert licence is not None
        assert licence[1] == "MIT", imported


@each_file
def test_it_names_one_compiler(path: Path) -> None:
    assert "\npragma solidity 0.8.30;\n" in path.read_text(encoding="utf-8")


@each_file
def test_its_functions_are_short_and_have_words(path: Path) -> None:
    for comment, name, text in FUNCTION.findall(path.read_text(encoding="utf-8")):
        assert text.count("\n") < 70, name
        assert comment or not name, name

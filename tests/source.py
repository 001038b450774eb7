"""The source code under test: its modules, and how a rule is proved by a planted violation."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Module:
    """One Python file."""

    name: str
    """The dotted name, such as `workbench.core.money`; a package has its own name."""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text)

    @property
    def place(self) -> str:
        """The folder directly below the package: `core`, `settings`; `workbench` for the top."""
        return place_of(self.name)


Rule = Callable[[Module], list[str]]
"""Returns the violations in one module."""


def place_of(dotted: str) -> str:
    """Return the folder directly below the package that a dotted name is in."""
    _, _, rest = dotted.partition("workbench.")
    return rest.split(".")[0] or "workbench"


def read(root: Path) -> dict[str, Module]:
    """Return all Python files of a folder by their path relative to it."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root.parent).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[path.relative_to(root).as_posix()] = Module(name, path.read_text(encoding="utf-8"))
    return found


PACKAGE = read(ROOT / "workbench")
"""The package, by path relative to it."""
NAMES = {module.name for module in PACKAGE.values()}
FOLDERS = ("workbench", "tests", "tools", "bench", "app")
OURS = {
    f"{folder}/{path}": module
    for folder in FOLDERS
    for path, module in (PACKAGE if folder == "workbench" else read(ROOT / folder)).items()
}
"""All Python files of the project, by path."""


def imported(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import: in functions and for typing only, too.

    `known`: the names of modules, so that `from workbench import scenario` means the module. A name
    that is computed at run time is "?".
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name.split(".")
                base = ".".join([*package[: len(package) - node.level], *filter(None, [base])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known else base
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            plain = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield node.lineno, str(name.value) if plain else "?"  # type: ignore[union-attr]


def _called(node: ast.Call) -> str:
    """Return the last name of a call: `import_module` of `importlib.import_module(…)`."""
    return ast.unparse(node.func).rpartition(".")[2]


def all_of(rule: Rule, modules: Iterable[Module]) -> list[str]:
    """Return the violations of a rule in all these modules."""
    return [problem for module in modules for problem in rule(module)]


def ids(table: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return the names of the cases of a table of planted violations."""
    return [f"{path}: {line[:40]!r}" for path, line, *_ in table]


def plant(path: str, line: str, rule: Rule, message: str, folder: Path) -> None:
    """Append a line to a copy of a module; assert that the rule finds exactly this violation."""
    copy = folder / "workbench" / path
    copy.parent.mkdir(parents=True)
    copy.write_text(f"{PACKAGE[path].text}\n\n{line}\n", encoding="utf-8")
    module = next(m for m in read(folder / "workbench").values() if m.name == PACKAGE[path].name)
    (problem,) = [p for p in rule(module) if p not in rule(PACKAGE[path])]
    assert message in problem

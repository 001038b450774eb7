"""The shape of files: short functions, short files, documented modules, one name for one type."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.source import (
    OURS,
    PACKAGE,
    ROOT,
    Module,
    Rule,
    all_of,
    ids,
    plant,
)

LONGEST = 70


def long_functions(module: Module) -> list[str]:
    """Functions of more than 70 lines, from `def` to the last."""
    functions = [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {node: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return [f"{module.name}.{n.name} has {k} lines" for n, k in lengths.items() if k > LONGEST]


SOLIDITY_NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)
SOLIDITY_FUNCTION = re.compile(
    r"\b(?:function\s+(\w+)|(constructor|receive|fallback)|modifier\s+(\w+))\b[^;{}]*\{"
)


def long_solidity(name: str, text: str) -> list[str]:
    """Functions of a contract of more than 70 lines, counted by their braces."""
    code = SOLIDITY_NOISE.sub(lambda found: "\n" * found[0].count("\n"), text)
    problems = []
    for found in SOLIDITY_FUNCTION.finditer(code):
        depth, at = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        lines = code[found.start() : at].count("\n") + 1
        if lines > LONGEST:
            problems.append(f"{name}: {found[1] or found[2] or found[3]} has {lines} lines")
    return problems


def test_a_function_fits_a_screen() -> None:
    """70 lines at most, tests and tools too."""
    assert [] == all_of(long_functions, OURS.values())


def test_a_contracts_function_fits_a_screen() -> None:
    """The same for Solidity."""
    contracts = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "contracts").rglob("*.sol")
    }
    assert "SettlementVault.sol" in contracts
    assert [] == [p for name, text in contracts.items() for p in long_solidity(name, text)]


def test_the_count_of_solidity_functions_is_that_of_the_compiler() -> None:
    """The simple reader sees every function that has a body."""
    vault = SOLIDITY_NOISE.sub(
        "", (ROOT / "contracts" / "SettlementVault.sol").read_text(encoding="utf-8")
    )
    named = set(re.findall(r"\bfunction\s+(\w+)", vault))
    assert named == {found[1] for found in SOLIDITY_FUNCTION.finditer(vault) if found[1]}
    assert {"createSettlement", "fund", "executeSwap", "executeSettlement", "refund"} <= named


def undocumented(module: Module) -> list[str]:
    """A module without a docstring. An empty `__init__` of tests has nothing to say."""
    silent = ast.get_docstring(module.tree) is None
    empty = not module.text.strip() and module.name.startswith("tests")
    return [f"{module.name} has no docstring"] if silent and not empty else []


def test_every_module_has_a_docstring() -> None:
    """The first thing one reads."""
    assert [] == all_of(undocumented, OURS.values())


PLANTED: list[tuple[str, str, Rule, str]] = [
    (
        "worlds/factories.py",
        "def f():\n" + "    x = 1\n" * 70,
        long_functions,
        "workbench.worlds.factories.f has 71 lines",
    ),
    (
        "worlds/factories.py",
        "class A:\n    async def f(self):\n" + "        x = 1\n" * 70,
        long_functions,
        "has 71 lines",
    ),
]

ALLOWED: list[tuple[str, str, Rule]] = [
    ("worlds/factories.py", "def f():\n" + "    x = 1\n" * 69, long_functions),
]


@pytest.mark.parametrize(("path", "line", "rule", "message"), PLANTED, ids=ids(PLANTED))
def test_a_planted_violation_is_found(
    path: str, line: str, rule: Rule, message: str, tmp_path: Path
) -> None:
    plant(path, line, rule, message, tmp_path)


@pytest.mark.parametrize(("path", "line", "rule"), ALLOWED, ids=ids(ALLOWED))
def test_allowed_code_passes(path: str, line: str, rule: Rule) -> None:
    module = Module(PACKAGE[path].name, f"{PACKAGE[path].text}\n\n{line}\n")
    assert rule(PACKAGE[path]) == rule(module)


def test_a_long_function_of_solidity_is_caught() -> None:
    """Braces in comments and texts do not count, bodies do, declarations have none."""
    body = "        x = 1; // }\n" * 69
    long = f'contract C {{\n    function f()\n        public\n    {{\n{body}    }}\n"}}"\n}}'
    assert ["C: f has 73 lines"] == long_solidity("C", long)
    assert [] == long_solidity("C", long.replace(body, body[: len(body) - 3 * len(body) // 69]))
    declared = "interface I {\n    function f() external;\n" + "// {\n" * 90 + "}"
    assert [] == long_solidity("I", declared)
    built = f"contract C {{ constructor() {{\n{'x = 1;' + chr(10)}{chr(10) * 70}}} }}"
    assert ["C: constructor has 73 lines"] == long_solidity("C", built)


def test_a_module_without_a_docstring_is_found() -> None:
    assert ["workbench.attic has no docstring"] == undocumented(Module("workbench.attic", "x = 1"))
    assert [] == undocumented(Module("tests.attic", ""))
    assert [] != undocumented(Module("tests.attic", "# what for?\n"))


# --- Files are short ---

LONGEST_FILE = 400


def long_files(path: str, text: str) -> list[str]:
    """Find a file of more than 400 lines."""
    lines = len(text.splitlines())
    return [f"{path} has {lines} lines"] if lines > LONGEST_FILE else []


def test_a_file_has_at_most_400_lines() -> None:
    """Python, Solidity and JavaScript alike: a longer file is about more than one thing."""
    texts = {path: module.text for path, module in OURS.items()}
    for folder, pattern in (("contracts", "*.sol"), ("workbench", "*.js")):
        for path in (ROOT / folder).rglob(pattern):
            texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    assert [] == [problem for path, text in texts.items() for problem in long_files(path, text)]


def test_a_long_file_is_found() -> None:
    assert [] == long_files("x.py", "x\n" * 400)
    assert ["x.py has 401 lines"] == long_files("x.py", "x\n" * 401)


# --- A type has one name, and a name has one type ---


def types(module: Module) -> list[tuple[str, int]]:
    """Return the types that a module defines, with their lines: classes and aliases.

    An alias is an assignment to a name in CamelCase. A leading underscore does not make another
    name.
    """
    found = [
        (node.name.lstrip("_"), node.lineno)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id.lstrip("_") if isinstance(target, ast.Name) else ""
            if re.fullmatch(r"[A-Z][A-Za-z0-9]*", name) and not name.isupper():
                found.append((name, node.lineno))
    return found


def repeated_types(modules: Iterable[Module]) -> list[str]:
    """Find names of types that are defined more than once."""
    places: dict[str, list[str]] = {}
    for module in modules:
        for name, line in types(module):
            places.setdefault(name, []).append(f"{module.name}:{line}")
    return [f"{name} is defined at {', '.join(at)}" for name, at in places.items() if len(at) > 1]


def test_the_name_of_a_type_exists_once() -> None:
    """So a reader who searches for a type finds one."""
    assert [] == repeated_types(PACKAGE.values())


@pytest.mark.parametrize(
    "line",
    ["class Settlement: ...", "class _Settlement: ...", "Settlement = tuple[str, int]",
     "def f():\n    class Settlement: ..."],
)  # fmt: skip
def test_a_repeated_type_is_found(line: str) -> None:
    planted = [*PACKAGE.values(), Module("workbench.new", line)]
    (problem,) = repeated_types(planted)
    assert problem.startswith("Settlement is defined at workbench.core.settlement.fold")

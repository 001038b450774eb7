"""Borders: answers, JSON, headers and files are read and written at one place each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.source import (
    NAMES,
    OURS,
    PACKAGE,
    Module,
    Rule,
    all_of,
    ids,
    plant,
)

READERS = {
    "workbench.services.common.peers": "the place",
    "workbench.core.ports.runtime": "the method itself",
    "workbench.services.payouts.http": "an answer of its own, as a page",
}


def unread_answers(module: Module) -> list[str]:
    """Bodies of answers that are taken as they come, and not by `peers.decoded`."""
    if module.name in READERS or module.name.startswith("tests"):
        return []
    return [
        f"{module.name}:{node.lineno} reads an answer without a schema"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "data"
        and not node.args
    ]


def test_what_a_peer_answers_is_read_at_one_place() -> None:
    """Whatever it is: a typed value, or an error of our own tree."""
    assert [] == all_of(unread_answers, PACKAGE.values())
    assert set(READERS) <= NAMES


PURE_CALLS = frozenset(
    "abs all any bool callable isinstance len list map max min set sorted sum tuple type".split()
)
"""What an assertion may call: `python -O` leaves assertions out, and with them what they do."""


def working_assertions(module: Module) -> list[str]:
    """Assertions of a product module that do something: they call, await, or assign."""
    problems = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Assert):
            continue
        inside = [*ast.walk(node.test), *(ast.walk(node.msg) if node.msg else ())]
        calls = {ast.unparse(n.func) for n in inside if isinstance(n, ast.Call)}
        works = sorted(calls - PURE_CALLS)
        works += [ast.unparse(n) for n in inside if isinstance(n, ast.Await | ast.NamedExpr)]
        if works:
            problems.append(f"{module.name}:{node.lineno} asserts by {works[0]}")
    return problems


def unnamed_encodings(module: Module) -> list[str]:
    """Texts that are read or written in whatever encoding the locale has."""
    problems = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or {k.arg for k in node.keywords} & {"encoding", None}:
            continue
        full = ast.unparse(node.func)
        name = full.rpartition(".")[2]
        at = {"open": 1 if full == "open" else 0, "fdopen": 1, "NamedTemporaryFile": 0}.get(name)
        if name in ("read_text", "write_text"):
            is_text = len(node.args) <= ("read_text", "write_text").index(name)
        elif at is None or full in ("os.open", "webbrowser.open"):
            continue
        else:
            mode = _argument(node, at, "mode", "b" if name == "NamedTemporaryFile" else "r")
            # A path's `open` has a mode, where it is not a browser's or a ledger's `open`.
            is_mode = re.fullmatch(r"['\"][rwaxbt+]+['\"]", mode) is not None
            is_text = "b" not in mode and (is_mode or full == "open")
        if is_text:
            problems.append(f"{module.name}:{node.lineno} calls {name} without an encoding")
    return problems


def _argument(call: ast.Call, at: int, name: str, default: str) -> str:
    given = call.args[at] if at < len(call.args) else None
    given = given or next((k.value for k in call.keywords if k.arg == name), None)
    return ast.unparse(given) if given is not None else default


def test_assertions_do_no_work() -> None:
    product = [m for path, m in OURS.items() if not path.startswith("tests/")]
    assert [] == all_of(working_assertions, product)


def test_files_are_read_and_written_with_an_encoding() -> None:
    assert [] == all_of(unnamed_encodings, OURS.values())


OWN_JSON = {
    "workbench.core.strict_json": 1,
    "workbench.core.facts.codec": 1,
    "workbench.core.ports.runtime": 1,  # A response: what services of ours answered.
    "workbench.core.webhooks": 1,  # Its signature is checked before.
    "workbench.services.payouts.requests": 1,
    "workbench.services.payouts.v1_endpoints": 1,
    "workbench.services.payouts.audit": 1,
}
"""How often each may read JSON itself: its own, out of its store."""


def lax_json(module: Module) -> list[str]:
    """JSON of requests that is read by another reader than `core.strict_json`: the last of two
    equal names would win."""
    if module.place not in ("core", "services", "web"):
        return []
    reads = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.loads", "json.load", "msgspec.json.decode")
    ]
    most = OWN_JSON.get(module.name, 0)
    return [f"{module.name}:{line} reads JSON laxly" for line in reads[most:]]


def test_json_of_requests_has_one_reader() -> None:
    assert [] == all_of(lax_json, PACKAGE.values())
    readers = ("services/otc/facilitator.py", "services/payouts/requests.py", "core/x402/wire.py")
    for path in readers:
        copy = Module(PACKAGE[path].name, PACKAGE[path].text + "\njson.loads(request.body)\n")
        (problem,) = lax_json(copy)
        assert "reads JSON laxly" in problem


def raw_locations(module: Module) -> list[str]:
    """Headers that lead elsewhere, made by hand: `services.routes.see_other` encodes the path."""
    if module.name == "workbench.services.common.routes":
        return []
    return [
        f"{module.name}:{node.lineno} writes a Location by hand"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and str(node.value).lower() in ("location", "refresh")
    ]


def test_locations_are_made_in_one_place() -> None:
    """A user's id goes into one: in another encoding it would be an error after the commit."""
    assert [] == all_of(raw_locations, PACKAGE.values())


PLANTED: list[tuple[str, str, Rule, str]] = [
    ("services/otc/seller.py", "answer.data()['ok']", unread_answers, "without a schema"),
    (
        "commands/demo.py",
        "async def f():\n    (await g()).data()",
        unread_answers,
        "without a schema",
    ),
    (
        "sim/people/users.py",
        "async def f():\n    assert await g(), 'x'",
        working_assertions,
        "by g",
    ),
    ("sim/people/users.py", "assert (x := 1)", working_assertions, "asserts by (x := 1)"),
    ("sim/people/users.py", "assert x == 1, told.pop()", working_assertions, "asserts by told.pop"),
    ("results/run.py", "path.write_text('x')", unnamed_encodings, "write_text without an encoding"),
    ("results/run.py", "path.read_text()", unnamed_encodings, "read_text without an encoding"),
    ("results/run.py", "open('x', 'w')", unnamed_encodings, "calls open without an encoding"),
    ("results/run.py", "path.open('a')", unnamed_encodings, "calls open without an encoding"),
    ("results/run.py", "os.fdopen(1, 'w')", unnamed_encodings, "calls fdopen without an encoding"),
    (
        "services/otc/seller.py",
        "headers = (('Location', f'/user/{name}'),)",
        raw_locations,
        "writes a Location by hand",
    ),
]

ALLOWED: list[tuple[str, str, Rule]] = [
    (
        "worlds/factories.py",
        "assert all(isinstance(x, int) for x in found), f'{found}'",
        working_assertions,
    ),
    ("results/run.py", "open('x', 'rb')\npath.open('wb')\nbook.open()", unnamed_encodings),
    ("results/run.py", "path.write_text('x', encoding='utf-8')", unnamed_encodings),
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

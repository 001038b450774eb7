"""The error tree: one stable code for each class, wherever the class is written."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from workbench.core import errors
from workbench.core.errors import WorkbenchError
from workbench.evm.rpc.client import NodeRevert

PACKAGE = Path(errors.__file__).parents[1]


def written() -> dict[str, ast.ClassDef]:
    """Every class of the tree in the package's source, imported or not, by name."""
    classes = [
        node
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    tree: dict[str, ast.ClassDef] = {}
    names = {"WorkbenchError"}
    while True:
        found = {
            node.name: node
            for node in classes
            if node.name not in names
            and any(ast.unparse(base).rpartition(".")[2] in names for base in node.bases)
        }
        if not found:
            return tree
        tree |= found
        names |= set(found)


def own_code(node: ast.ClassDef) -> str | None:
    """The literal that a class body assigns to `code`, also in `code, status = …`."""
    for statement in node.body:
        if not isinstance(statement, ast.Assign):
            continue
        (target,) = statement.targets
        pair = isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple)
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = statement.value.elts if pair else [statement.value]  # type: ignore[attr-defined]
        for name, value in zip(names, values, strict=True):
            if isinstance(name, ast.Name) and name.id == "code":
                return str(ast.literal_eval(value))
    return None


def kinds() -> list[type[WorkbenchError]]:
    """All classes of the tree that are loaded here."""
    found: list[type[WorkbenchError]] = []
    waiting: list[type[WorkbenchError]] = [WorkbenchError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return [kind for kind in found if kind.__module__.startswith("workbench.")]


def test_every_class_in_the_source_has_a_code_of_its_own() -> None:
    """An inherited code would also push the parent out of `kinds`."""
    codes = {name: own_code(node) for name, node in written().items()}
    assert len(codes) > 40
    assert [] == [name for name, code in codes.items() if code is None]
    twice = [code for code, times in Counter(codes.values()).items() if times > 1]
    assert [] == twice


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_class_says_code_status_and_whether_it_is_transient(
    kind: type[WorkbenchError],
) -> None:
    """Machines compare the code, HTTP takes the status, loops ask for transience."""
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,30}", kind.code), "fits a refund reason of 31 bytes"
    assert 400 <= kind.status <= 599
    assert isinstance(kind.transient, bool)
    assert kind is WorkbenchError or kind is WorkbenchError.kinds[kind.code]


@pytest.mark.parametrize("kind", errors.InputError.__subclasses__(), ids=lambda k: k.__name__)
def test_a_wrong_request_stays_wrong(kind: type[WorkbenchError]) -> None:
    """What the caller did wrong is a 4xx, and sending it again unchanged cannot help."""
    assert 400 <= kind.status < 500
    assert not kind.transient


def test_on_the_wire_an_error_is_flat_json() -> None:
    """`{error, message, hint?, …details}`, and the same text as a string."""
    full = errors.OverCeiling("too dear.", hint="Buy less.", budget_eurc=2**80)
    expected = {
        "error": "over_ceiling",
        "message": "too dear.",
        "hint": "Buy less.",
        "budget_eurc": 2**80,
    }
    assert expected == json.loads(json.dumps(full.to_json()))
    assert "too dear. Buy less." == str(full)
    bare = errors.NotFound("nothing is here.")
    assert {"error": "not_found", "message": "nothing is here."} == bare.to_json()
    assert "nothing is here." == str(bare)


def test_details_do_not_hide_the_code() -> None:
    """The code is what machines compare, whatever a detail is called."""
    error = errors.PeerRefused("no.", error="something else")
    assert "peer_refused" == error.to_json()["error"]


def test_a_revert_carries_its_data() -> None:
    """What the node said of a revert is still there to be explained."""
    assert "0x1234" == NodeRevert("reverted", "0x1234").data

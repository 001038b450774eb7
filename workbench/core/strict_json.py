"""JSON as strangers send it: a name twice in an object, and numbers that JSON does not know, are
refused. Readers differ in which of two values they take, so each side could mean another one."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """The value. Raises ValueError (with a sentence for the sender, where one helps) or
    RecursionError."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)


class AmbiguousJson(ValueError):
    """JSON whose meaning depends on its reader."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AmbiguousJson("a field is given twice.")
    return found


def _refuse_constant(name: str) -> Any:
    raise AmbiguousJson(f"{name} is no number that JSON knows.")

"""Strict JSON for untrusted input: duplicate names and numbers outside of JSON are refused. Readers
differ in which of two values they take, so the two sides could mean different ones."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """Return the value. Raises ValueError (with a sentence for the sender if that helps) or
    RecursionError."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)


class AmbiguousJson(ValueError):
    """Raised for JSON whose meaning depends on its reader."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AmbiguousJson("a field is given twice.")
    return found


def _refuse_constant(name: str) -> Any:
    raise AmbiguousJson(f"{name} is no number that JSON knows.")

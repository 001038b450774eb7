"""Reading the files of a run folder. Every damaged file is named, with its line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from workbench.core.errors import RunDamaged, StoreError
from workbench.core.facts import (
    ADDED_IN_FORMAT_3,
    Event,
    from_line,
)

FORMAT = 3
"""The version of the run folder. 3 added planned buyers, orders, and the subject of each fault."""
READ = (FORMAT, 2)
"""The versions that can be read. Fields that an older version lacks have their defaults."""
AGAIN = "Run it again, or restore the file."


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises StoreError if missing, RunDamaged if damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as why:
        raise StoreError(
            f"{path.parent} is no run folder: {path.name} is missing.",
            hint="Runs are the folders inside runs/.",
        ) from why
    except ValueError as why:
        raise damaged(path) from why


def read_facts(path: Path, trace_hash: str, version: int) -> tuple[Event, ...]:
    """Return the facts of a journal. Raises RunDamaged with the number of a damaged line.

    `trace_hash`: the SHA-256 that all bytes of the file must have. `version`: of the run folder.
    """
    added = ADDED_IN_FORMAT_3 if version < 3 else None
    try:
        text = path.read_bytes()
        lines = text.decode().splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as why:
        raise damaged(path) from why
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(from_line(line, added))
        except (ValueError, TypeError, StoreError) as why:
            raise damaged(path, number) from why
    if (found := hashlib.sha256(text).hexdigest()) != trace_hash:
        raise RunDamaged(
            f"{path} is not as it was saved: its SHA-256 is {found}, and the trace_hash in "
            f"run.json is {trace_hash}.",
            hint=AGAIN,
        )
    return tuple(events)


def damaged(path: Path, line: int = 0) -> RunDamaged:
    """Return the error for a damaged file, or for one line of it (from 1)."""
    where = f"{path}, line {line}," if line else f"{path}"
    return RunDamaged(f"{where} is missing or damaged.", hint=AGAIN)

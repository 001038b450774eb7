"""Fixtures for tests of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.store.sql.database import SqlStore


@pytest.fixture
def store() -> Iterator[SqlStore]:
    """Return a database in memory."""
    made = SqlStore()
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a database file that does not exist."""
    return tmp_path / "service.db"

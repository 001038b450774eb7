"""Databases of the ledger: SQLite in memory and in a file, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from workbench.store.ledger.database import LedgerStore

POSTGRES = pytest.param(
    "postgresql", marks=pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
)


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Cluster]:
    """Return a PostgreSQL server for all tests of the folder."""
    with postgres.cluster() as running:
        yield running


def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of a new database."""
    if kind == "postgresql":
        server: postgres.Cluster = request.getfixturevalue("server")
        return server.fresh()
    return "sqlite://" if kind == "memory" else f"sqlite:///{folder / 'ledger.db'}"


@pytest.fixture(params=["file", POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database that outlives its process."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["memory", POSTGRES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerStore]:
    """Return a ledger in memory, and one on PostgreSQL."""
    opened = LedgerStore(url_of(request.param, request, tmp_path))
    yield opened
    opened.close()


@pytest.fixture(params=["memory", "file", POSTGRES])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerStore]:
    """Return a ledger of each kind: memory is exclusive and uses caches, a file does not."""
    opened = LedgerStore(url_of(request.param, request, tmp_path))
    yield opened
    opened.close()

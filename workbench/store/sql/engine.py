"""Open the SQLAlchemy engine of a database: SQLite (a file or memory) or PostgreSQL."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.pool import StaticPool

log = logging.getLogger("workbench")
WRITER_LOCK = 0x5E771E
"""Advisory lock of PostgreSQL that one writer at a time holds."""
BEGIN = {
    # Writers wait here and not at their commits, so facts are numbered in the order of commits.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"BEGIN; SELECT pg_advisory_xact_lock({WRITER_LOCK})",
}
"""The statements that begin a transaction, by dialect."""
BEGIN_BESIDE = {**BEGIN, "postgresql": "BEGIN"}
"""The same for a transaction that records no fact: PostgreSQL can lock its rows one by one."""


def begin_schema_lock(connection: Any) -> None:
    """Begin a transaction in which tables are made; other processes that start now wait for it."""
    if connection.dialect.name == "sqlite":  # Its driver does not begin a transaction by itself.
        connection.exec_driver_sql(BEGIN["sqlite"])
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


def open_engine(url: str) -> Any:
    """Return the engine of a database. A SQLite file is created with mode 0600."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        _make_private(Path(str(parsed.database)))
    if parsed.get_backend_name() == "postgresql":
        # A process that is stopped in the middle of a transaction must not stop all the others.
        timeouts = "-c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000"
        options = {"options": f"{timeouts} -c synchronous_commit=on"}
        return create_engine(parsed.set(drivername="postgresql+psycopg"), connect_args=options)
    pool: dict[str, Any] = {"poolclass": StaticPool} if url == "sqlite://" else {}
    arguments = {"check_same_thread": False, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, **pool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        # FULL: a promise to a buyer must survive a power cut. NORMAL in WAL mode may lose it.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _make_private(path: Path) -> None:
    """Create a database file with mode 0600, and take other users' access from existing files.

    SQLite gives its journal files the mode of the database, so the database is created first. A
    failure is ignored here: opening the database raises an error with the cause.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with suppress(OSError):
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)
                log.warning("%s was accessible to other users; its mode is now 0600", each.name)

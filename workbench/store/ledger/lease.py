"""The lease: one process at a time tracks sent transactions. It ends with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

SENDER_LOCK = 0x5E771F
"""Advisory lock of PostgreSQL that the holder of the lease has."""


class FileLease:
    """A lock on a file beside a SQLite database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lease if it is free. True if this process holds it."""
        if self._descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Free the lease. The system does the same when the process ends."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


class SessionLease:
    """An advisory lock of a PostgreSQL session, on a connection of its own.

    `errors`: what SQLAlchemy and the driver raise.
    """

    def __init__(self, engine: Any, errors: tuple[type[BaseException], ...]) -> None:
        self._engine, self._errors = engine, errors
        self._failures: tuple[type[BaseException], ...] = (*errors, OSError)
        self._connection: Any = None

    def take(self) -> bool:
        """Take the lease if it is free. True if this process holds it; False on an error."""
        try:
            if self._connection is None:
                connection = self._engine.raw_connection()
                connection.driver_connection.autocommit = True
                cursor = connection.cursor()
                cursor.execute(f"SELECT pg_try_advisory_lock({SENDER_LOCK})")
                if not cursor.fetchone()[0]:
                    connection.close()
                    return False
                self._connection = connection
            self._connection.cursor().execute("SELECT 1")  # The session may have ended.
        except self._failures:
            self._connection = None
            return False
        return True

    def release(self) -> None:
        """Free the lease. The server does the same when the session ends."""
        if self._connection is not None:
            with suppress(*self._errors):  # Now: the server sees the end of the session later.
                self._connection.cursor().execute(f"SELECT pg_advisory_unlock({SENDER_LOCK})")
            self._connection.invalidate()
        self._connection = None

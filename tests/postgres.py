"""A PostgreSQL server for tests: a cluster of its own in a temporary folder, ended with them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

PLACES = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"]
SEARCH = os.pathsep.join([*PLACES, os.environ.get("PATH", "")])
PROGRAMS = {name: shutil.which(name, path=SEARCH) for name in ("initdb", "pg_ctl")}


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: then its own user must be there."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid()).pw_name
    return next((user.pw_name for user in pwd.getpwall() if user.pw_name == "postgres"), None)


OWNER = _owner()
MISSING = not all(PROGRAMS.values()) or OWNER is None
WHY = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
"""Why a test is skipped: `pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)`."""


class Cluster:
    """Reached through a socket in its folder; no port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._names = folder, count(1)

    def run(self, program: str, *arguments: str) -> None:
        user = OWNER if not os.geteuid() else None
        subprocess.run(
            [str(PROGRAMS[program]), *arguments],
            check=True,
            user=user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://{OWNER}@/{name}?host={self._folder}"

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"test{next(self._names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A server that is up."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-pg-"))
    if not os.geteuid():
        shutil.chown(folder, str(OWNER))
    server = Cluster(folder)
    data = str(folder / "data")
    try:
        server.run("initdb", "-D", data, "-A", "trust", "-N", "-E", "UTF8", "--no-locale")
        options = f"-c listen_addresses= -c unix_socket_directories={folder}"
        log = str(folder / "log")
        server.run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            yield server
        finally:
            server.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

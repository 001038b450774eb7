"""The container's first steps, taken in a clean root: no Docker engine is needed for them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENTRYPOINT = ROOT / "tools" / "docker-entrypoint.sh"
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="dropping root takes root, and setpriv (Debian: util-linux)",
)


def enter(data: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The entrypoint with a command in the service's place."""
    known = {"PATH": os.environ["PATH"], "DATA_FOLDER": str(data), "RUN_AS": "nobody"}
    return subprocess.run(
        [str(ENTRYPOINT), *command],
        env={**known, **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="workbench-docker-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@AS_ROOT
def test_root_is_dropped_after_the_data_was_given_away(folder: Path) -> None:
    data = folder / "data"
    done = enter(data, "sh", "-c", f"id -u; touch {data}/mine; cat {data}/api_key")
    assert done.returncode == 0, done.stderr
    user, key = done.stdout.split()
    assert "0" != user
    assert data.stat().st_uid == int(user)
    assert 40 <= len(key)
    assert 0o600 == stat.S_IMODE((data / "api_key").stat().st_mode)


@AS_ROOT
def test_an_api_key_is_made_once_and_never_shown(folder: Path) -> None:
    ask = ("sh", "-c", "echo $PAYOUTS_API_KEY")
    first, second = enter(folder, *ask), enter(folder, *ask)
    assert first.stdout == second.stdout
    assert "an API key was made" in first.stderr
    assert first.stdout.strip() not in first.stderr
    assert "" == second.stderr
    assert "own-key\n" == enter(folder, *ask, PAYOUTS_API_KEY="own-key").stdout


def test_the_image_runs_as_the_seeds_readme_says() -> None:
    """Its port, its folder for data, all interfaces, a health check, and nothing secret in it."""
    text = (ROOT / "Dockerfile").read_text()
    for line in ("WORKDIR /app", "VOLUME /app/data", "EXPOSE 8080", "HEALTHCHECK", "HOST=0.0.0.0"):
        assert line in text
    assert re.search(r'CMD \["workbench", "payouts"\]', text)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", "data", ".git", ".workbench"} <= set(ignored)

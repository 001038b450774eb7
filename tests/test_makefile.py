"""`make setup` refuses a Python that cannot work, at once and in one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

FAKE = """#!{python}
# A Python that says it is {version}, and which sees no more than what set-up asks of it.
import sys
if sys.argv[1:] == ["-V"]:
    print("Python {version}")
    raise SystemExit
sys.version_info = ({parts}, "final", 0)
exec(sys.argv[2])
raise SystemExit("set-up went on")
"""


def setup(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """`make setup` in a copy of what it needs first, by a Python of this version."""
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for name in ("requirements.lock", "pyproject.toml", "package.json", "package-lock.json",
                 ".npmrc", "tools/npm.py"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    fake = folder / "fake-python"
    parts = ", ".join(version.split("."))
    fake.write_text(
        FAKE.format(python=sys.executable, version=version, parts=parts), encoding="utf-8"
    )
    fake.chmod(0o755)
    return subprocess.run(
        ["make", "--no-print-directory", "setup", "PYTHON=./fake-python"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.14.2", "newer than the locked packages (numpy among them) are known to work with"),
        ("3.15.0", "; use Python 3.11, 3.12 or 3.13"),
        ("3.10.9", "; Python 3.11, 3.12 or 3.13 is needed"),
    ],
)
def test_a_python_that_cannot_work_is_refused_in_one_sentence(
    tmp_path: Path, version: str, told: str
) -> None:
    done = setup(tmp_path, version)
    assert done.returncode != 0
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"setup: ./fake-python is {version}")
    assert told in line
    assert line.endswith(": make setup PYTHON=python3.11")
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0"])
def test_another_python_is_not_refused_for_its_version(tmp_path: Path, version: str) -> None:
    """It goes on to look for `venv`, which this fake does not have."""
    done = setup(tmp_path, version)
    assert "is needed" not in done.stdout
    assert done.stdout.startswith("setup: this Python has no venv module."), done.stdout


def test_the_lock_has_a_numpy_for_each_of_these_pythons() -> None:
    """Numpy 1 has no wheel for 3.13; what the override says is what the lock holds."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "\nnumpy==1.26.4 ; python_full_version < '3.13' " in lock
    assert re.search(r"\nnumpy==2\.3\.\d+ ; python_full_version >= '3\.13' ", lock)
    assert "--override requirements.override" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text(
        encoding="utf-8"
    )

"""Virtual environments with some of the installed packages and no others; without a network."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tools.runtime_lock import needed, packages

ROOT = Path(__file__).resolve().parents[1]


def venv_with(folder: Path, python: str, roots: tuple[str, ...]) -> Path:
    """`folder`/venv with the packages of requirements.lock that `roots` need."""
    quietly(folder, python, "-m", "venv", "--without-pip", "venv")
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for package in packages(needed(lock, roots)):
        _copy_installed(package, site)
    return folder / "venv"


def quietly(folder: Path, *command: str) -> None:
    """Run a command there. Raises CalledProcessError."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


def _copy_installed(package: str, site: Path) -> None:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return  # A package for another system.
    for file in files:
        if ".." not in file.parts and file.suffix != ".pyc":
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), site / file)

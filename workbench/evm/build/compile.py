"""Compile the contracts with Ape if something changed: `python -m workbench.evm.build.compile`.

Ape writes `.build/__local__.json`. What the workbench needs of it goes to
`.cache/artifacts/<Contract>.json` (`name`, `abi`, `bytecode` as hex), small enough to be read at
every start. `index.json` says what it was made from.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench.core.errors import NotCompiled, WorkbenchError
from workbench.core.ports import ReportProgress
from workbench.evm.build.artifacts import INTERFACES
from workbench.evm.build.toolchain import (
    ape_environment,
    cache_dir,
    npm_version,
    project_root,
    write_atomically,
)

INDEX = "index.json"
# A first compilation takes about 12 s; a much longer one is stuck.
TIME_LIMIT_S = 600
# Not the `ape` script, whose first line is wrong after the checkout moved; `-m ape` does not work.
APE = "from ape._cli import cli; cli()"


def fingerprint() -> str:
    """Return the SHA-256 (hex) of everything that decides the bytecode: sources, settings,
    tools."""
    root = project_root()
    digest = hashlib.sha256()
    files = [path for path in root.glob("contracts/**/*.sol") if ".cache" not in path.parts]
    files += [root / "ape-config.yaml", root / "tools" / "solc.js", root / "package-lock.json"]
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    for name in ("eth-ape", "ape-solidity"):
        digest.update(f"{name}={version(name)}\0".encode())
    return digest.hexdigest()


def is_current() -> bool:
    """Return True if the artifacts on disk match the sources on disk."""
    folder = project_root() / ".cache" / "artifacts"
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return index["fingerprint"] == fingerprint() and all(
            hashlib.sha256((folder / f"{name}.json").read_bytes()).hexdigest() == expected
            for name, expected in index["artifacts"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of the checkout: one compilation at a time. It ends with the process."""
    with (cache_dir() / "compile.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_ape() -> dict[str, Any]:
    """Return Ape's contract types by name. Raises NotCompiled with the compiler's message."""
    root = project_root()
    # --force: without it, Ape would keep the types of deleted contracts.
    command = [sys.executable, "-c", APE, "compile", "--force"]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=ape_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotCompiled(f"The compiler did not finish in {TIME_LIMIT_S} s.") from error
    output = f"{done.stdout}\n{done.stderr}".strip()
    if done.returncode != 0:
        raise NotCompiled(f"The contracts do not compile:\n{output[-6000:]}")
    try:
        text = (root / ".build" / "__local__.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["contractTypes"])
    except (OSError, ValueError, KeyError) as error:
        raise NotCompiled(f"Ape left no result:\n{output[-6000:]}") from error


def _publish(types: dict[str, Any], made_from: str) -> int:
    """Write the artifacts and their index. Return their number."""
    folder = cache_dir("artifacts")
    digests: dict[str, str] = {}
    for name, data in sorted(types.items()):
        code = (data.get("deploymentBytecode") or {}).get("bytecode") or "0x"
        text = json.dumps({"name": name, "abi": data.get("abi", []), "bytecode": code})
        write_atomically(folder / f"{name}.json", text)
        digests[name] = hashlib.sha256(text.encode()).hexdigest()
    _publish_interfaces(types)
    index = {
        "fingerprint": made_from,
        "solc": npm_version("solc"),
        "artifacts": digests,
    }
    write_atomically(folder / INDEX, json.dumps(index, indent=1))
    for path in folder.glob("*.json"):
        if path.name != INDEX and path.stem not in digests:
            path.unlink(missing_ok=True)
    return len(digests)


def _publish_interfaces(types: dict[str, Any]) -> None:
    """Write interfaces.json, which is part of the package."""
    path = Path(__file__).with_name("interfaces.json")
    interfaces = {name: types[name].get("abi", []) for name in INTERFACES}
    text = json.dumps(interfaces, indent=1, sort_keys=True) + "\n"
    if path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def compile_contracts(*, force: bool = False, progress: ReportProgress = lambda text: None) -> bool:
    """Compile if sources, settings or tools changed. Return True if it was done.

    Raises NotCompiled (the compiler's message) or ToolMissing.
    """
    with _only_one():
        if not force and is_current():
            progress("contracts: unchanged since the last compilation")
            return False
        started = time.monotonic()
        progress("contracts: compiling with Ape and solc (WebAssembly), about 15 s …")
        made_from = fingerprint()
        count = _publish(_run_ape(), made_from)
        progress(f"contracts: {count} compiled in {time.monotonic() - started:.1f} s")
        return True


def main(argv: list[str] | None = None) -> int:
    """Run the command behind `make compile`."""
    parser = argparse.ArgumentParser(
        prog="python -m workbench.evm.build.compile", description=__doc__
    )
    parser.add_argument("--force", action="store_true", help="compile although nothing changed")
    options = parser.parse_args(argv)
    try:
        compile_contracts(force=options.force, progress=_say)
    except WorkbenchError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())

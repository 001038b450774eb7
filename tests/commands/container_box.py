"""The container without Docker: its folder, its environment and its process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from workbench.commands import container
from workbench.evm.node.anvil import Anvil
from workbench.evm.transactions.test_keys import key_of

ROOT = Path(__file__).resolve().parents[2]


SHOWN = "shown this once"


PATIENCE_S = 30.0


def asked_for(name: str) -> set[str]:
    """What an installed package asks for here, without extras."""
    from packaging.requirements import Requirement

    try:
        requirements = map(Requirement, distribution(name).requires or [])
    except PackageNotFoundError:
        return set()  # Another system's.
    wanted = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {re.sub(r"[-_.]+", "-", requirement.name).lower() for requirement in wanted}


def python_for_all() -> str | None:
    """A Python of our version that the container's user can start, too; None if there is none."""
    own = str(Path(sys.executable).resolve())
    name = f"python3.{sys.version_info.minor}"
    for program in (own, f"/usr/local/bin/{name}", f"/usr/bin/{name}"):
        try:
            user = container.UID if os.geteuid() == 0 else None
            subprocess.run(
                [program, "-c", "import ssl, sqlite3, ctypes, venv"], check=True, user=user, cwd="/"
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return program
    return None


@dataclass
class Life:
    """One start of the container: its process, and what it said on stderr so far."""

    process: subprocess.Popen[bytes]
    said: Path
    url: str

    @property
    def stderr(self) -> str:
        return self.said.read_text(encoding="utf-8")

    def status(self, path: str, key: str | None = None) -> int:
        """0 if nobody answers."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            request = urllib.request.Request(self.url + path, None, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as why:
            return why.code
        except OSError:
            return 0

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.stderr
        return self.status("/livez") == 200

    def end(self) -> tuple[int, float]:
        """SIGTERM; exit code, and seconds until then."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S), time.monotonic() - start


@dataclass
class Box:
    """What is the same for every start: image, node, and the folder that stands for /app."""

    venv: Path
    node: Anvil
    folder: Path
    port: int
    lives: list[Life] = field(default_factory=list)

    def environment(self, **other: str) -> dict[str, str]:
        """That of `--env-file .env`: a filled-in .env.example, blanks as blanks, not unset."""
        lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
        blank = {line.partition("=")[0]: "" for line in lines if line and line[0] != "#"}
        assert {"HOST", "PAYOUTS_API_KEY", "DATA_DIR"} <= set(blank)
        image = {
            "PATH": f"{self.venv}/bin:{os.defpath}",
            "HOME": "/root",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        own = {
            "WEB3_PROVIDER_URL": self.node.url,
            "PAYOUT_PRIVATE_KEY": key_of("spare2").secret,
            "CHAIN_ID": str(self.node.chain_id),
            "PORT": str(self.port),
        }
        return blank | image | own | other

    def command(self, *arguments: str) -> list[str]:
        return [str(self.venv / "bin" / "python"), "-m", "workbench.commands.container", *arguments]

    def start(self, **other: str) -> Life:
        said = self.folder / f"said-{len(list(self.folder.glob('said-*')))}"
        with said.open("wb") as file:
            process = subprocess.Popen(
                self.command("payouts"),
                cwd=self.folder,
                env=self.environment(**other),
                stdout=file,
                stderr=file,
            )
        self.lives.append(Life(process, said, f"http://127.0.0.1:{self.port}"))
        return self.lives[-1]

    def run(self, *arguments: str, **other: str) -> subprocess.CompletedProcess[str]:
        """To its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**other),
            capture_output=True,
            text=True,
            timeout=60,
        )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, f"not within {PATIENCE_S} s"
        time.sleep(0.05)  # Another process' doing cannot be awaited otherwise.

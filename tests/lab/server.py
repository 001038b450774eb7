"""`workbench lab` for tests: in a copy of the checkout, with a Jupyter configuration of its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("notebooks",)
LEFT_OUT = ("runs", ".workbench", ".git", ".env")
"""What of the checkout is copied, and what is left out; all else is linked."""
COMMAND = str(Path(sys.executable).with_name("workbench"))
START_S = 120
END_S = 30


def checkout(folder: Path, notebooks: Mapping[str, Any] | None = None) -> Path:
    """A copy of our checkout in which notebooks may be written: links, but for the notebooks.

    `notebooks`: more than ours, as nbformat nodes by file name.
    """
    root = folder / "checkout"
    (root / "notebooks").mkdir(parents=True)
    (ROOT / ".cache").mkdir(exist_ok=True)
    for path in ROOT.iterdir():
        if path.name not in (*COPIED, *LEFT_OUT):
            (root / path.name).symlink_to(path)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        (root / "notebooks" / path.name).write_bytes(path.read_bytes())
    write: Any = nbformat.write
    for name, notebook in (notebooks or {}).items():
        write(notebook, root / "notebooks" / name)
    return root


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's Jupyter; this checkout's workbench; a log of the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    audit = Path(__file__).with_name("audit")
    return {
        **kept,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join((str(audit), str(ROOT))),
        "WORKBENCH_ROOT": str(folder / "checkout"),
        "LAB_NETWORK_LOG": str(folder / "network.log"),
    }


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LabServer:
    """The command while the block runs. `url`: what it printed on stdout, with the token.

    Ended by Ctrl-C with the block.
    """

    def __init__(self, folder: Path, notebooks: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.root = checkout(folder, notebooks)
        self.port = free_port()
        self._log = (folder / "lab.log").open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                *(COMMAND, "lab", "--no-browser", "--port", str(self.port)),
                "--LabApp.expose_app_in_browser=True",
            ],
            cwd=self.root,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.url = self._read_url()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read_url(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        assert ready, f"no address within {START_S} s\n{self.log()}"
        url = self.process.stdout.readline().strip()
        assert url.startswith(f"http://127.0.0.1:{self.port}/lab/tree/"), f"{url}\n{self.log()}"
        return url

    def log(self) -> str:
        """What the command and JupyterLab have said on stderr."""
        return (self.folder / "lab.log").read_text(encoding="utf-8")

    def asked(self) -> list[str]:
        """Whom the server, its kernels and all they started asked, other than this machine."""
        log = self.folder / "network.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def family(self) -> list[psutil.Process]:
        """All processes that the command has started, and which are still there."""
        if self.process.poll() is not None:
            return []
        return psutil.Process(self.process.pid).children(recursive=True)

    def node_processes(self) -> list[psutil.Process]:
        """The chain's nodes (anvil) that kernels have started."""
        found = []
        for process in self.family():
            try:
                if "anvil" in process.name():
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code of the command."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(END_S)

    def close(self) -> None:
        """End it as a user does; kill what does not end, and fail then."""
        family = self.family()
        try:
            if self.process.poll() is None:
                self.interrupt()
        finally:
            self._log.close()
            if self.process.stdout is not None:
                self.process.stdout.close()
            _, left = psutil.wait_procs(family, timeout=3)
            told = [str(each) for each in left]
            for each in left:
                each.kill()
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        assert not told, f"left behind: {told}"

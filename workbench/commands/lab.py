"""`workbench lab`: JupyterLab on the notebooks, trusted, without requests to the internet.

The user's own Jupyter configuration has priority. Only options that nobody has set are passed here,
and a default for one setting of its pages.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from workbench.core.errors import NotFound, PortTaken, SetupError
from workbench.core.ports import ReportProgress
from workbench.evm.build.toolchain import project_root

FIRST = ("00_tour.ipynb", "01_quickstart.ipynb")
"""The notebook that is opened: the first of these that exists."""
SHIPPED = "[0-9][0-9]_*.ipynb"
"""The notebooks of the workbench, which are trusted. Those of a user have other names."""
LAYER = Path(__file__).with_name("jupyter")
"""A Jupyter configuration folder with the default of one setting (no question about news)."""
HOST = "127.0.0.1"
OPTIONS = {
    ("ServerApp", "ip"): HOST,
    ("LabApp", "news_url"): "None",
    ("LabApp", "check_for_updates_class"): "jupyterlab.NeverCheckForUpdate",
    ("Application", "log_level"): "WARN",
}
"""Options that are passed if the user's configuration has none, by class and name."""
ALIASES = {"ServerApp": ("NotebookApp",), "Application": ("JupyterApp", "ServerApp", "LabApp")}
"""Other sections of a configuration file that set the options of a class."""
START_S = 60.0
"""Longest time until JupyterLab prints its address, in seconds."""
END_S = 10.0
"""Longest time to end its kernels, in seconds; then they are killed."""


def run_lab(
    *,
    port: int | None,
    browser: bool,
    more: Sequence[str] = (),
    tell_url: ReportProgress,
    say: ReportProgress,
) -> None:
    """Run JupyterLab on the notebooks of this checkout, until it ends or Ctrl-C ends it.

    `port`: exactly this one; None: Jupyter's choice. `browser`: whether to open one. `more`:
    further options of JupyterLab. `tell_url` gets the address with its token, once, when it
    answers; `say` gets progress. Raises PortTaken, ToolMissing and NotFound if it cannot start, and
    SetupError if JupyterLab ends with an error.
    """
    folder = project_root() / "notebooks"
    notebook = first_notebook(folder)
    if port is not None:
        refuse_taken(port)
    config = user_config()
    trust(folder, config, say)
    with _jupyterlab(command(folder, notebook, config, port, browser, more)) as process:
        url = _address(process, config, notebook)
        if url:
            tell_url(url)
        code = process.wait()
    if code != 0:
        raise SetupError(
            f"JupyterLab ended with exit code {code}.",
            hint="Its own lines above say why.",
        )


def first_notebook(folder: Path) -> str:
    """Return the name of the notebook to open. Raises NotFound."""
    for name in FIRST:
        if (folder / name).is_file():
            return name
    raise NotFound(
        f"There is no {' or '.join(FIRST)} in {folder}.",
        hint="Run `workbench lab` in a complete checkout, or name one in WORKBENCH_ROOT.",
    )


def refuse_taken(port: int) -> None:
    """Raise PortTaken if something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        # As the server does: a port whose last connections are closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as why:
            raise PortTaken(
                f"Port {port} of {HOST} cannot be used ({why.strerror}).",
                hint="Choose another with --port, or leave --port away to take a free one.",
            ) from None


def user_config() -> Any:
    """Return all that the user's Jupyter configuration files set, as a traitlets Config."""
    from jupyter_server.serverapp import ServerApp
    from jupyterlab.labapp import LabApp
    from traitlets.config import Config

    config = Config()
    for application in (ServerApp(), LabApp()):
        application.load_config_file()
        config.merge(application.config)
    return config


def command(
    folder: Path,
    notebook: str,
    config: Any,
    port: int | None,
    browser: bool,
    more: Sequence[str],
) -> list[str]:
    """Return the command line of JupyterLab. Later options win, so `more` can override all."""
    options = [
        f"--{section}.{name}={value}"
        for (section, name), value in OPTIONS.items()
        if not any(name in config[each] for each in (section, *ALIASES.get(section, ())))
    ]
    if os.geteuid() == 0:  # JupyterLab refuses root otherwise, and containers run as root.
        options.append("--ServerApp.allow_root=True")
    if port is not None:
        options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        options.append("--ServerApp.open_browser=False")
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{quote(notebook)}",
        *options,
        *more,
    ]


def trust(folder: Path, config: Any, say: ReportProgress) -> None:
    """Sign our notebooks as they are now, as `jupyter trust` does, so that their output is shown.

    A notebook that cannot be read, or signatures that cannot be written, are reported to `say`.
    """
    import nbformat
    from nbformat.sign import NotebookNotary

    notary: Any = NotebookNotary(config=config)  # type: ignore[no-untyped-call]
    read: Any = nbformat.read
    try:
        for path in sorted(folder.glob(SHIPPED)):
            try:
                notebook = read(path, as_version=4)
                if not notary.check_signature(notebook):
                    notary.sign(notebook)
            except (OSError, ValueError, nbformat.ValidationError, sqlite3.Error) as why:
                say(f"{path.name} is not trusted: {why}")
    finally:
        notary.store.close()


def environment() -> dict[str, str]:
    """Return the environment, with our configuration folder before the user's others."""
    given = os.environ.get("JUPYTER_CONFIG_PATH", "")
    paths = os.pathsep.join(filter(None, (given, str(LAYER))))
    return {**os.environ, "JUPYTER_CONFIG_PATH": paths}


@contextmanager
def _jupyterlab(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run JupyterLab during the block. It, its kernels and their children end with the block."""
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        env=environment(),
        # Ctrl-C would reach it too, and it would ask for a confirmation.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then kill what is left of it and of its children."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, left = psutil.wait_procs(family, timeout=2)
    for each in left:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=2)


def _address(process: subprocess.Popen[bytes], config: Any, notebook: str) -> str:
    """Return the address of the notebook with its token, when the server has it; "" if it ended."""
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(config["ServerApp"].get("runtime_dir", jupyter_runtime_dir()))
    file = folder / f"jpserver-{process.pid}.json"
    until = time.monotonic() + START_S
    while process.poll() is None:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # The file is not there yet, or incomplete.
            if time.monotonic() > until:
                raise SetupError(
                    f"JupyterLab did not say its address within {START_S:.0f} s.",
                    hint=f"It should stand in {file}. Its own lines above may say why.",
                ) from None
            time.sleep(0.05)
            continue
        token = f"?token={told['token']}" if told.get("token") else ""
        return f"{told['url']}lab/tree/{quote(notebook)}{token}"
    return ""

"""`workbench lab`, as far as no browser is needed; tests/lab has the rest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.sign import NotebookNotary
from traitlets.config import Config

from tests.lab.jupyter import code_notebook
from tests.lab.server import COMMAND, checkout, environment
from workbench.commands import lab
from workbench.core.errors import NotFound, PortTaken


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's Jupyter configuration, and no other configuration."""
    for name in [name for name in os.environ if name.startswith("JUPYTER")]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        if name.startswith(("JUPYTER", "IPYTHON")):
            monkeypatch.setenv(name, value)
    (tmp_path / "config").mkdir()
    return tmp_path / "config"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield somebody.getsockname()[1]


def options(config: Any, **more: Any) -> list[str]:
    settings: dict[str, Any] = {"port": None, "browser": False, "more": (), **more}
    return lab.command(Path("x"), "a b.ipynb", config, **settings)


def test_the_tour_is_opened_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no 00_tour.ipynb or 01_quickstart.ipynb in .*; |in "):
        lab.first_notebook(tmp_path)
    (tmp_path / "01_quickstart.ipynb").touch()
    assert lab.first_notebook(tmp_path) == "01_quickstart.ipynb"
    (tmp_path / "00_tour.ipynb").touch()
    assert lab.first_notebook(tmp_path) == "00_tour.ipynb"


def test_options_of_the_user_are_not_said_otherwise(user: Path) -> None:
    """Neither those of a Python file nor those of a JSON file, in any section that counts."""
    plain = options(lab.user_config())
    assert "--ServerApp.ip=127.0.0.1" in plain
    assert "--LabApp.news_url=None" in plain
    assert "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in plain
    assert "--LabApp.default_url=/lab/tree/a%20b.ipynb" in plain
    (user / "jupyter_server_config.py").write_text("c.ServerApp.ip = '::1'\n", encoding="utf-8")
    told = {"LabApp": {"news_url": "http://127.0.0.1/feed"}, "ServerApp": {"log_level": "DEBUG"}}
    (user / "jupyter_lab_config.json").write_text(json.dumps(told), encoding="utf-8")
    chosen = options(lab.user_config())
    assert not [each for each in chosen if "ServerApp.ip" in each or "news_url" in each]
    assert not [each for each in chosen if "log_level" in each]
    assert set(chosen) < set(plain)


def test_a_port_is_exactly_that_and_more_options_come_last() -> None:
    told = options(Config(), port=9, more=("--ip=0.0.0.0",))
    assert {"--ServerApp.port=9", "--ServerApp.port_retries=0"} <= set(told)
    assert told[-1] == "--ip=0.0.0.0"
    assert "--ServerApp.open_browser=False" in told
    assert not [each for each in options(Config(), browser=True) if "open_browser" in each]
    assert told[:3] == [sys.executable, "-m", "jupyterlab"]


def test_the_users_folders_of_configuration_stay_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is one more, for defaults alone; nothing of the user's is replaced."""
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    assert lab.environment()["JUPYTER_CONFIG_PATH"] == os.pathsep.join(("theirs", str(lab.LAYER)))
    monkeypatch.delenv("JUPYTER_CONFIG_PATH")
    assert lab.environment()["JUPYTER_CONFIG_PATH"] == str(lab.LAYER)
    kept = json.loads(
        (lab.LAYER / "labconfig" / "default_setting_overrides.json").read_text(encoding="utf-8")
    )
    assert kept == {
        "@jupyterlab/apputils-extension:notification": {
            "checkForUpdates": False,
            "fetchNews": "false",
        }
    }


def test_our_notebooks_are_signed_and_no_others(user: Path, tmp_path: Path) -> None:
    """Also the second time, and where one of them is damaged."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebooks = {name: code_notebook(name) for name in ("01_x.ipynb", "02_y.ipynb", "mine.ipynb")}
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / name)  # type: ignore[no-untyped-call]
    (folder / "03_z.ipynb").write_text("{", encoding="utf-8")
    told: list[str] = []
    for _ in range(2):
        lab.trust(folder, lab.user_config(), told.append)
    assert len(told) == 2
    assert told[0].startswith("03_z.ipynb is not trusted: ")
    notary: Any = NotebookNotary()  # type: ignore[no-untyped-call]
    try:
        signed = {
            name: notary.check_signature(nbformat.read(folder / name, 4))  # type: ignore[no-untyped-call]
            for name in notebooks
        }
    finally:
        notary.store.close()
    assert signed == {"01_x.ipynb": True, "02_y.ipynb": True, "mine.ipynb": False}


def test_a_taken_port_is_told_in_one_sentence(taken: int, tmp_path: Path) -> None:
    with pytest.raises(PortTaken, match=f"Port {taken} of 127.0.0.1 cannot be used"):
        lab.refuse_taken(taken)
    checkout(tmp_path)
    done = subprocess.run(
        [COMMAND, "lab", "--no-browser", "--port", str(taken)],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: Port {taken} of 127.0.0.1 cannot be used (Address already in use).",
        "  Choose another with --port, or leave --port away to take a free one.",
    ]


def test_without_a_checkout_or_its_notebooks_it_says_what_to_do(tmp_path: Path) -> None:
    run = {"capture_output": True, "text": True, "timeout": 60}
    command = [COMMAND, "lab", "--no-browser"]
    nowhere = {**environment(tmp_path), "WORKBENCH_ROOT": str(tmp_path)}
    done = subprocess.run(command, env=nowhere, **run)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not the folder of settlement-workbench" in done.stderr
    root = checkout(tmp_path)
    for path in (root / "notebooks").iterdir():
        path.unlink()
    done = subprocess.run(command, env=environment(tmp_path), **run)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no 00_tour.ipynb or 01_quickstart.ipynb in" in done.stderr


def test_what_jupyterlab_itself_refuses_is_told(tmp_path: Path) -> None:
    checkout(tmp_path)
    done = subprocess.run(
        [COMMAND, "lab", "--no-browser", "--ServerApp.port=none"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: JupyterLab ended with exit code 1." in done.stderr


def test_a_stubborn_family_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end when asked, and a child of it in a session of its own."""
    monkeypatch.setattr(lab, "END_S", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    child = f"subprocess.Popen([sys.executable, '-c', {deaf + 'time.sleep(600)'!r}], "
    script = f"import subprocess, sys; {child}start_new_session=True); {deaf}"
    script += "print('ready', flush=True); time.sleep(600)"
    with lab._jupyterlab([sys.executable, "-c", script]) as process:
        family = _family(process.pid)
    assert process.poll() is not None
    assert len(family) == 1
    assert not [each for each in family if each.is_running()]


def _family(pid: int) -> list[psutil.Process]:
    """The children, as soon as there are any."""
    process = psutil.Process(pid)
    while not (found := process.children(recursive=True)):
        process.status()  # Raises where it has ended.
    return found


def test_the_log_of_the_network_sees_who_is_asked(tmp_path: Path) -> None:
    """What tests of JupyterLab rely on: a name of this machine is not written down, others are."""
    script = (
        "import socket\n"
        "socket.getaddrinfo('127.0.0.1', 1)\n"
        "for host in ('localhost', 'example.invalid'):\n"
        "    try: socket.create_connection((host, 9), 0.1)\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(tmp_path), check=True)
    assert (tmp_path / "network.log").read_text(
        encoding="utf-8"
    ) == "socket.getaddrinfo example.invalid\n"

"""The container without Docker: what its files say, and its entry for real, on a real node.

`tools/docker_rehearsal.py` plays the whole Dockerfile in a clean root; it takes minutes, needs root
and debootstrap, and so is no test. Here the image's /opt/venv is made of the packages installed,
no more of them than the image gets, and of the workbench as built from what the engine is sent.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.documents import documents
from tests.venvs import quietly, venv_with
from tools.dockerfile import Stage, context, read_dockerfile, stage_context
from tools.runtime_lock import PAYOUTS, needed, packages
from workbench.commands import container
from workbench.core.errors import InvalidSetting
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.transactions.test_keys import key_of
from workbench.settings import BY_NAME, Settings

ROOT = Path(__file__).resolve().parents[2]
RUN = "docker run --rm -p 8080:8080 --env-file .env -v $(pwd)/data:/app/data credits-payout"
SHOWN = "shown this once"
PATIENCE_S = 30.0

# --- What the files say ---


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def sent() -> list[str]:
    return [path.as_posix() for path in context(ROOT)]


def test_the_base_is_slim_debian_by_its_name_and_never_the_latest(stages: list[Stage]) -> None:
    """One base for both stages, so that the venv's Python is there; no image besides."""
    assert ["python:3.11-slim-bookworm"] * 2 == [stage.base for stage in stages]
    assert "latest" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not [s for stage in stages for s in stage.steps if s.name == "ADD"], "COPY is enough"


def test_everything_copied_is_there_and_is_sent(stages: list[Stage]) -> None:
    """From the context: files that .dockerignore lets through. From a stage: what it made."""
    files = sent()
    for stage in stages:
        for step in stage.all("COPY"):
            for source in step.words[:-1]:
                if step.flags:
                    assert ("--from=build",) == step.flags
                    made = " ".join(run.text for run in stages[0].all("RUN"))
                    assert source in made
                else:
                    assert source in files or any(f.startswith(f"{source}/") for f in files)


def test_nothing_is_sent_that_is_not_copied(tmp_path: Path) -> None:
    """No keys, data or runs, wherever they lie; planted ones in a copy of the tree stay outside."""
    plain = {
        "LICENSE", "README.md", "pyproject.toml", "requirements.lock", "tools/runtime_lock.py",
    }  # fmt: skip
    files = sent()
    assert plain == {path for path in files if not path.startswith("workbench/")}
    assert {"workbench/commands/container.py", "workbench/store/ledger/migrations/env.py"} <= set(
        files
    )
    planted = [".env", ".env.live", "data/api_key", "data/app.db", ".git/config", "runs/x",
               "workbench/.env", "workbench/store/.env.bak", "workbench/__pycache__/x.pyc",
               "tools/soak.py", ".workbench/world.json"]  # fmt: skip
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    for path in (*planted, "workbench/cli.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert [Path("workbench/cli.py")] == context(tmp_path)


def test_no_secret_is_in_the_image(stages: list[Stage]) -> None:
    """Neither as a variable nor as a build argument: they are given at `docker run`."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    secret = [name for name, setting in BY_NAME.items() if setting.secret]
    assert "PAYOUT_PRIVATE_KEY" in secret
    assert not [name for name in secret if re.search(rf"\b{name}\b", text)]
    assert not re.search(r"0x[0-9a-fA-F]{64}", text)
    assert not [step.text for stage in stages for step in stage.all("ARG")]


def test_it_starts_as_the_entry_says(stages: list[Stage]) -> None:
    """Exec form, so that process 1 is the service; the same numbers and folder in both files."""
    final = stages[-1]
    entry, command = final.last("ENTRYPOINT"), final.last("CMD")
    assert entry.is_exec
    assert command.is_exec
    assert ["python", "-m", "workbench.commands.container"] == entry.words
    assert ["payouts"] == command.words
    assert not final.all("USER"), "root is left by the entry, after it has given the volume away"
    assert "/app" == final.last("WORKDIR").text
    assert f"/app/{container.DATA}" == final.last("VOLUME").text
    assert BY_NAME["PORT"].default == final.last("EXPOSE").text
    users = final.all("RUN")[0].text
    assert f"--uid {container.UID} --gid {container.GID}" in users
    assert f"install -d -o {container.UID} -g {container.GID} /app/{container.DATA}" in users
    health = final.last("HEALTHCHECK")
    assert health.text.endswith('CMD ["python", "-m", "workbench.commands.container", "healthy"]')


def test_packages_are_installed_by_hash(stages: list[Stage]) -> None:
    """Each pip command: by hash from the lock, or without an index; nothing by apt-get."""
    commands = [
        part for step in stages[0].all("RUN") for part in step.text.split("&&") if "pip" in part
    ]
    installs = [part for part in commands if re.search(r"pip\S* .*(install|wheel) ", part)]
    assert 4 == len(installs)
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)
    assert all("--no-deps" in part for part in installs)
    everything = " ".join(step.text for stage in stages for step in stage.all("RUN"))
    assert not re.search(r"\b(apt-get|curl|wget|git)\b", everything)


def test_a_guide_has_the_run_lines() -> None:
    """With the name of our image; the Dockerfile names them too."""
    guides = "\n".join(documents().values())
    assert "docker build -t credits-payout ." in guides
    assert RUN in guides
    assert RUN in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_part_of_the_lock_is_whole_and_a_part() -> None:
    """Every package it holds brings what it needs along, line for line as in the lock."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    part = packages(needed(lock, PAYOUTS))
    assert set(PAYOUTS) < set(part) < set(packages(lock))
    assert not {"pandas", "jupyterlab", "web3", "eth-ape", "pytest"} & set(part)
    assert all("--hash=sha256:" in block and block in lock for block in part.values())
    for name in part:
        for wanted in asked_for(name):
            assert wanted in part, f"{name} needs {wanted}"
    with pytest.raises(KeyError, match="no-such-package"):
        needed(lock, ("no-such-package",))


def asked_for(name: str) -> set[str]:
    """What an installed package asks for here, without extras."""
    from packaging.requirements import Requirement

    try:
        requirements = map(Requirement, distribution(name).requires or [])
    except PackageNotFoundError:
        return set()  # Another system's.
    wanted = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {re.sub(r"[-_.]+", "-", requirement.name).lower() for requirement in wanted}


# --- The entry, for real ---


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


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with Anvil(block_time=0.2) as anvil:
        anvil.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
        yield anvil


@pytest.fixture(scope="module")
def venv() -> Iterator[Path]:
    """As /opt/venv in the image, where everybody can read it (pytest's folders are ours alone)."""
    python = python_for_all()
    if python is None:
        pytest.skip(f"only root can start this Python, so user {container.UID} cannot be played")
    with tempfile.TemporaryDirectory(prefix="workbench-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        venv_with(folder, python, PAYOUTS)
        stage_context(ROOT, folder / "context")
        pip, build = (sys.executable, "-m", "pip"), ("--no-build-isolation", "-w", "wheels")
        quietly(folder, *pip, "wheel", "--no-index", "--no-deps", *build, "./context")
        (wheel,) = (folder / "wheels").glob("*.whl")
        into = ("--python", "venv/bin/python", "install", "--no-index", "--no-deps")
        quietly(folder, *pip, *into, str(wheel))
        yield folder / "venv"


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


@pytest.fixture
def box(venv: Path, node: Anvil) -> Iterator[Box]:
    with tempfile.TemporaryDirectory(prefix="workbench-app-") as name:
        Path(name).chmod(0o755)
        box = Box(venv, node, Path(name), free_port())
        yield box
        for life in box.lives:
            life.process.kill()
            life.process.wait(10)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, f"not within {PATIENCE_S} s"
        time.sleep(0.05)  # Another process' doing cannot be awaited otherwise.


@pytest.mark.check
@pytest.mark.slow
def test_the_first_start_makes_a_key_and_the_second_keeps_it(box: Box) -> None:
    """0600, shown once, needed by all but the probes; SIGTERM ends each life within seconds."""
    first = box.start()
    until(first.is_up)
    path = box.folder / "data" / "api_key"
    key = path.read_text(encoding="utf-8").strip()
    assert 0o600 == path.stat().st_mode & 0o777
    assert len(key) >= 40
    assert 1 == first.stderr.count(key)
    assert SHOWN in first.stderr
    assert [401, 401, 200] == [first.status("/", given) for given in (None, "x" * 43, key)]
    assert [200, 200] == [first.status(probe) for probe in ("/health", "/livez")]
    listening = {c.laddr.ip for c in psutil.Process(first.process.pid).net_connections()
                 if c.status == psutil.CONN_LISTEN}  # fmt: skip
    assert {"0.0.0.0"} == listening, "others reach it; a blank HOST is none"
    assert 0 == box.run("healthy").returncode
    code, seconds = first.end()
    assert 0 == code
    assert seconds < 8, "Docker kills after ten"
    assert 1 == box.run("healthy").returncode
    assert (box.folder / "data" / "app.db").exists()
    second = box.start()
    until(second.is_up)
    assert key == path.read_text(encoding="utf-8").strip()
    assert SHOWN not in second.stderr
    assert key not in second.stderr
    assert [401, 200] == [second.status("/", given) for given in (None, key)]
    for command in ("verify", "reconcile"):  # As another container on the same volume.
        done = box.run("ledger", command)
        assert 0 == done.returncode, done.stderr
        assert SHOWN not in done.stderr
    assert 0 == second.end()[0]


@pytest.mark.check
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: there is nothing to leave")
def test_root_is_left_and_what_was_roots_in_the_volume_is_given_away(box: Box) -> None:
    """All four uids, and the groups; a link's target and what lies deeper stay whose they were."""
    data = box.folder / "data"
    (data / "below").mkdir(parents=True)
    (data / "below" / "roots").touch()
    (box.folder / "outside").touch()
    (data / "link").symlink_to(box.folder / "outside")
    (data / "app.db").touch()
    life = box.start()
    until(life.is_up)
    status = Path(f"/proc/{life.process.pid}/status").read_text(encoding="utf-8")
    ours = "\t".join([str(container.UID)] * 4)
    assert f"Uid:\t{ours}\n" in status
    assert f"Gid:\t{ours}\n" in status
    assert re.search(r"(?m)^Groups:\s*$", status)
    assert re.search(r"(?m)^CapEff:\s*0+$", status)
    assert 0 == life.end()[0]
    for path in (data, *data.glob("a*")):
        assert (container.UID, container.GID) == (path.stat().st_uid, path.stat().st_gid), path
    assert 0o600 == (data / "api_key").stat().st_mode & 0o777
    for path in (data / "below" / "roots", data / "link", box.folder / "outside"):
        assert 0 == path.lstat().st_uid, path


@pytest.mark.check
def test_without_a_payers_key_it_does_not_start(box: Box) -> None:
    """And makes no API key, which would be shown in a log that is gone with the container."""
    done = box.run("payouts", PAYOUT_PRIVATE_KEY="")
    assert 1 == done.returncode
    assert "PAYOUT_PRIVATE_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr
    assert SHOWN not in done.stderr
    assert not (box.folder / "data" / "api_key").exists()
    assert "WEB3_PROVIDER_URL is not set" in box.run("payouts", WEB3_PROVIDER_URL=" ").stderr


@pytest.mark.check
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_without_root_the_folder_must_be_theirs(box: Box) -> None:
    """`--user`: told what to do, instead of a database that cannot be opened."""
    (box.folder / "data").mkdir()
    done = subprocess.run(
        box.command("payouts"), cwd=box.folder, env=box.environment(), capture_output=True,
        text=True, timeout=60, user=container.UID, group=container.GID, extra_groups=[],
    )  # fmt: skip
    assert 1 == done.returncode
    assert f"is not writable by user {container.UID}" in done.stderr


@pytest.mark.check
def test_the_image_has_what_only_some_settings_need(box: Box) -> None:
    """PostgreSQL and the encrypted keystore: loaded late, and so not proven by a start."""
    code = """
import psycopg, psycopg_binary, sqlalchemy, workbench.worlds.remote
from eth_account import Account
from workbench.evm.transactions.keystore import key_of_keystore
import json
kept = json.dumps(Account.encrypt("0x" + "11" * 32, "password", iterations=2))
assert int(key_of_keystore(kept, "password"), 16) == int("11" * 32, 16)
sqlalchemy.create_engine("postgresql+psycopg://nobody@localhost/none")
"""
    python = str(box.venv / "bin" / "python")
    done = subprocess.run(
        [python, "-c", code], cwd=box.folder, env=box.environment(), capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr


# --- The key, function by function ---


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def settings(**given: str) -> Settings:
    return Settings.load(environ=given, world={})


def test_a_key_that_is_given_is_used_and_none_is_made(app: Path) -> None:
    found = container.surroundings(settings(PAYOUTS_API_KEY="k" * 20), makes_key=True)
    assert {"HOST": "0.0.0.0", "DATA_DIR": "data"} == found
    assert not (app / "data" / "api_key").exists()
    own = container.surroundings(settings(HOST="127.0.0.1", DATA_DIR="x"), makes_key=False)
    assert {} == own, "what somebody set stays"


def test_a_key_file_that_others_could_read_is_closed(app: Path) -> None:
    path = app / "data" / "api_key"
    path.write_text("k" * 30 + "\n", encoding="utf-8")
    path.chmod(0o644)
    assert "k" * 30 == container.api_key()
    assert 0o600 == path.stat().st_mode & 0o777


@pytest.mark.parametrize("text", ["", "\n", "short", "two words that are long enough", "\x00" * 20])
def test_a_damaged_key_file_is_told_and_not_replaced(app: Path, text: str) -> None:
    """A new key would lock out everybody who has the old one."""
    path = app / "data" / "api_key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSetting, match="holds no API key"):
        container.api_key()
    assert text == path.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_told(app: Path) -> None:
    (app / "data").rmdir()
    (app / "data").write_text("a file", encoding="utf-8")
    with pytest.raises(InvalidSetting, match="could not be taken over"):
        container.settle_in()

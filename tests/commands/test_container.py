"""The container without Docker: what its files say, and its entry for real, on a real node.

`tools/docker_rehearsal.py` plays the whole Dockerfile in a clean root; it takes minutes, needs root
and debootstrap, and so is no test. Here the image's /opt/venv is made of the packages installed,
no more of them than the image gets, and of the workbench as built from what the engine is sent.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.commands.container_box import ROOT, SHOWN, Box, asked_for, until
from tests.documents import documents
from tools.dockerfile import Stage, context, read_dockerfile
from tools.runtime_lock import PAYOUTS, needed, packages
from workbench.commands import container
from workbench.settings import BY_NAME

RUN = "docker run --rm -p 8080:8080 --env-file .env -v $(pwd)/data:/app/data credits-payout"


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

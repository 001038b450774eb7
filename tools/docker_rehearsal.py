"""Plays the Dockerfile without Docker: its steps in a clean root, then its entry as process 1.

    python -m tools.docker_rehearsal [--base FOLDER]

Needs Linux, root, debootstrap, and a workbench that is set up (for the node). The base image is not
to be had without an engine: Debian with its own Python 3.11, from debootstrap, stands in for it
(--base keeps it for the next time). RUN happens in a chroot without a network: packages are fetched
before, and pip checks their hashes in there. What was built then serves in namespaces of its own:
a data folder of root's, HEALTHCHECK's own command, the uid, SIGTERM to process 1, a second start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tools.dockerfile import Stage, Step, filled, read_dockerfile, stage_context
from tools.runtime_lock import PAYOUTS, needed
from workbench.commands.container import UID
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.transactions.test_keys import key_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
IN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORT = 18080
PATIENCE_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--base", type=Path, help="a root from an earlier time, or where to keep it"
    )
    base = parser.parse_args().base
    if os.geteuid() or not shutil.which("debootstrap"):
        sys.exit("this needs root and debootstrap")
    with tempfile.TemporaryDirectory(prefix="workbench-docker-") as name:
        folder = Path(name)
        base = base or folder / "base"
        if not base.exists():
            debootstrap(base)
        image = build(folder, base)
        say(f"image: {size_mb(image) - size_mb(base)} MB on top of {size_mb(base)} MB of base")
        with Anvil(block_time=0.2) as node:
            node.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
            serve(folder, image, node)
    say("ok")


def debootstrap(base: Path) -> None:
    """A Debian that has python and pip where the official image has them."""
    say(f"debootstrap into {base}")
    options = ["--variant=minbase", f"--include={PACKAGES}"]
    run(["debootstrap", *options, "bookworm", str(base)])
    for name, target in (("python", "python3"), ("pip", "pip3")):
        link = base / "usr/local/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/bin/{target}")


# --- Build ---


def build(folder: Path, base: Path) -> Path:
    """All stages, each a copy of the base; the last one's root."""
    sent, wheels = folder / "context", folder / "wheels"
    stage_context(ROOT, sent)
    fetch(wheels)
    roots: dict[str, Path] = {}
    for stage in read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        say(f"FROM {stage.base} AS {stage.name}")
        root = roots[stage.name] = folder / f"root-{stage.name}"
        run(["cp", "-a", "--reflink=auto", str(base), str(root)])
        (root / "wheels").mkdir()
        play(stage, root, sent, wheels, roots)
    return root


def fetch(wheels: Path) -> None:
    """The locked packages of both venvs, by hash: the rooms below have no network."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    wheels.mkdir()
    part = wheels / "part.lock"
    part.write_text(needed(lock, (*PAYOUTS, "hatchling")), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    run([*pip, "--only-binary", ":all:", "-d", str(wheels), "-r", str(part)])


def play(stage: Stage, root: Path, sent: Path, wheels: Path, roots: dict[str, Path]) -> None:
    """The instructions that change a root; the others say how it is started."""
    here, variables = Path("/"), {"PATH": IN_PATH}
    for step in stage.steps:
        if step.name == "WORKDIR":
            here = here / step.text
            inside(root, here).mkdir(parents=True, exist_ok=True)
        elif step.name == "ENV":
            variables |= assigned(step, variables)
        elif step.name == "COPY":
            copy(step, sent, root, here, roots)
        elif step.name == "RUN":
            say(f"  RUN {re.sub(r'  +', ' ', step.text)[:90]} …")
            offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
            enter = f"exec chroot {root} /bin/sh -c 'cd {here} && exec sh -e'"
            command = f"mount --bind {wheels} {root}/wheels && {enter}"
            unshare = ["unshare", "--mount", "--net", "sh", "-ec", command]
            run(unshare, env=variables | offline, text=step.text)


def assigned(step: Step, variables: dict[str, str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in step.words)
    return {name: filled(value, variables) for name, _, value in pairs}


def inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def copy(step: Step, sent: Path, root: Path, here: Path, roots: dict[str, Path]) -> None:
    """A folder's content, or files; into a folder where the target ends with a slash."""
    *sources, target = step.words
    into = inside(root, here / target)
    for source in sources:
        origin = sent / source
        for flag in step.flags:
            origin = inside(roots[flag.removeprefix("--from=")], Path(source))
        if origin.is_dir():
            shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True)
        else:
            path = into / origin.name if target.endswith("/") else into
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, path)


# --- Serve ---


def serve(folder: Path, image: Path, node: Anvil) -> None:
    """Two lives on one volume, as `docker run -v` and `docker stop` would give them."""
    stage = read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"))[-1]
    volume = folder / "volume"
    volume.mkdir()
    variables = {"PATH": IN_PATH, "HOME": "/root", "HOST": "", "PORT": str(PORT)}
    for step in stage.all("ENV"):
        variables |= assigned(step, variables)
    variables |= {
        "WEB3_PROVIDER_URL": node.url,
        "PAYOUT_PRIVATE_KEY": key_of("spare2").secret,
        "CHAIN_ID": str(node.chain_id),
    }
    first = live(stage, image, volume, variables)
    assert "shown this once" in first, first
    second = live(stage, image, volume, variables)
    assert "shown this once" not in second, second
    key = (volume / "api_key").read_text(encoding="utf-8").strip()
    assert key in first
    assert key not in second
    modes = {path.name: (path.stat().st_uid, oct(path.stat().st_mode)) for path in volume.iterdir()}
    assert (UID, "0o100600") == modes["api_key"]
    owners = {uid for uid, _ in modes.values()}
    assert {UID} == owners
    say(f"  the volume: {modes}")


def live(stage: Stage, image: Path, volume: Path, variables: dict[str, str]) -> str:
    """One life: until healthy, then SIGTERM. What it said on stderr.

    Read-only but for the volume (`--read-only`), in namespaces where the entry is process 1.
    """
    words = [*stage.last("ENTRYPOINT").words, *stage.last("CMD").words]
    health = json.loads(stage.last("HEALTHCHECK").text.partition("CMD ")[2])
    here = stage.last("WORKDIR").text
    mounts = [
        f"mount --bind {image} {image}",
        f"mount -o remount,bind,ro {image}",
        f"mount --bind {volume} {inside(image, Path('/app/data'))}",
        f"mount -t proc proc {image}/proc",
        f"exec chroot {image} /bin/sh -c 'cd {here} && exec \"$@\"' sh {shlex.join(words)}",
    ]
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        start = time.monotonic()
        process = subprocess.Popen([*unshare, " && ".join(mounts)], env=variables, stderr=output)
        try:
            one = until(lambda: served_by(process))
            enter = ["nsenter", f"--target={one.pid}", "--mount", "--pid", "--root", "--wd"]
            checked = [*enter, *health]
            until(
                lambda: (
                    0
                    == subprocess.run(
                        checked, check=False, env=variables, stderr=subprocess.DEVNULL
                    ).returncode
                )
            )
            users, groups = one.uids(), one.gids()
            assert {UID} == set(users), users
            assert {UID} == set(groups), groups
            said = f"healthy after {time.monotonic() - start:.1f} s as {one.username()}"
            stop = time.monotonic()
            one.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE_S)
            took = time.monotonic() - stop
            say(f"  process 1 {said}; SIGTERM: exit code {code} after {took:.1f} s")
            assert code == 0
        finally:
            process.kill()
            process.wait()
            output.seek(0)
            text = output.read()
            if sys.exc_info()[0]:
                say(text)
    return text


def served_by(process: subprocess.Popen[bytes]) -> psutil.Process | None:
    """Process 1 of the new namespace, once it is the service."""
    if process.poll() is not None:
        raise AssertionError(f"it ended by itself, with exit code {process.returncode}")
    children = psutil.Process(process.pid).children()
    return next((child for child in children if "payouts" in child.cmdline()[-1:]), None)


def until(condition: Callable[[], Any]) -> Any:
    """Await a condition of another process; its value."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        if value := condition():
            return value
        time.sleep(0.1)  # Another process' doing cannot be awaited otherwise.
    raise AssertionError(f"not within {PATIENCE_S} s")


def run(command: list[str], *, env: dict[str, str] | None = None, text: str | None = None) -> None:
    """A program to its end; what it says is shown if it fails."""
    done = subprocess.run(command, check=False, env=env, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")


def size_mb(folder: Path) -> int:
    done = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()

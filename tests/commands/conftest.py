"""Fixtures of the command tests: a node, an installed package, a container folder."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.amoy import (
    new_keys,
)
from tests.commands.container_box import ROOT, Box, free_port, python_for_all
from tests.venvs import quietly, venv_with
from tools.dockerfile import stage_context
from tools.runtime_lock import PAYOUTS
from workbench.commands import container
from workbench.evm.deploy.plan import (
    Deployment,
)
from workbench.evm.node.anvil import Anvil
from workbench.evm.node.boot import boot
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE


@pytest.fixture(scope="module")
def booted() -> Iterator[tuple[Anvil, Deployment]]:
    """A world of ours."""
    node, where = boot()
    yield node, where
    node.stop()


@pytest.fixture(scope="module")
def another() -> dict[str, str]:
    """Keys of somebody who left a deployment half done."""
    return new_keys()


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


@pytest.fixture
def box(venv: Path, node: Anvil) -> Iterator[Box]:
    with tempfile.TemporaryDirectory(prefix="workbench-app-") as name:
        Path(name).chmod(0o755)
        box = Box(venv, node, Path(name), free_port())
        yield box
        for life in box.lives:
            life.process.kill()
            life.process.wait(10)

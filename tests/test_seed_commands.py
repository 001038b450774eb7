"""The commands of the two descriptions that the product grew from, with what they install alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.venvs import venv_with
from tools.runtime_lock import FILES, OTC, PAYOUTS, needed
from workbench.config.world_file import world_variables
from workbench.evm.deploy.plan import Deployment
from workbench.evm.node.anvil import Anvil
from workbench.evm.node.boot import boot
from workbench.evm.transactions.test_keys import TEST_KEYS, key_of
from workbench.settings import env_example

ROOT = Path(__file__).resolve().parent.parent
SERVES = {"server.py": "SELLER", "facilitator.py": "FACILITATOR", "tracker.py": "TRACKER"}
YPS_100 = "100000000000000000000"
PATIENCE_S = 60


@pytest.mark.parametrize("name", FILES)
def test_what_pip_installs_is_a_part_of_the_lock(name: str) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    header, _, text = (ROOT / name).read_text(encoding="utf-8").partition("\n")
    assert needed(lock, FILES[name][0]) == text
    assert header.startswith("# A part of requirements.lock: what ")


def test_both_examples_of_settings_are_the_same() -> None:
    """The descriptions name `.env.example` and `env.example`."""
    assert env_example() == (ROOT / "env.example").read_text(encoding="utf-8")


def test_each_program_explains_itself() -> None:
    for folder, words in ((ROOT, ["-m", "app.server"]), *((ROOT / "python", [n]) for n in SERVES)):
        shown = subprocess.run(
            [sys.executable, *words, "--help"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.startswith(f"Usage: python {' '.join(words)} [OPTIONS]\n")


# --- In a fresh checkout, with nothing else installed ---


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Anvil, Deployment]]:
    node, deployment = boot(31337, block_time=0.5)
    with node:
        yield node, deployment


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("app", "python", "workbench"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


def settings_file(folder: Path, **values: Any) -> None:
    lines = [f"{name}={value}\n" for name, value in values.items()]
    (folder / ".env").write_text("".join(lines), encoding="utf-8")


@contextmanager
def started(folder: Path, *command: str) -> Iterator[dict[str, Any]]:
    """A service until the end of the block: the line that it prints once it is ready."""
    plain = {"PATH": os.defpath, "HOME": str(folder)}
    with subprocess.Popen(
        [*command, "--json"], cwd=folder, env=plain, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
    assert process.returncode == 0, "it ends cleanly"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.mark.check
def test_the_credits_service_serves(checkout: Path, node: tuple[Anvil, Deployment]) -> None:
    python = str(venv_with(checkout, sys.executable, PAYOUTS) / "bin" / "python")
    (port,) = free_ports(1)
    settings_file(
        checkout,
        WEB3_PROVIDER_URL=node[0].url,
        PAYOUT_PRIVATE_KEY=key_of("payer").secret,
        CHAIN_ID=31337,
        PORT=port,
    )
    with started(checkout, python, "-m", "app.server") as caught:
        assert caught["url"] == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{caught['url']}/health", timeout=PATIENCE_S) as answer:
            health = json.load(answer)
    assert health["payer"] == key_of("payer").address
    assert health["token_mode"] is False
    assert (checkout / "data" / "app.db").exists()


@pytest.mark.check
def test_four_terminals_settle_a_purchase(checkout: Path, node: tuple[Anvil, Deployment]) -> None:
    python = str(venv_with(checkout, sys.executable, OTC) / "bin" / "python")
    anvil, deployment = node
    ports = free_ports(len(SERVES))
    world = {
        "rpc_url": anvil.url,
        "chain_id": deployment.chain_id,
        "addresses": dict(deployment.addresses),
        "keys": {key.role: key.secret for key in TEST_KEYS},
        "deploy_block": deployment.deploy_block,
        "finality_confirmations": 2,
    }
    at = dict(zip(SERVES.values(), ports, strict=True))
    places = {f"{name}_PORT": port for name, port in at.items()}
    urls = {f"{name}_URL": f"http://127.0.0.1:{at[name]}" for name in ("SELLER", "FACILITATOR")}
    settings_file(checkout, **{**world_variables(world), **places, **urls})
    with ExitStack() as stack:
        for program in SERVES:
            stack.enter_context(started(checkout / "python", python, program))
        bought = subprocess.run(
            [python, "client.py", YPS_100, "--json"],
            cwd=checkout / "python", env={"PATH": os.defpath, "HOME": str(checkout)},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert bought.returncode == 0, bought.stderr
    purchase = json.loads(bought.stdout.splitlines()[-1])
    assert (purchase["status"], purchase["asset_amount"]) == ("executed", 10**20)

"""A plain anvil node with the chain id of Polygon Amoy, and new keys."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from click.testing import Result

from tests.cli.test_cli import WORKBENCH
from workbench.commands import deploy as deploy_command
from workbench.evm.contracts.settlement import checksum
from workbench.evm.deploy.plan import (
    DeploymentPlan,
)
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.transactions.signer import KeySigner
from workbench.settings import BY_NAME


def last_json(result: Result) -> dict[str, Any]:
    """The JSON line; the runner puts standard error after it."""
    lines = [line for line in result.output.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1]))


def refusal(result: Result, code: str) -> str:
    """The message and its remedy; the error's code is `code`, and no key is in it."""
    assert result.exit_code == 1, result.output
    told = last_json(result)
    assert (told["status"], told["error"]) == ("failed", code), told
    assert "Traceback" not in result.output
    return f"{told['message']} {told.get('hint', '')}"


AMOY = 80002


ETHER = 10**18


CLEAN = {name: text for name, text in os.environ.items() if name not in BY_NAME}


# All that one deployment sends: nine creations, and what the steps need; the seller sends one.
OF_THE_DEPLOYER, OF_THE_SELLER = 26, 1


def new_keys() -> dict[str, str]:
    """Fresh private keys, by the settings that hold them."""
    return {name: "0x" + secrets.token_hex(32) for name in deploy_command.KEY_OF.values()}


def account(key: str) -> str:
    return checksum(KeySigner(key).address)


@dataclass
class Amoy:
    """A node that nobody marked as ours, and an operator's keys."""

    node: Anvil
    keys: dict[str, str]
    folder: Path
    said: list[str] = field(default_factory=list)
    """Everything that any run has written, and the arguments of its processes."""

    @property
    def env(self) -> dict[str, str]:
        return {**self.keys, "POLYGON_AMOY_RPC_URL": self.node.url}

    def deployed(self) -> dict[str, str]:
        """The settings with what the deployment wrote."""
        lines = (self.folder / ".env.amoy").read_text(encoding="utf-8").splitlines()
        return self.env | dict(line.split("=", 1) for line in lines if "=" in line)

    def start(self, *more: str) -> subprocess.Popen[str]:
        """A `workbench deploy --json` of this operator."""
        command = [WORKBENCH, "deploy", "--network", "amoy", "--json", *more]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=CLEAN | self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_said(self, process: subprocess.Popen[str], text: str) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"it never said {text!r}: {self.said[-5:]}")

    def kill_ape(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """SIGKILL to the process that deploys; what the command says then."""
        (ape,) = psutil.Process(process.pid).children()
        self.said.append(" ".join(ape.cmdline()))
        ape.kill()
        return self.end(process)

    def end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate(timeout=60)
        self.said += [out, err]
        told = json.loads(out.splitlines()[-1])
        assert (process.returncode == 0) is (told["status"] == "deployed")
        return dict(told)

    def count(self, role: str) -> int:
        """Transactions of a party that were mined."""
        address = account(self.keys[deploy_command.KEY_OF[role]])
        return int(self.node.call("eth_getTransactionCount", address, "latest"), 16)

    def head(self) -> str:
        return str(self.node.call("eth_getBlockByNumber", "latest", False)["hash"])


@contextmanager
def mining(url: str) -> Iterator[None]:
    """Ten blocks a second, by the time of day: confirmations come sooner than on any real chain."""
    done, rpc = threading.Event(), BlockingRpc(url)

    def mine() -> None:
        while not done.wait(0.1):
            rpc.now("evm_mine")

    thread = threading.Thread(target=mine)
    thread.start()
    yield
    done.set()
    thread.join()


def plan_of(keys: dict[str, str]) -> DeploymentPlan:
    parties = {role: account(keys[name]) for role, name in deploy_command.KEY_OF.items()}
    return replace(DeploymentPlan(), balancer=parties["deployer"], **parties)  # type: ignore[arg-type]

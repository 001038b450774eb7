"""`workbench deploy` without a node: pool managers, files, and its own process."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands.amoy import AMOY, new_keys, plan_of
from workbench.commands import deploy as deploy_command
from workbench.core.errors import DeployFailed
from workbench.evm.contracts.settlement import checksum
from workbench.evm.deploy import process as deploy_process
from workbench.evm.deploy.deployment import (
    carry_out,
)
from workbench.evm.deploy.inspection import DeploymentState
from workbench.evm.deploy.uniswap import POOL_MANAGERS
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.node_url import public_url, secrets_of


def test_only_uniswaps_own_pool_manager_is_used_and_only_where_it_is() -> None:
    """A chain that is not in the table, and a node without code at the address, have none."""
    assert AMOY not in POOL_MANAGERS
    assert 31337 not in POOL_MANAGERS
    assert all(at == checksum(at.lower()) for at in POOL_MANAGERS.values())
    with Anvil(chain_id=11155111) as node:
        rpc, at = BlockingRpc(node.url), POOL_MANAGERS[11155111]
        assert deploy_command.official_pool_manager(11155111, rpc) == ""
        node.call("anvil_setCode", at, "0xfe")
        assert deploy_command.official_pool_manager(11155111, rpc) == at
        assert deploy_command.official_pool_manager(AMOY, rpc) == ""
        # Code, but not that contract's.
        plan = replace(plan_of(new_keys()), pool_manager=at)
        with pytest.raises(DeployFailed, match=f"no Uniswap v4 PoolManager at {at}"):
            carry_out(node.url, 11155111, plan)
        # Another build of it: what answers as it does.
        node.call("anvil_setCode", at, "0x60005460005260206000f3")
        assert DeploymentState(rpc, plan).problems([]) == []


def test_an_env_file_keeps_its_lines_and_its_meaning(tmp_path: Path) -> None:
    """Values are replaced where they stand; a second line of the same name would win, and goes."""
    path = tmp_path / ".env"
    path.write_text(
        "A=1\nexport CHAIN_ID='5' # old\n\n CHAIN_ID = 6\nPRIVATE_KEY=0x1", encoding="utf-8"
    )
    link = tmp_path / "link"
    link.symlink_to(path)
    deploy_command.EnvFile(link).write({"CHAIN_ID": "7", "DEPLOY_BLOCK": "9"})
    assert (
        path.read_text(encoding="utf-8") == "A=1\nCHAIN_ID=7\n\nPRIVATE_KEY=0x1\nDEPLOY_BLOCK=9\n"
    )
    assert link.is_symlink()


def said_by(text: str, secrets_: list[str]) -> tuple[int, dict[str, str], list[str]]:
    """Exit code, failure and progress of a program in the place of Ape's."""
    steps: list[str] = []
    code, failure = deploy_process.run_and_report(
        [sys.executable, "-c", text], "{}", steps.append, secrets_
    )
    return code, failure, steps


def test_whatever_the_process_writes_no_secret_is_passed_on() -> None:
    """Keys, with and without 0x, and what a URL hides; in progress, errors and other output."""
    key, url = "0x" + "7e" * 32, "https://me:word@rpc.example/v2/apikey?token=abcdefgh"
    hidden = [key, *secrets_of(url)]
    say = "import sys; sys.stderr.write('%s\\n'); sys.exit(3)"
    step = json.dumps({"step": f"{key} {key[2:]} {url}"})
    code, _, steps = said_by(say % step, hidden)
    assert (code, steps) == (3, ["… … https://…rpc.example/…?…"])
    error = json.dumps({"error": "deploy_failed", "message": f"at {url}"})
    assert said_by(say % error, hidden)[1]["message"] == "at https://…rpc.example/…?…"
    assert said_by(say % f"lost {url}", hidden)[1]["message"] == "lost https://…rpc.example/…?…"
    assert secrets_of("http://127.0.0.1:8545/rpc") == []
    assert public_url(url) == "https://rpc.example"
    assert public_url("http://a:b@[::1]:8545/x") == "http://[::1]:8545"


def test_a_process_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_process, "SILENCE_LIMIT_S", 0.3)
    code, failure, _ = said_by("import time; time.sleep(60)", [])
    assert (code, failure["message"]) == (-9, "The deploying process wrote nothing for 0.3 s.")

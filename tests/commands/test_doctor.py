"""What `workbench doctor` says of payouts: cause and next step, on a real chain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.services.payouts.test_tokens import PAYER, act, call
from workbench import World
from workbench.commands.doctor import examine
from workbench.commands.doctor_findings import Finding
from workbench.evm.transactions.test_keys import key_of
from workbench.settings import Settings

NOWHERE = "0x" + "77" * 20
REVERTS = "0x5f5ffd"
SAYS_NO = "0x60206000f3"
"""Answers every call with 32 zero bytes: no allowance, and none is given."""


def examined(world: World, folder: Path, **environ: str) -> dict[str, Finding]:
    """Findings by subject, of somebody who pays credits out of this chain and does nothing else."""
    known = {
        "WEB3_PROVIDER_URL": world.node.url,
        "PAYOUT_PRIVATE_KEY": key_of("payer").secret,
        "CHAIN_ID": str(world.node.chain_id),
        "PAYOUT_BATCHER": world.deployment["PayoutBatcher"],
        "PAYOUT_BATCH": "10",
    }
    settings = Settings.load(environ=known | environ, folder=folder, world={})
    return {finding.subject: finding for finding in asyncio.run(examine(settings))}


def faults(found: dict[str, Finding]) -> dict[str, Finding]:
    return {subject: finding for subject, finding in found.items() if not finding.ok}


def test_payouts_in_batches_are_well(world: World, tmp_path: Path) -> None:
    found = examined(world, tmp_path)
    assert {} == faults(found)
    assert {"payouts' chain id", "EIP-1559", "the paying account's key", "the paying account's gas",
            "PAYOUT_BATCHER"} == set(found)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "cause", "remedy"),
    [
        (None, f"Contract not found: no code at {NOWHERE} (PAYOUT_BATCHER).", "workbench deploy"),
        ("0x00", f"the contract at {NOWHERE} (PAYOUT_BATCHER) is not this Payout", "the right one"),
    ],
)
def test_a_batcher_that_is_not_ours(
    world: World, tmp_path: Path, code: str | None, cause: str, remedy: str
) -> None:
    """Also where it would be used only for what was signed before."""
    world.node.call("anvil_setCode", NOWHERE, code or "0x")
    for batch in ("10", "1"):
        found = faults(examined(world, tmp_path, PAYOUT_BATCHER=NOWHERE, PAYOUT_BATCH=batch))
        assert ["PAYOUT_BATCHER"] == list(found)
        assert cause in found["PAYOUT_BATCHER"].cause
        assert remedy in found["PAYOUT_BATCHER"].remedy


def test_the_tokens_allowance(world: World, tmp_path: Path) -> None:
    """None yet is no fault: the service gives it. One that will never be is."""
    subject, token = "PAYOUT_BATCHER's allowance", world.deployment["MockUSDC"]
    known = {"TOKEN_ADDRESS": token, "UNITS_PER_CREDIT": "1000000"}
    found = examined(world, tmp_path, **known)
    assert {} == faults(found)
    assert "none yet; the service gives it" in found[subject].cause
    assert subject not in examined(world, tmp_path, **known, PAYOUT_BATCH="1")
    world.node.call("anvil_impersonateAccount", PAYER)
    data = call("approve(address,uint256)", world.deployment["PayoutBatcher"], 5)
    act(world, token, data, sender=PAYER)
    assert Finding(subject, True) == examined(world, tmp_path, **known)[subject]
    for code, decimals, cause in (
        (REVERTS, "6", "the token does not tell its allowances"),
        (SAYS_NO, "0", "the token would not let it be moved by the contract"),
    ):
        world.node.call("anvil_setCode", NOWHERE, code)
        own = {"TOKEN_ADDRESS": NOWHERE, "TOKEN_DECIMALS": decimals}
        found = faults(examined(world, tmp_path, **known | own))
        (fault,) = found.values()
        assert cause in fault.cause
        assert "set PAYOUT_BATCH=1" in fault.remedy


def test_other_faults_of_payouts(world: World, tmp_path: Path) -> None:
    poor = "0x" + "7e" * 32
    cases = {
        "payouts' chain id": ({"CHAIN_ID": "5"}, "is on chain 31337, CHAIN_ID says 5"),
        "TOKEN_ADDRESS": ({"TOKEN_ADDRESS": "0x" + "66" * 20, "UNITS_PER_CREDIT": "1"}, "no code"),
        "the paying account's gas": (
            {"PAYOUT_PRIVATE_KEY": poor},
            "=10 it should hold",
        ),
        "payouts' settings": ({"PAYOUT_BATCHER": ""}, "PAYOUT_BATCHER is not set"),
        "payouts node answers": ({"WEB3_PROVIDER_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    }
    for subject, (environ, cause) in cases.items():
        found = faults(examined(world, tmp_path, **environ))
        assert subject in found, (subject, found)
        assert cause in found[subject].cause
        assert found[subject].remedy


def test_a_batcher_that_the_deployment_named(world: World, tmp_path: Path) -> None:
    """Where nothing is paid out, it is looked for where settlements are."""
    none = {"WEB3_PROVIDER_URL": "", "PAYOUT_BATCH": ""}
    found = examined(world, tmp_path, **none, POLYGON_AMOY_RPC_URL=world.node.url)
    assert found["PAYOUT_BATCHER"].ok
    assert not found["SETTLEMENT_VAULT_ADDRESS"].ok
    found = examined(world, tmp_path, **none)
    assert "is not set" in found["WEB3_PROVIDER_URL"].cause

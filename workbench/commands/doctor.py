"""`workbench doctor`: checks all that settlements and payouts need; each fault has a remedy.

Each check is a function on a `DiagnosedChain` or a `DiagnosedWallet`. It yields one finding for
each item. A check that cannot run (the node is unreachable) is itself a fault, and later checks
still run.
"""

from __future__ import annotations

from typing import Any

from workbench.commands.doctor_findings import (
    Diagnosis,
    Finding,
    P,
)
from workbench.commands.doctor_payouts import PAYOUT_CHECKS, DiagnosedWallet
from workbench.commands.doctor_settlements import CHECKS, DiagnosedChain, node_answers
from workbench.core.errors import WorkbenchError
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.rpc.client import HttpRpc
from workbench.settings import ADDRESS_NAMES, BY_NAME, Settings
from workbench.worlds.remote import SEPOLIA, payout_key
from workbench.worlds.rules import PayoutConfig, address_of_key
from workbench.worlds.served import credits_of

SETTLING = ("POLYGON_AMOY_RPC_URL", *ADDRESS_NAMES.values())
"""Settlements need these. Without any of them, only payouts are checked."""


async def examine(settings: Settings) -> list[Finding]:
    """Run every check in order. A fault is a finding and never raised."""
    pays = any(settings[name] is not None for name in ("WEB3_PROVIDER_URL", "PAYOUT_BATCHER"))
    settles = not pays or any(settings[name] is not None for name in SETTLING)
    findings = await _settlements(settings) if settles else []
    return findings + (await _payouts(settings) if pays else [])


async def _settlements(settings: Settings) -> list[Finding]:
    """Run the checks of settlements, if their settings are complete."""
    missing = [name for name in SETTLING if settings[name] is None]
    remedy = "Set it in .env, or run `workbench up` in this folder."
    findings = [
        Finding(name, False, f"is not set ({BY_NAME[name].meaning}).", remedy) for name in missing
    ]
    if missing:
        return findings
    rpc = HttpRpc(settings["POLYGON_AMOY_RPC_URL"])
    try:
        patient = DiagnosedChain(
            settings, rpc, EvmChain(rpc, settings["CHAIN_ID"], settings.addresses)
        )
        for check in CHECKS:
            findings += await _run(check, patient)
            if check is node_answers and not findings[-1].ok:
                break  # Nothing else can be read.
    finally:
        await rpc.close()
    return findings


async def _payouts(settings: Settings) -> list[Finding]:
    """Check payouts. Without WEB3_PROVIDER_URL, only the batcher that `workbench deploy` named."""
    is_served = settings["WEB3_PROVIDER_URL"] is not None
    url = settings["WEB3_PROVIDER_URL"] or settings["POLYGON_AMOY_RPC_URL"]
    if url is None:
        meaning = BY_NAME["WEB3_PROVIDER_URL"].meaning
        return [Finding("WEB3_PROVIDER_URL", False, f"is not set ({meaning}).", "Set it in .env.")]
    try:
        account = address_of_key(payout_key(settings)) if is_served else None
        credits_ = (
            credits_of(settings) if is_served else PayoutConfig(batcher=settings["PAYOUT_BATCHER"])
        )
    except WorkbenchError as why:
        return [Finding("payouts' settings", False, why.message, why.hint)]
    rpc, is_given = HttpRpc(url), "CHAIN_ID" in settings.given or not is_served
    chain_id = settings["CHAIN_ID"] if is_given else SEPOLIA
    findings: list[Finding] = []
    try:
        wallet = DiagnosedWallet(settings, credits_, rpc, chain_id, account)
        for check in PAYOUT_CHECKS:
            findings += await _run(check, wallet)
            if not findings[0].ok:
                break  # Without the node nothing else can be read.
    finally:
        await rpc.close()
    return findings


async def _run(check: Diagnosis[P], patient: P) -> list[Finding]:
    """Return the findings of one check. A check that raises is a fault."""
    found: list[Finding] = []
    try:
        async for finding in check(patient):
            found.append(finding)
    except WorkbenchError as why:
        subject = check.__name__.replace("_", " ")
        found.append(Finding(subject, False, why.message, why.hint))
    return found


def report(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings for machines."""
    faults = [f for f in findings if not f.ok]
    return {
        "status": "faults" if faults else "ok",
        "faults": [{"subject": f.subject, "cause": f.cause, "remedy": f.remedy} for f in faults],
        "checked": len(findings),
    }

"""The ledger of credits: verify, reconcile."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from workbench.core.errors import WorkbenchError

if TYPE_CHECKING:
    pass
from workbench.cli.root import main
from workbench.cli.talk import (
    clean_exit,
    fail,
)


@main.group()
def ledger() -> None:
    """The credits' ledger: verify its lines, reconcile it with the chain.

    Takes the database of `workbench payouts`: DB_PATH, or DATABASE_URL.
    """


@ledger.command("verify")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: lines, head.")
def ledger_verify(as_json: bool) -> None:
    """Prove that no line of the ledger was changed, and that every sum is that of its lines.

    Prints how many lines there are, and the hash of the last: keep it elsewhere, and a ledger that
    was cut or written anew is found, too. Exit code 1 names the first line that is wrong.
    """
    with clean_exit(as_json):
        from workbench.live import ledger_verified
        from workbench.settings import Settings

        lines, head = asyncio.run(ledger_verified(Settings.load()))
        text = json.dumps({"lines": lines, "head": head})
        click.echo(text if as_json else f"{lines} lines, all as written; the last is {head}")


@ledger.command("reconcile")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: the whole report.")
def ledger_reconcile(as_json: bool) -> None:
    """Hold the ledger against the chain at a final block.

    What came into the wallet is booked as funding. What left it, and is no payout's, is booked to
    suspense, and stops the signer. Exit code 0 means: everything is explained.
    """
    with clean_exit(as_json):
        from workbench.live import ledger_reconciled
        from workbench.settings import Settings

        report = asyncio.run(ledger_reconciled(Settings.load()))
        told = report.to_json()
        if as_json:
            click.echo(json.dumps(told))
        elif report.is_settled:
            click.echo(f"at block {report.block}:")
            for asset, held in told["chain"].items():
                booked = told["booked"].get(asset, "0")
                click.echo(f"  {asset}: chain {held}, ledger {told['ledger'][asset]} + {booked}")
            for line in report.strange:
                click.echo(f"  no payout of ours: {line}")
        if not report.is_right:
            why = "something is missing" if report.is_settled else "payouts are not judged yet"
            fail(WorkbenchError(f"not reconciled: {why}."), False, 1)

"""The ledger of credits: verify, reconcile."""

from __future__ import annotations

import asyncio
import json

import click

from workbench.cli.output import clean_exit, fail
from workbench.cli.root import main
from workbench.core.errors import WorkbenchError


@main.group()
def ledger() -> None:
    """The credits' ledger: verify its lines, reconcile it with the chain, show webhook deliveries.

    Uses the database of `workbench payouts`: DB_PATH, or DATABASE_URL.
    """


@ledger.command("verify")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: lines, head.")
def ledger_verify(as_json: bool) -> None:
    """Prove that no line of the ledger and no payout was changed, and that every sum is right.

    Each payout is compared with its facts, its hold, its idempotency key and its signed bytes.
    Prints how many lines there are, and the hash of the last: keep it elsewhere, and a ledger that
    was cut or written anew is found, too. Exit code 1 names what is wrong first.
    """
    with clean_exit(as_json):
        from workbench.settings import Settings
        from workbench.worlds.remote import ledger_verified

        lines, head = asyncio.run(ledger_verified(Settings.load()))
        text = json.dumps({"lines": lines, "head": head})
        some = "1 line, as it was" if lines == 1 else f"{lines} lines, all as they were"
        click.echo(text if as_json else f"{some} written; the last is {head}")


@ledger.command("reconcile")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: the whole report.")
def ledger_reconcile(as_json: bool) -> None:
    """Compare the ledger with the chain at a final block.

    What came into the wallet is booked as funding. What left it, and is no payout's, is booked to
    suspense, and stops the signer. Exit code 0 means: everything is explained.
    """
    with clean_exit(as_json):
        from workbench.settings import Settings
        from workbench.worlds.remote import ledger_reconciled

        report = asyncio.run(ledger_reconciled(Settings.load()))
        told = report.to_json()
        if as_json:
            click.echo(json.dumps(told))
        elif report.is_settled:
            click.echo(f"at block {report.block}, in base units:")
            for asset, held in told["chain"].items():
                booked = told["booked"].get(asset)
                more = f", {booked} booked now" if booked else ""
                kept = told["ledger"][asset]
                click.echo(f"  {asset}: {held} on the chain, {kept} in the ledger{more}")
            for line in report.strange:
                click.echo(f"  no payout of ours: {line}")
        if not report.is_right:
            why = "something is missing" if report.is_settled else "payouts are not judged yet"
            why = report.unsure.rstrip(".") or why
            fail(WorkbenchError(f"not reconciled: {why}."), False, 1)
        if not as_json:
            click.echo("reconciled: everything is explained")


@ledger.command("webhooks")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: the list of them.")
def ledger_webhooks(as_json: bool) -> None:
    """Show the position of each subscriber (WEBHOOK_URLS), and its last failure.

    Its URL's path may be secret: shown are its host, and the id that /v1/webhooks/ID:resume takes.
    """
    with clean_exit(as_json):
        from workbench.settings import Settings
        from workbench.worlds.remote import webhooks_told

        told = asyncio.run(webhooks_told(Settings.load()))
        if as_json:
            click.echo(json.dumps({"webhooks": told}))
            return
        for each in told:
            reason = f": {each['reason']}" if "reason" in each else ""
            place, waiting = each["place"], f"{each['waiting']} waiting"
            click.echo(f"{each['id']}  {place}  {each['state']}, {waiting}{reason}")
        if not told:
            click.echo("nobody is to be told: WEBHOOK_URLS is not set")

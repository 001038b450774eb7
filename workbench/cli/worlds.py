"""A world and its parts: demo, up, buy, the services alone, deploy, doctor, env."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from workbench.core.errors import WorkbenchError
from workbench.core.money import EURC, USDC, YPS, Amount

if TYPE_CHECKING:
    from workbench.lab.execute import WarmKernel
from workbench.cli.output import (
    AMOUNT_HELP,
    AddressType,
    AmountType,
    clean_exit,
    fail,
    progress,
    stop_on_signals,
    wait,
)
from workbench.cli.root import main


@main.command()
@click.option(
    "--amount", type=AmountType(), default=100 * 10**18, help=f"YPS to buy, {AMOUNT_HELP}."
)
@click.option("--ports", type=click.Choice(["fixed", "auto"]), default="fixed",
              help="fixed: 8402, 8403, 5000, 8080 or as set; auto: free ones.")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"),
              help="Folder in which the run is kept.")  # fmt: skip
@click.option("--no-notebook", is_flag=True, help="Do not execute 02_run.ipynb into the run.")
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def demo(amount: int, ports: str, runs: Path, no_notebook: bool, as_json: bool) -> None:
    """Run one whole settlement on a fresh chain, and prove that every balance reconciles.

    Exit code 0 means: executed, and correct to the base unit.
    """
    with clean_exit(as_json):
        from workbench.commands.demo import run_demo
        from workbench.settings import Settings

        settings = Settings.load(world={})
        with RunNotebook(wanted=not no_notebook) as paper:
            outcome = run_demo(
                amount,
                runs=runs,
                auto_ports=ports == "auto",
                progress=progress,
                settings=settings,
                beside=paper,
            )
        if as_json:
            click.echo(json.dumps({**outcome.summary(), "notebook": paper.path}))
        else:
            _show(outcome)


class RunNotebook:
    """The notebook of a run: its kernel warms up while the run is under way.

    A failure of it is reported in one line; the run is kept anyway.
    """

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._kernel: WarmKernel | None = None
        self._run_dir: Path | None = None
        self.path: str | None = None

    def warm_up(self) -> None:
        """Start the kernel in a process of its own."""
        if self._wanted:
            from workbench.lab.execute import WarmKernel

            with self._excused():
                self._kernel = WarmKernel()

    def begin(self, run_dir: Path) -> None:
        """Have 02_run.ipynb executed into a run's folder."""
        if self._kernel is not None:
            with self._excused():
                # It loads the folder that it is in, also after a move.
                told = {"run_dir": "."}
                self._kernel.begin("02_run.ipynb", run_dir, told, name="run.ipynb")
                self._run_dir = run_dir

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the notebook, also after a failed run, but not after Ctrl-C."""
        if self._kernel is None:
            return
        if self._run_dir is not None and (kind is None or issubclass(kind, WorkbenchError)):
            with self._excused():
                self.path = str(self._run_dir / self._kernel.finish().name)
                progress(f"     notebook {self.path}")
        self._kernel.close()

    @contextmanager
    def _excused(self) -> Iterator[None]:
        try:
            yield
        except WorkbenchError as why:
            click.echo(click.style(f"     no notebook: {why}", fg="yellow"), err=True)


@main.command()
@click.option("--ports", type=click.Choice(["fixed", "auto"]), default="fixed",
              help="fixed: 8402, 8403, 5000, 8080 or as set; auto: free ones.")  # fmt: skip
@click.option("--chain-id", type=click.IntRange(1, 2**53),
              help="80002 rehearses Amoy.  [default: 31337, or the fork's own]")  # fmt: skip
@click.option("--fork", metavar="URL", help="Build on a copy of the chain at this RPC URL.")
@click.option("--fork-block", type=click.IntRange(0), help="As of this block; default: the latest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout once ready.")
def up(
    ports: str, chain_id: int | None, fork: str | None, fork_block: int | None, as_json: bool
) -> None:
    """Run a chain, the seller, the facilitator, the tracker and payouts until Ctrl-C.

    Writes .workbench/world.json (readable by you alone), so that `workbench buy` and notebooks in
    this folder find the world; there is one world in a folder. Everything ends with this command.

    With --fork, everything is deployed on top of another chain, which is not changed.
    """
    if fork_block is not None and fork is None:
        raise click.UsageError("--fork-block needs --fork URL.")
    with clean_exit(as_json):
        from workbench.settings import Settings
        from workbench.worlds.local import LocalWorld, boot_served, fork_served
        from workbench.worlds.served import refuse_second_world

        refuse_second_world(Path.cwd())
        settings, upstream = Settings.load(world={}), None
        if fork is None:
            node, deployment = boot_served(chain_id or 31337, progress)
        else:
            node, deployment, upstream = fork_served(fork, fork_block, chain_id, progress)
        data = Path(tempfile.mkdtemp(prefix="workbench-up-"))
        try:
            world = LocalWorld(
                node, deployment, data, settings, auto_ports=ports == "auto", upstream=upstream
            )
            asyncio.run(_serve(world, as_json))
        finally:
            node.stop()
            shutil.rmtree(data, ignore_errors=True)


async def _serve(world: Any, as_json: bool) -> None:
    """Serve the world and print its description, until Ctrl-C."""
    from workbench.worlds.served import write_world_file

    stop = stop_on_signals()
    async with world:
        description = world.description()
        remove = write_world_file(description, Path.cwd())
        try:
            if as_json:
                click.echo(json.dumps(description))
            else:
                _tell_world(description)
            while not stop.is_set() and world.node.alive:
                await wait(stop)
        finally:
            remove()
    if not stop.is_set():
        raise WorkbenchError("the node ended.", hint="Run `workbench up` again.")


@main.command()
@click.argument("amount", type=AmountType())
@click.option("--seller-url", help="Another seller than the one in the settings.")
@click.option("--seller", type=AddressType(), help="The seller's address: nobody else is paid.")
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def buy(amount: int, seller_url: str | None, seller: str | None, as_json: bool) -> None:
    """Buy AMOUNT of the asset over HTTP 402, and follow the settlement to its end.

    AMOUNT is in base units as in the API (100000000000000000000), or 100yps.
    Uses the world of `workbench up` in this folder, unless .env or the environment say otherwise.
    Pays only the seller that --seller, SELLER_ADDRESS, the world or SELLER_PRIVATE_KEY names.
    """
    with clean_exit(as_json, "what was signed goes on without us: workbench settlement show ID"):
        from workbench.settings import Settings

        purchase = asyncio.run(_buy(Settings.load(), amount, seller_url, seller))
        if as_json:
            from dataclasses import asdict

            click.echo(json.dumps(asdict(purchase)))
        else:
            click.echo(f"{purchase.status}: {Amount(purchase.asset_amount, YPS)} for "
                       f"{Amount(purchase.eurc_spent, EURC)} {purchase.settlement_id}")  # fmt: skip
        if purchase.status != "executed":
            from workbench.evm.codec.reverts import explain_reason

            fail(explain_reason(purchase.reason), False, 1)


async def _buy(settings: Any, amount: int, seller_url: str | None, seller: str | None) -> Any:
    from workbench.worlds.remote import live_buyer

    async with live_buyer(settings, seller) as buyer:
        return await buyer.buy(seller_url or settings.need("SELLER_URL"), amount, progress)


def _part(name: str) -> None:
    """The command of one service alone."""

    service = "payout service" if name == "payouts" else name
    text = f"""Run the {service} alone, on the chain that the settings name, until Ctrl-C.

    Needs {PARTS[name]}; in .env or in the environment.
    {BESIDES.get(name, "")}"""

    @main.command(name, help=text)
    @click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout once ready.")
    def command(as_json: bool) -> None:
        with clean_exit(as_json):
            from workbench.settings import Settings

            asyncio.run(_run_part(name, Settings.load(), as_json))


PARTS = {
    "seller": "SELLER_PRIVATE_KEY, the contract addresses, POLYGON_AMOY_RPC_URL, FACILITATOR_URL",
    "facilitator": "PRIVATE_KEY, the contract addresses, POLYGON_AMOY_RPC_URL",
    "tracker": "the contract addresses, POLYGON_AMOY_RPC_URL, SELLER_URL, FACILITATOR_URL",
    "payouts": "WEB3_PROVIDER_URL, PAYOUT_PRIVATE_KEY",
}
"""The services that run alone, and the settings each needs."""
BESIDES = {
    "payouts": "WEBHOOK_URLS receive the facts of payouts, signed with WEBHOOK_SECRET.\n    "
}
"""Further help."""


for _name in PARTS:
    _part(_name)


async def _run_part(name: str, settings: Any, as_json: bool) -> None:
    """Run one service until Ctrl-C."""
    from workbench.worlds.remote import live_part, live_payouts

    stop = stop_on_signals()
    part = live_payouts(settings) if name == "payouts" else live_part(name, settings)
    async with await part as served:
        url, chain_id = served.url(name), served.place.chain_id
        text = f"{name} {url}, chain {chain_id} (Ctrl-C ends it)"
        told = {"service": name, "url": url, "chain_id": chain_id, "pid": os.getpid()}
        click.echo(json.dumps(told) if as_json else text)
        while not stop.is_set():
            await wait(stop)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line: status, faults, checked.")
def doctor(as_json: bool) -> None:
    """Check all that settlements and payouts need, with a remedy for each fault.

    Settings, node, contracts, roles, keys, balances, allowances, liquidity, rate, finality; where
    credits are paid out, that node, account, token and batcher. Exit code 1 if there is any fault.
    """
    with clean_exit(as_json):
        from workbench.commands.doctor import examine, report
        from workbench.settings import Settings

        findings = asyncio.run(examine(Settings.load()))
        if as_json:
            click.echo(json.dumps(report(findings)))
        else:
            for finding in findings:
                click.echo(click.style(finding.line(), fg=None if finding.ok else "red"))
        if any(not finding.ok for finding in findings):
            sys.exit(1)


@main.command()
@click.option("--network", type=click.Choice(["amoy", "sepolia", "local"]),
              help="amoy is 80002, sepolia 11155111, local the world of `up` here.")  # fmt: skip
@click.option("--rpc", metavar="URL", help="Another endpoint than POLYGON_AMOY_RPC_URL.")
@click.option("--chain-id", type=click.IntRange(1, 10**12 - 1),
              help="What it must answer.  [default: the network's, or CHAIN_ID]")  # fmt: skip
@click.option("--env-out", metavar="FILE", type=click.Path(path_type=Path),
              help="Put the addresses, never keys, into this file, such as .env.")  # fmt: skip
@click.option("--plan", metavar="FILE", type=click.Path(path_type=Path),
              help="JSON: other amounts, rate, gates or parties.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def deploy(
    network: str | None,
    rpc: str | None,
    chain_id: int | None,
    env_out: Path | None,
    plan: Path | None,
    as_json: bool,
) -> None:
    """Deploy contracts, pool and stocks onto any chain, through Ape; print the settings.

    Needs DEPLOYER_PRIVATE_KEY, and the parties' keys or addresses. Safe to repeat: what is there
    is found and verified, what is missing is done, and an interrupted run is continued.
    """
    with clean_exit(as_json):
        from workbench.commands import deploy

        file = deploy.EnvFile(env_out) if env_out else None
        where = deploy.target(network, rpc, chain_id)
        outcome = deploy.deploy(where, deploy.plan_for(where, plan), progress)
        found = deploy.variables(outcome)
        if file:
            file.write(found)
            progress(f"settings written to {env_out}")
        if as_json:
            click.echo(json.dumps(deploy.summary(outcome)))
        else:
            click.echo("\n".join(f"{name}={value}" for name, value in found.items()))


@main.command("env")
def env_command() -> None:
    """Print every setting with its meaning and default (the text of .env.example)."""
    from workbench.settings import env_example

    click.echo(env_example(), nl=False)


def _tell_world(description: dict[str, Any]) -> None:
    """Print where the services of a world listen."""
    for name in ("tracker", "seller", "facilitator", "payouts", "rpc"):
        click.echo(f"  {name:12} {description[f'{name}_url']}")
    click.echo(f"  {'chain id':12} {description['chain_id']}")
    if fork := description.get("fork"):
        click.echo(f"  {'fork of':12} {fork['url']} at block {fork['block']}")
    click.echo("Buy something in another terminal:  workbench buy 100yps      (Ctrl-C ends it all)")


def _show(outcome: Any) -> None:
    """Print the result of a deployment for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    stages = Table(title=f"Settlement {outcome.run.settlement_id}", title_justify="left")
    for name, justify in (("stage", "left"), ("block", "right"), ("gas", "right"),
                          ("seconds", "right"), ("transaction", "left")):  # fmt: skip
        stages.add_column(name, justify=justify, no_wrap=name != "transaction")  # type: ignore[arg-type]
    for stage in outcome.run.stages():
        gas = f"{stage['gas']:,}" if stage["gas"] else ""
        block = str(stage["block"] or "")
        stages.add_row(stage["name"], block, gas, f"{stage['seconds']:.1f}", stage["tx"] or "")
    console.print(stages)
    table = Table(title="Balances", title_justify="left")
    for name in ("account", "token", "before", "after", "change"):
        table.add_column(name, justify="left" if name in ("account", "token") else "right")
    tokens = {token.symbol: token for token in (USDC, EURC, YPS)}
    for row in outcome.run.balances_seen:
        amounts = (f"{Decimal(str(Amount(units, tokens[row.token])).split()[0]):,}"
                   for units in (row.before, row.after, row.change))  # fmt: skip
        table.add_row(row.account, row.token, *amounts)
    console.print(table)
    paid = outcome.payout
    console.print(f"Payout: {paid['credits']} credits, {paid['amount']} to {paid['address']}, "
                  f"asked for twice, paid once: {paid['tx']}")  # fmt: skip
    console.print(f"Executed, and every balance reconciles. Open {outcome.run_dir}/timeline.html")

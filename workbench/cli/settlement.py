"""The commands of an operator: settlement show, cancel, refund, claim, rescue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from workbench.commands.settlement import ActionResult, SettlementOperator
from workbench.cli.output import AS_JSON, clean_exit
from workbench.cli.root import main

T = TypeVar("T")


@main.group()
def settlement() -> None:
    """Show one settlement by its ID, or end it manually.

    On the chain of .env, of the environment, or of the world that runs in this folder. What is done
    already is reported and not repeated.
    """


BY = click.option("--by", type=click.Choice(["buyer", "seller"]),
                  help="Whose key acts.  [default: the one that is a party's]")  # fmt: skip


TO = click.option("--to", metavar="ADDRESS", help="Who gets it.  [default: the one who acts]")


@settlement.command()
@click.argument("id")
@AS_JSON
def show(id: str, as_json: bool) -> None:
    """Show the state of the settlement ID, from the logs of the chain."""
    with clean_exit(as_json):
        from workbench.commands.settlement import describe

        seen = _by_hand(lambda operator: operator.show(id))
        told = describe(seen)
        if as_json:
            click.echo(json.dumps(told))
        else:
            for name, value in told.items():
                click.echo(f"  {name:16} {value}")


@settlement.command()
@click.argument("id")
@BY
@AS_JSON
def cancel(id: str, by: str | None, as_json: bool) -> None:
    """End the settlement ID before it is funded, as its buyer or seller."""
    with clean_exit(as_json):
        _tell_act(_by_hand(lambda operator: operator.cancel(id, by)), as_json)


@settlement.command()
@click.argument("id")
@click.option("--by", type=click.Choice(["buyer", "seller", "facilitator", "deployer"]),
              help="Whose key pays for gas.  [default: the first there is]")  # fmt: skip
@AS_JSON
def refund(id: str, by: str | None, as_json: bool) -> None:
    """Refund both parties of the settlement ID: anyone may, after its deadline.

    Before the deadline only the facilitator may, and after the swap nobody.
    """
    with clean_exit(as_json):
        _tell_act(_by_hand(lambda operator: operator.refund(id, by)), as_json)


@settlement.command()
@click.argument("id")
@BY
@TO
@AS_JSON
def claim(id: str, by: str | None, to: str | None, as_json: bool) -> None:
    """Claim what is parked for a party of the settlement ID, because a token refused to pay.

    The vault parks by owner and token: the party's other settlements are included.
    """
    with clean_exit(as_json):
        _tell_act(_by_hand(lambda operator: operator.claim(id, by, to)), as_json)


@main.command()
@click.argument("token")
@TO
@AS_JSON
def rescue(token: str, to: str | None, as_json: bool) -> None:
    """Send out what the vault holds of TOKEN and owes to nobody.

    TOKEN is usdc, eurc, yps, or an address. Needs the key of the vault's admin,
    DEPLOYER_PRIVATE_KEY.
    """
    with clean_exit(as_json):
        _tell_act(_by_hand(lambda operator: operator.rescue(token, to)), as_json)


def _by_hand(work: Callable[[SettlementOperator], Awaitable[T]]) -> T:
    """One act on the chain that the settings name."""
    from workbench.commands.settlement import open_operator
    from workbench.settings import Settings

    async def act() -> T:
        async with open_operator(Settings.load()) as operator:
            return await work(operator)

    return asyncio.run(act())


def _tell_act(act: ActionResult, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(act)))
    elif act.status == "already":
        click.echo(f"{act.act}: nothing to do, it is {act.state} already.")
    else:
        taken = ", ".join(f"{units} of {token}" for token, units in act.amounts)
        click.echo(f"{act.act}: done{f', {taken}' if taken else ''}, in block {act.block} "
                   f"by {act.tx}")  # fmt: skip

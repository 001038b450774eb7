"""Output and end of commands: progress, errors as text or JSON, signals."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from workbench.core.errors import InvalidAmount, InvalidPayment, WorkbenchError
from workbench.core.money import YPS, parse_decimal, parse_units
from workbench.core.x402 import address

AMOUNT_HELP = "in base units (100000000000000000000), or with the token's name (100yps)"


class AmountType(click.ParamType):
    name = "amount"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        try:
            if text.lower().endswith("yps"):
                return parse_units(str(parse_decimal(text[:-3].strip(), YPS.decimals)))
            return parse_units(text)
        except InvalidAmount as why:
            self.fail(f"{why.message.rstrip('.')}; write it {AMOUNT_HELP}.", param, ctx)


class AddressType(click.ParamType):
    name = "address"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        try:
            return address(str(value).strip(), "it")
        except InvalidPayment:
            self.fail(f"{str(value)[:80]!r} is not an address (0x and 40 hex digits).", param, ctx)


class Interrupted(KeyboardInterrupt):
    """SIGTERM, as an exception, so that every `finally` runs, and all that answers Ctrl-C."""


AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")


def progress(text: str) -> None:
    click.echo(click.style(text, dim=text.startswith(" ")), err=True)


def stop_on_signals() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM, so that what is open closes in order."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def wait(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), 1.0)


@contextmanager
def clean_exit(as_json: bool, stopped: str = "everything is stopped.") -> Iterator[None]:
    """Errors as text or JSON; SIGTERM and Ctrl-C run every `finally` first.

    `stopped`: the text after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except WorkbenchError as why:
        fail(why, as_json, 1)
    except Interrupted:
        sys.exit(143)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo(f"interrupted; {stopped}", err=True)
        sys.exit(130)


def _interrupt(*_: object) -> NoReturn:
    raise Interrupted


def fail(why: WorkbenchError, as_json: bool, code: int) -> NoReturn:
    """Print the error as text or JSON, and exit with its code."""
    if as_json:
        click.echo(json.dumps({"status": "failed", **why.to_json()}))
    click.echo(click.style("error: ", fg="red", bold=True) + why.message, err=True)
    if why.hint:
        click.echo(f"  {why.hint}", err=True)
    sys.exit(code)

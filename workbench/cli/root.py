"""The command `workbench` itself; other modules add their commands."""

from __future__ import annotations

import logging

import click


class CommandGroup(click.Group):
    """List commands with their whole first sentence, which click would cut."""

    group_class = type  # Subgroups have this class, too.

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        told = [(n, self.commands[n].get_short_help_str(1_000)) for n in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(told)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(package_name="settlement-workbench", prog_name="workbench")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what the services do.")
def main(verbose: bool) -> None:
    """Settlement Workbench: x402 settlements and credits payouts on a real chain, on this machine.

    \b
    Try:
      workbench demo            one whole settlement, from HTTP 402 to delivered asset
      workbench up              a chain and all services, until Ctrl-C
      workbench buy 100yps      a purchase from the world that `up` runs in this folder
      workbench run scenarios/storm.yaml   a whole market with faults, in seconds
      workbench payouts         credits, paid out exactly once, on the chain that .env names
    """
    _set_logging(logging.INFO if verbose else logging.WARNING)


def run_command(name: str, program: str) -> None:
    """Run one command as a program of its own, whose `--help` says `program`."""
    _set_logging(logging.WARNING)
    main.commands[name].main(prog_name=program)


def _set_logging(level: int) -> None:
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)

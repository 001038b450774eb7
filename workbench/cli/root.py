"""The command `workbench` itself; the modules beside this one hang their commands on it."""

from __future__ import annotations

import logging

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="settlement-workbench", prog_name="workbench")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what the services do.")
def main(verbose: bool) -> None:
    """Settlement Workbench: x402 OTC settlement on a real chain, on this machine.

    \b
    Try:
      workbench demo            one whole settlement, from HTTP 402 to delivered asset
      workbench up              chain, seller, facilitator and tracker, until Ctrl-C
      workbench buy 100yps      a purchase from the world that `up` runs in this folder
      workbench run scenarios/storm.yaml   a whole market with faults, in seconds
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)

"""The command `workbench`. Each command does one thing, reports it, and ends cleanly."""

from workbench.cli import lab, ledger, scenarios, settlement, worlds
from workbench.cli.root import main, run_command

__all__ = ["lab", "ledger", "main", "run_command", "scenarios", "settlement", "worlds"]

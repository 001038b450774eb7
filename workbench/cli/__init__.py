"""The command `workbench`. Each command does one thing, says what happens, and ends cleanly."""

from workbench.cli import books, byhand, lab, scenarios, worlds
from workbench.cli.root import main, run_command

__all__ = ["books", "byhand", "lab", "main", "run_command", "scenarios", "worlds"]

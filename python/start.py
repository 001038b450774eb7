"""Runs a command of the workbench from this folder, with the settings of the folder above."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def start(command: str) -> None:
    """Run `workbench COMMAND` with the arguments of this program.

    `.env` and the databases belong to the folder above, as in the description: `cp ../env.example
    ../.env`. The project need not be installed.
    """
    program = Path(sys.argv[0]).name
    os.chdir(PROJECT)
    sys.path.insert(0, str(PROJECT))
    from workbench.cli import run_command

    run_command(command, f"python {program}")

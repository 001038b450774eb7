"""`python -m app.server`: the credits payout service, the same as `workbench payouts`.

It reads `.env` in the current folder, and takes the options of that command (`--help`).
"""

from __future__ import annotations

from workbench.cli import run_command

if __name__ == "__main__":
    run_command("payouts", "python -m app.server")

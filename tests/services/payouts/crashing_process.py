"""`workbench payouts` as a process that kills itself (kill -9) at its n-th commit.

    python -m tests.services.payouts.crashing_process before|after N      (0: never)

The first line on stdout is its URL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from workbench.settings import Settings
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.remote import live_payouts


async def serve(moment: str, step: int) -> None:
    async with await live_payouts(Settings.load()) as served:
        store, commits = served.stores["payouts"], 0
        assert isinstance(store, LedgerStore)

        def count() -> None:
            nonlocal commits
            commits += 1
            if commits == step:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(store, f"{moment}_commit", count)
        sys.stdout.write(f"{served.url('payouts')}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))

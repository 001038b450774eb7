"""Complete settings, and wrong values for each of them."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from workbench.config.world_file import WORLD_FILE
from workbench.core.errors import WorkbenchError
from workbench.evm.transactions.test_keys import TEST_KEYS
from workbench.settings import Settings

ROOT = Path(__file__).parents[1]

KEY = "0x" + "7e" * 32

WORLD: dict[str, Any] = {
    "rpc_url": "http://127.0.0.1:18545",
    "chain_id": 31337,
    "seller_url": "http://127.0.0.1:18402",
    "facilitator_url": "http://127.0.0.1:18403",
    "tracker_url": "http://127.0.0.1:15000",
    "addresses": {
        name: "0x" + f"{n:02x}" * 20
        for n, name in enumerate(
            ("MockUSDC", "MockEURC", "YieldPoolShare", "SettlementVault", "PermitPuller",
             "FacilitatorHook", "PoolManager"), 1)
    },
    "keys": {key.role: key.secret for key in TEST_KEYS},
    "finality_confirmations": 2,
    "deploy_block": 5,
    "pid": 1,
}  # fmt: skip


def load(
    folder: Path, environ: dict[str, str] | None = None, *, env: str = "", world: Any = None
) -> Settings:
    """Settings of a folder with this `.env` and this world file, under this environment alone."""
    if env:
        (folder / ".env").write_text(env, encoding="utf-8")
    if world is not None:
        (folder / WORLD_FILE).parent.mkdir(exist_ok=True)
        (folder / WORLD_FILE).write_text(
            world if isinstance(world, str) else json.dumps(world), encoding="utf-8"
        )
    return Settings.load(environ or {}, folder)


FREE = {"HOST", "DATA_DIR", "DB_PATH", "PAYOUT_KEYSTORE", "PAYOUT_KEYSTORE_PASSWORD"}
"""Any text will do; what is wrong with it only the system can say."""


def told(error: BaseException) -> str:
    """All that a log or a terminal could show of an error."""
    shown = [str(error), repr(error), "".join(traceback.format_exception(error))]
    if isinstance(error, WorkbenchError):
        shown += [error.message, error.hint, json.dumps(error.to_json())]
    return "\n".join(shown).lower()

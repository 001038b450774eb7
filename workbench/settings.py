"""Every setting of both flows: name, default, meaning, and bounds.

Order of precedence: the environment, then `.env` in the current folder, then the world file that
`workbench up` writes, then the default. `.env.example` is generated from the table below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.config.env_file import read_env_file
from workbench.config.parsers import (
    LIKE_A_KEY,
    address,
    api_key,
    base_units,
    choice,
    count_or_none,
    database_url,
    eurc_or_none,
    host_names,
    http_url,
    integer,
    origins,
    private_key,
    subscriber_urls,
    webhook_secrets,
)
from workbench.config.world_file import WORLD_FILE, read_world, world_variables
from workbench.core.errors import InvalidSetting, StoreError, WorkbenchError
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses
from workbench.core.pricing import MAX_SLIPPAGE_BPS, Price, parse_rate


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. `read` turns its text into a value, or raises InvalidSetting."""

    name: str
    default: str
    meaning: str
    read: Callable[[str], Any] = str
    secret: bool = False


SETTINGS: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    (
        "The chain",
        (
            Setting("POLYGON_AMOY_RPC_URL", "", "RPC endpoint of the chain", http_url, secret=True),
            Setting(
                "CHAIN_ID",
                "80002",
                "what the endpoint must answer; for payouts, 11155111 unless set",
                integer(1, 10**12 - 1),
            ),
            Setting("MOCK_USDC_ADDRESS_POLYGON", "", "MockUSDC", address),
            Setting("MOCK_EURC_ADDRESS_POLYGON", "", "MockEURC", address),
            Setting("YIELD_POOL_SHARE_ADDRESS", "", "YieldPoolShare, the asset sold", address),
            Setting("SETTLEMENT_VAULT_ADDRESS", "", "SettlementVault", address),
            Setting("PERMIT_PULLER_ADDRESS", "", "PermitPuller", address),
            Setting("FACILITATOR_HOOK_ADDRESS", "", "FacilitatorHook", address),
            Setting("DEPLOY_BLOCK", "0", "where to start reading logs", integer(0, 10**12 - 1)),
        ),
    ),
    (
        "Keys (never commit them)",
        (
            Setting("SELLER_PRIVATE_KEY", "", "the seller's key", private_key, secret=True),
            Setting("BUYER_PRIVATE_KEY", "", "the buyer's key", private_key, secret=True),
            Setting("PRIVATE_KEY", "", "the facilitator's key", private_key, secret=True),
            Setting(
                "KEEPER_PRIVATE_KEY",
                "",
                "sets the reference rate; optional",
                private_key,
                secret=True,
            ),
            Setting(
                "DEPLOYER_PRIVATE_KEY", "", "for `workbench deploy` alone", private_key, secret=True
            ),
        ),
    ),
    (
        "Where the services listen",
        (
            Setting("HOST", "127.0.0.1", "loopback unless you know why not"),
            Setting(
                "ALLOWED_HOSTS",
                "",
                "names besides localhost under which the services are asked, spaces between them",
                host_names,
            ),
            Setting(
                "CORS_ORIGINS",
                "",
                "web pages that may read seller, facilitator and tracker: origins, or *",
                origins,
            ),
            Setting("SELLER_PORT", "8402", "seller", integer(0, 65535)),
            Setting("FACILITATOR_PORT", "8403", "facilitator", integer(0, 65535)),
            Setting("TRACKER_PORT", "5000", "tracker", integer(0, 65535)),
            Setting("SELLER_URL", "http://127.0.0.1:8402", "how others reach the seller", http_url),
            Setting("SELLER_ADDRESS", "", "whom the buyer pays; a world's file says it", address),
            Setting("FACILITATOR_URL", "http://127.0.0.1:8403", "… the facilitator", http_url),
            Setting("DATA_DIR", ".workbench/data", "one SQLite file for each service"),
        ),
    ),
    (
        "Price, budget, finality",
        (
            Setting("PRICE_PER_UNIT_USDC", "1.10", "USDC for one whole asset", Price.parse),
            Setting("EUR_USD_RATE", "", "buyer's own rate; empty: the hook's", parse_rate),
            Setting(
                "SLIPPAGE_BPS",
                "100",
                "what the budget adds, in 1/100 %",
                integer(0, MAX_SLIPPAGE_BPS),
            ),
            Setting(
                "FUND_BY",
                "authorization",
                "how the buyer lets its budget be pulled: authorization (ERC-3009) or permit",
                choice("authorization", "permit"),
            ),
            Setting(
                "PRICE_TOLERANCE_BPS",
                "100",
                "how far above PRICE_PER_UNIT_USDC, where that is set, a buyer pays, in 1/100 %",
                integer(0, MAX_SLIPPAGE_BPS),
            ),
            Setting(
                "MAX_EURC_PER_PURCHASE", "1000", "buyer's ceiling in EURC, or none", eurc_or_none
            ),
            Setting(
                "MAX_DEADLINE_S",
                "86400",
                "a buyer refuses offers with a deadline further away",
                integer(10, 31_536_000),
            ),
            Setting(
                "MAX_OPEN_PER_BUYER",
                "5",
                "open settlements that a seller allows one buyer, or none",
                count_or_none,
            ),
            Setting("QUOTE_LIFETIME_S", "600", "how long an offer holds", integer(10, 86_400)),
            Setting(
                "FINALITY_CONFIRMATIONS", "10", "blocks on top of the swap", integer(0, 10_000)
            ),
            Setting("FINALITY_TIMEOUT_S", "600", "then an alarm, no refund", integer(1, 86_400)),
            Setting("POLL_INTERVAL_MS", "500", "how often services look", integer(10, 60_000)),
        ),
    ),
    (
        "Credits payouts",
        (
            Setting("WEB3_PROVIDER_URL", "", "RPC endpoint for payouts", http_url, secret=True),
            Setting("PAYOUT_PRIVATE_KEY", "", "the paying account's key", private_key, secret=True),
            Setting("PAYOUT_KEYSTORE", "", "or its encrypted keystore file"),
            Setting("PAYOUT_KEYSTORE_PASSWORD", "", "the keystore's password", secret=True),
            Setting("TOKEN_ADDRESS", "", "ERC-20 to pay; empty: native currency", address),
            Setting("TOKEN_DECIMALS", "", "empty: what the token says", integer(0, 36)),
            Setting("UNITS_PER_CREDIT", "1000000000000000", "base units for a credit", base_units),
            Setting("DB_PATH", "data/app.db", "SQLite file of credits and payouts"),
            Setting("DATABASE_URL", "", "or postgresql://…", database_url, secret=True),
            Setting("PORT", "8080", "payouts", integer(0, 65535)),
            Setting(
                "PAYOUTS_API_KEY", "", "needed where HOST is not loopback", api_key, secret=True
            ),
            Setting("DAILY_CREDITS_PER_USER", "", "most in 24 hours", integer(0, 10**12 - 1)),
            Setting("DAILY_CREDITS_PER_ADDRESS", "", "… to one address", integer(0, 10**12 - 1)),
            Setting("DAILY_CREDITS", "", "… from this wallet", integer(0, 10**12 - 1)),
            Setting(
                "APPROVE_ABOVE_CREDITS",
                "",
                "larger payouts wait for a person",
                integer(0, 10**12 - 1),
            ),
            Setting("RECONCILE_EVERY_S", "60", "ledger against chain", integer(1, 86_400)),
            Setting(
                "OLDEST_PAYOUT_S",
                "1800",
                "an open payout that waits for longer is an alarm",
                integer(10, 10**9),
            ),
            Setting(
                "PAYOUTS_IN_FLIGHT",
                "16",
                "most unmined transactions; public nodes keep 16 of an account",
                integer(1, 1_000),
            ),
            Setting("PAYOUT_BATCHER", "", "PayoutBatcher, for PAYOUT_BATCH above 1", address),
            Setting("PAYOUT_BATCH", "1", "most payouts in one transaction", integer(1, 100)),
            Setting(
                "WEBHOOK_URLS",
                "",
                "whom to tell of payouts: https URLs, spaces between them",
                subscriber_urls,
                secret=True,
            ),
            Setting(
                "WEBHOOK_SECRET",
                "",
                "signs their messages: whsec_ and base64 of 24 to 64 random bytes",
                webhook_secrets,
                secret=True,
            ),
            Setting(
                "PAYOUTS_BUMP_AFTER_S",
                "60",
                "offer more for what waits so long",
                integer(5, 86_400),
            ),
        ),
    ),
)
BY_NAME = {setting.name: setting for _, group in SETTINGS for setting in group}
ADDRESS_NAMES = {
    "usdc": "MOCK_USDC_ADDRESS_POLYGON",
    "eurc": "MOCK_EURC_ADDRESS_POLYGON",
    "asset": "YIELD_POOL_SHARE_ADDRESS",
    "vault": "SETTLEMENT_VAULT_ADDRESS",
    "puller": "PERMIT_PULLER_ADDRESS",
    "hook": "FACILITATOR_HOOK_ADDRESS",
}


@dataclass(frozen=True)
class Settings:
    """Values by name; `None` where a setting has neither a value nor a default."""

    values: dict[str, Any] = field(repr=False)
    given: frozenset[str] = frozenset()
    """The names that were set, and not left at their default."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def need(self, name: str) -> Any:
        """Return the value. Raises InvalidSetting with the variable to set."""
        value = self.values[name]
        if value is None:
            raise InvalidSetting(
                f"{name} is not set ({BY_NAME[name].meaning}).",
                hint="Set it in .env, or run `workbench up` in this folder first.",
                setting=name,
            )
        return value

    @property
    def addresses(self) -> Addresses:
        """All contract addresses. Raises InvalidSetting with the first that is missing."""
        return Addresses(**{key: self.need(name) for key, name in ADDRESS_NAMES.items()})

    @property
    def finality(self) -> FinalityPolicy:
        return FinalityPolicy(self.values["FINALITY_CONFIRMATIONS"])

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        world: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Read environment, `.env` and world file.

        Raises InvalidSetting with the variable, or the line of `.env`. `world`: used instead of the
        folder's world file (for a world that is being booted).
        """
        folder = folder or Path.cwd()
        if world is None:
            world = read_world(folder) if (folder / WORLD_FILE).exists() else {}
        world = world_variables(world)
        merged: dict[str, str] = {}
        environ = os.environ if environ is None else environ
        file = folder / ".env"
        dotenv = read_env_file(file, BY_NAME, environ) if file.exists() else {}
        for layer in (world, dotenv, environ):
            # A blank value counts as absent, as in an unfilled copy of `.env.example`.
            merged |= {name: text for name, text in layer.items() if text.strip()}
        values = {name: _value(setting, merged.get(name)) for name, setting in BY_NAME.items()}
        return cls(values, frozenset(name for name in BY_NAME if name in merged))


def _value(setting: Setting, text: str | None) -> Any:
    """Return the value of a setting. Raises InvalidSetting without showing a secret."""
    text = (text or "").strip() or setting.default
    if not text:
        return None
    try:
        return setting.read(text)
    except WorkbenchError as why:
        # A key may have been pasted into the wrong line.
        secret = setting.secret or LIKE_A_KEY.search(text)
        shown = "" if secret else f" ({text[:80]!r})"
        cause = why.message if not secret else "is not what it should be"
        raise InvalidSetting(
            f"{setting.name}{shown}: {cause}.".replace("..", "."),
            hint=why.hint,
            setting=setting.name,
        ) from None


def make_folder(path: Path, name: str) -> None:
    """Create a folder if it is missing. `name`: the setting that names it. Raises StoreError."""
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(exist_ok=True)  # Raises if it is a file.
    except OSError as why:
        raise StoreError(
            f"{path} ({name}) cannot be made: {why.strerror}.", hint="Name another folder."
        ) from why


def env_example() -> str:
    """Return the text of `.env.example`: every variable with its meaning and default.

    All values are blank, which counts as absent. So a copy changes nothing, and does not override a
    world that runs in the same folder.
    """
    lines = [
        "# Settings of the Settlement Workbench: copy to .env and fill in.",
        "# `workbench up` and `workbench demo` need none of them.",
    ]
    for title, group in SETTINGS:
        lines += ["", f"# --- {title} ---"]
        for setting in group:
            default = f" (default: {setting.default})" if setting.default else ""
            lines += [f"# {setting.meaning}{default}", f"{setting.name}="]
    return "\n".join(lines) + "\n"

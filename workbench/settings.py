"""Every setting of both flows: name, default, what it means, and its bounds.

Order of precedence: the environment, then `.env` in the current folder, then the world file that
`workbench up` writes (agreement 7), then the default. The table below is the one truth:
`.env.example` is printed from it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench.config.env_file import read_env_file
from workbench.core.errors import InvalidSetting, StoreError, UnknownWorld, WorkbenchError
from workbench.core.finality import FinalityPolicy
from workbench.core.money import EURC, parse_decimal
from workbench.core.ports import Addresses
from workbench.core.pricing import MAX_SLIPPAGE_BPS, Price, parse_rate
from workbench.core.webhooks import key_of_secret

WORLD_FILE = Path(".workbench") / "world.json"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HOST_NAME = re.compile(
    r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:]{2,45}", re.ASCII
)
"""RFC 1035: labels of at most 63 characters; or an address of IPv6, without brackets."""
_LIKE_A_KEY = re.compile(r"[0-9a-fA-F]{60}", re.ASCII)
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""A private key is below the order of secp256k1, and not 0."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. `read` turns its text into a value, or raises InvalidSetting."""

    name: str
    default: str
    meaning: str
    read: Callable[[str], Any] = str
    secret: bool = False


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise InvalidSetting("is not an address", hint="0x and 40 hex digits.")
    return text.lower()


def _key(text: str) -> str:
    shaped = re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text, re.ASCII)
    if not shaped or not 0 < int(text, 16) < _CURVE_ORDER:
        raise InvalidSetting("is not a private key", hint="0x and 64 hex digits (not shown here).")
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # A port that is none, a bracket that does not close.
        good = False
    if not good or re.search(r"\s", text):
        raise InvalidSetting("is not an http(s) URL", hint="Such as http://127.0.0.1:8545.")
    return text.rstrip("/")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) or not low <= int(text) <= high:
            raise InvalidSetting("is out of bounds", hint=f"A whole number from {low} to {high}.")
        return int(text)

    return read


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise InvalidSetting("is not one of the choices", hint=f"One of {', '.join(words)}.")
        return text

    return read


def _units(text: str) -> int:
    """Whole base units, also as 1e15: exactly, and never through a float."""
    found = re.fullmatch(r"([0-9]{1,36})(?:[eE]\+?([0-9]{1,2}))?", text, re.ASCII)
    units = int(found[1]) * 10 ** int(found[2] or 0) if found else 0
    if not 0 < units < 10**36:
        raise InvalidSetting(
            "is not a number of base units", hint="Whole, such as 1000000000000000 or 1e15."
        )
    return units


def _api_key(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{16,200}", text, re.ASCII):
        raise InvalidSetting("is not a key", hint="16 to 200 plain characters, no spaces.")
    return text


def _database(text: str) -> str:
    if not re.match(r"(sqlite|postgresql)(\+psycopg)?://", text):
        raise InvalidSetting("is not a database's URL", hint="postgresql://user@host/name.")
    return text


def _host_names(text: str) -> tuple[str, ...]:
    """Names without ports, in lower case."""
    names = tuple(re.split(r"[\s,]+", text.strip(" ,").lower()))
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise InvalidSetting("is not a host's name", hint="Such as desk.example, no port.")
    return names


def _origins(text: str) -> tuple[str, ...]:
    """As browsers send them: scheme, host and port, and nothing behind; or `*`."""
    origins = tuple(re.split(r"[\s,]+", text.strip(" ,")))
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[a-z0-9.:\[\]-]{1,253}", origin):
            raise InvalidSetting("is not an origin", hint="Such as https://shop.example, or *.")
    return origins


MOST_SUBSCRIBERS = 20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def _subscribers(text: str) -> tuple[str, ...]:
    """URLs, with spaces or commas between them."""
    urls = tuple(dict.fromkeys(re.split(r"[\s,]+", text.strip(" ,"))))
    if len(urls) > MOST_SUBSCRIBERS:
        raise InvalidSetting("are too many", hint=f"At most {MOST_SUBSCRIBERS}.")
    for url in urls:
        _refuse_subscriber(url)
    return urls


def _refuse_subscriber(url: str) -> None:
    """Messages name users, addresses and amounts: only a receiver that proves its name gets them.

    So nothing inside a network that does not speak TLS under the name we know, such as a cloud's
    metadata service or a database, can be made to answer, wherever that name comes to point.
    """
    _url(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidSetting(
            "holds a user, a password or a fragment",
            hint="Receivers know us by the signature; a URL is https://host/path?query.",
        )
    if parts.scheme != "https" and host not in LOOPBACK_NAMES:
        raise InvalidSetting(
            "is not https", hint="Plain http goes to localhost, 127.0.0.1 and ::1 alone."
        )
    try:
        address = ip_address(host)
    except ValueError:
        return  # A name: its certificate says whether it is the one.
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise InvalidSetting("is no host's address", hint="Name the receiver by its host's name.")


def _hook_secrets(text: str) -> tuple[str, ...]:
    """One, or the new and the old one while receivers change over."""
    secrets = tuple(text.split())
    if len(secrets) > 2:
        raise InvalidSetting("holds too many", hint="One; or two, while one follows the other.")
    for secret in secrets:
        key_of_secret(secret)
    return secrets


NO_LIMIT = "none"


def _ceiling(text: str) -> int | None:
    return None if text.lower() == NO_LIMIT else parse_decimal(text, EURC.decimals)


def _limit(text: str) -> int | None:
    return None if text.lower() == NO_LIMIT else _integer(1, 1_000_000)(text)


SETTINGS: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    (
        "The chain",
        (
            Setting("POLYGON_AMOY_RPC_URL", "", "RPC endpoint of the chain", _url, secret=True),
            Setting(
                "CHAIN_ID",
                "80002",
                "what the endpoint must answer; for payouts, 11155111 unless set",
                _integer(1, 10**12 - 1),
            ),
            Setting("MOCK_USDC_ADDRESS_POLYGON", "", "MockUSDC", _address),
            Setting("MOCK_EURC_ADDRESS_POLYGON", "", "MockEURC", _address),
            Setting("YIELD_POOL_SHARE_ADDRESS", "", "YieldPoolShare, the asset sold", _address),
            Setting("SETTLEMENT_VAULT_ADDRESS", "", "SettlementVault", _address),
            Setting("PERMIT_PULLER_ADDRESS", "", "PermitPuller", _address),
            Setting("FACILITATOR_HOOK_ADDRESS", "", "FacilitatorHook", _address),
            Setting("DEPLOY_BLOCK", "0", "where to start reading logs", _integer(0, 10**12 - 1)),
        ),
    ),
    (
        "Keys (never commit them)",
        (
            Setting("SELLER_PRIVATE_KEY", "", "the seller's key", _key, secret=True),
            Setting("BUYER_PRIVATE_KEY", "", "the buyer's key", _key, secret=True),
            Setting("PRIVATE_KEY", "", "the facilitator's key", _key, secret=True),
            Setting(
                "KEEPER_PRIVATE_KEY", "", "sets the reference rate; optional", _key, secret=True
            ),
            Setting("DEPLOYER_PRIVATE_KEY", "", "for `workbench deploy` alone", _key, secret=True),
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
                _host_names,
            ),
            Setting(
                "CORS_ORIGINS",
                "",
                "web pages that may read seller, facilitator and tracker: origins, or *",
                _origins,
            ),
            Setting("SELLER_PORT", "8402", "seller", _integer(0, 65535)),
            Setting("FACILITATOR_PORT", "8403", "facilitator", _integer(0, 65535)),
            Setting("TRACKER_PORT", "5000", "tracker", _integer(0, 65535)),
            Setting("SELLER_URL", "http://127.0.0.1:8402", "how others reach the seller", _url),
            Setting("SELLER_ADDRESS", "", "whom the buyer pays; a world's file says it", _address),
            Setting("FACILITATOR_URL", "http://127.0.0.1:8403", "… the facilitator", _url),
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
                _integer(0, MAX_SLIPPAGE_BPS),
            ),
            Setting(
                "FUND_BY",
                "authorization",
                "how the buyer lets its budget be pulled: authorization (ERC-3009) or permit",
                _choice("authorization", "permit"),
            ),
            Setting(
                "PRICE_TOLERANCE_BPS",
                "100",
                "how far above PRICE_PER_UNIT_USDC, where that is set, a buyer pays, in 1/100 %",
                _integer(0, MAX_SLIPPAGE_BPS),
            ),
            Setting("MAX_EURC_PER_PURCHASE", "1000", "buyer's ceiling in EURC, or none", _ceiling),
            Setting(
                "MAX_DEADLINE_S",
                "86400",
                "a buyer refuses offers with a deadline further away",
                _integer(10, 31_536_000),
            ),
            Setting(
                "MAX_OPEN_PER_BUYER",
                "5",
                "open settlements that a seller allows one buyer, or none",
                _limit,
            ),
            Setting("QUOTE_LIFETIME_S", "600", "how long an offer holds", _integer(10, 86_400)),
            Setting(
                "FINALITY_CONFIRMATIONS", "10", "blocks on top of the swap", _integer(0, 10_000)
            ),
            Setting("FINALITY_TIMEOUT_S", "600", "then an alarm, no refund", _integer(1, 86_400)),
            Setting("POLL_INTERVAL_MS", "500", "how often services look", _integer(10, 60_000)),
        ),
    ),
    (
        "Credits payouts",
        (
            Setting("WEB3_PROVIDER_URL", "", "RPC endpoint for payouts", _url, secret=True),
            Setting("PAYOUT_PRIVATE_KEY", "", "the paying account's key", _key, secret=True),
            Setting("PAYOUT_KEYSTORE", "", "or its encrypted keystore file"),
            Setting("PAYOUT_KEYSTORE_PASSWORD", "", "the keystore's password", secret=True),
            Setting("TOKEN_ADDRESS", "", "ERC-20 to pay; empty: native currency", _address),
            Setting("TOKEN_DECIMALS", "", "empty: what the token says", _integer(0, 36)),
            Setting("UNITS_PER_CREDIT", "1000000000000000", "base units for a credit", _units),
            Setting("DB_PATH", "data/app.db", "SQLite file of credits and payouts"),
            Setting("DATABASE_URL", "", "or postgresql://…", _database, secret=True),
            Setting("PORT", "8080", "payouts", _integer(0, 65535)),
            Setting(
                "PAYOUTS_API_KEY", "", "needed where HOST is not loopback", _api_key, secret=True
            ),
            Setting("DAILY_CREDITS_PER_USER", "", "most in 24 hours", _integer(0, 10**12 - 1)),
            Setting("DAILY_CREDITS_PER_ADDRESS", "", "… to one address", _integer(0, 10**12 - 1)),
            Setting("DAILY_CREDITS", "", "… from this wallet", _integer(0, 10**12 - 1)),
            Setting(
                "APPROVE_ABOVE_CREDITS",
                "",
                "larger payouts wait for a person",
                _integer(0, 10**12 - 1),
            ),
            Setting("RECONCILE_EVERY_S", "60", "ledger against chain", _integer(1, 86_400)),
            Setting(
                "OLDEST_PAYOUT_S",
                "1800",
                "an open payout that waits for longer is an alarm",
                _integer(10, 10**9),
            ),
            Setting(
                "PAYOUTS_IN_FLIGHT",
                "16",
                "most unmined transactions; public nodes keep 16 of an account",
                _integer(1, 1_000),
            ),
            Setting("PAYOUT_BATCHER", "", "PayoutBatcher, for PAYOUT_BATCH above 1", _address),
            Setting("PAYOUT_BATCH", "1", "most payouts in one transaction", _integer(1, 100)),
            Setting(
                "WEBHOOK_URLS",
                "",
                "whom to tell of payouts: https URLs, spaces between them",
                _subscribers,
                secret=True,
            ),
            Setting(
                "WEBHOOK_SECRET",
                "",
                "signs what they are told: whsec_ and base64 of 24 to 64 random bytes",
                _hook_secrets,
                secret=True,
            ),
            Setting(
                "PAYOUTS_BUMP_AFTER_S",
                "60",
                "offer more for what waits so long",
                _integer(5, 86_400),
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
    """The names that somebody set, rather than left at their default."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def need(self, name: str) -> Any:
        """The value. Raises InvalidSetting that says what to set."""
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
        """All contract addresses. Raises InvalidSetting naming the first that is missing."""
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
        """Read environment, `.env` and world file. Raises InvalidSetting naming the variable, or
        the line of `.env`.

        `world`: take this one instead of the folder's (a world that is just being booted).
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
            # A blank value says nothing: a `.env` that was copied and not filled in.
            merged |= {name: text for name, text in layer.items() if text.strip()}
        values = {name: _value(setting, merged.get(name)) for name, setting in BY_NAME.items()}
        return cls(values, frozenset(name for name in BY_NAME if name in merged))


def _value(setting: Setting, text: str | None) -> Any:
    text = (text or "").strip() or setting.default
    if not text:
        return None
    try:
        return setting.read(text)
    except WorkbenchError as why:
        secret = setting.secret or _LIKE_A_KEY.search(text)  # Pasted into the wrong line, perhaps.
        shown = "" if secret else f" ({text[:80]!r})"
        cause = why.message if not secret else "is not what it should be"
        raise InvalidSetting(
            f"{setting.name}{shown}: {cause}.".replace("..", "."),
            hint=why.hint,
            setting=setting.name,
        ) from None


def read_world(folder: Path | None = None) -> dict[str, Any]:
    """The world file of `workbench up`. Raises UnknownWorld when it is missing or damaged."""
    path = (folder or Path.cwd()) / WORLD_FILE
    try:
        world = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownWorld("no world runs in this folder.", hint="Run `workbench up`.") from None
    except OSError as why:
        raise UnknownWorld(
            f"{WORLD_FILE} cannot be read.", hint="Remove it, and run `workbench up` anew."
        ) from why
    except (ValueError, RecursionError) as why:
        raise _damaged() from why
    if not isinstance(world, dict):
        raise _damaged()
    return world


def _damaged() -> UnknownWorld:
    return UnknownWorld(f"{WORLD_FILE} is damaged.", hint="Run `workbench up` anew.")


def world_variables(world: Mapping[str, Any]) -> dict[str, str]:
    """A world file as environment variables. Raises UnknownWorld when it is damaged."""
    addresses, keys = world.get("addresses", {}), world.get("keys", {})
    if not isinstance(addresses, Mapping) or not isinstance(keys, Mapping):
        raise _damaged()
    contracts = {
        "MOCK_USDC_ADDRESS_POLYGON": "MockUSDC",
        "MOCK_EURC_ADDRESS_POLYGON": "MockEURC",
        "YIELD_POOL_SHARE_ADDRESS": "YieldPoolShare",
        "SETTLEMENT_VAULT_ADDRESS": "SettlementVault",
        "PERMIT_PULLER_ADDRESS": "PermitPuller",
        "FACILITATOR_HOOK_ADDRESS": "FacilitatorHook",
        "PAYOUT_BATCHER": "PayoutBatcher",
    }
    roles = {
        "PAYOUT_PRIVATE_KEY": "spare1",
        "SELLER_PRIVATE_KEY": "seller",
        "BUYER_PRIVATE_KEY": "buyer",
        "PRIVATE_KEY": "facilitator",
        "KEEPER_PRIVATE_KEY": "keeper",
        "DEPLOYER_PRIVATE_KEY": "deployer",
    }
    plain = {
        "POLYGON_AMOY_RPC_URL": "rpc_url",
        "WEB3_PROVIDER_URL": "rpc_url",
        "CHAIN_ID": "chain_id",
        "SELLER_URL": "seller_url",
        "SELLER_ADDRESS": "seller_address",
        "PRICE_PER_UNIT_USDC": "price_per_unit_usdc",
        "FACILITATOR_URL": "facilitator_url",
        "FINALITY_CONFIRMATIONS": "finality_confirmations",
        "DEPLOY_BLOCK": "deploy_block",
    }
    found = {name: addresses.get(contract) for name, contract in contracts.items()}
    found |= {name: keys.get(role) for name, role in roles.items()}
    found |= {name: world.get(key) for name, key in plain.items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def make_folder(path: Path, name: str) -> None:
    """See to it that a folder is there. `name`: what asks for it. Raises StoreError."""
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(exist_ok=True)  # Says so if it is a file.
    except OSError as why:
        raise StoreError(
            f"{path} ({name}) cannot be made: {why.strerror}.", hint="Name another folder."
        ) from why


def env_example() -> str:
    """The text of `.env.example`: every variable with its meaning and default.

    All are blank, which is as good as not there: a copy of it changes nothing, and so does not
    stand in the way of a world that runs in the same folder.
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

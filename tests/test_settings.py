"""Settings: who overrules whom, every wrong value by its name, and no secret in any message."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import json_values
from workbench.cli import main
from workbench.core.errors import InvalidSetting, UnknownWorld, WorkbenchError
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses
from workbench.core.pricing import Price
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import TEST_KEYS, key_of
from workbench.settings import (
    ADDRESS_NAMES,
    BY_NAME,
    SETTINGS,
    WORLD_FILE,
    Settings,
    env_example,
    read_world,
    world_variables,
)

ROOT = Path(__file__).parents[1]
KEY = "0x" + "7e" * 32
HOOK_SECRET = "whsec_" + "QUJD" * 8
SEED_003 = (
    "POLYGON_AMOY_RPC_URL",
    "MOCK_USDC_ADDRESS_POLYGON",
    "MOCK_EURC_ADDRESS_POLYGON",
    "YIELD_POOL_SHARE_ADDRESS",
    "SETTLEMENT_VAULT_ADDRESS",
    "PERMIT_PULLER_ADDRESS",
    "FACILITATOR_HOOK_ADDRESS",
    "SELLER_PRIVATE_KEY",
    "BUYER_PRIVATE_KEY",
    "PRIVATE_KEY",
    "FINALITY_CONFIRMATIONS",
)
"""Every variable that the seed's README of the OTC flow names."""
SEED_000 = {
    "WEB3_PROVIDER_URL": None,
    "PAYOUT_PRIVATE_KEY": None,
    "CHAIN_ID": 80002,
    "TOKEN_ADDRESS": None,
    "TOKEN_DECIMALS": None,
    "UNITS_PER_CREDIT": 10**15,
    "DB_PATH": "data/app.db",
    "PORT": 8080,
}
"""Those of the credits' README, with its defaults. (CHAIN_ID has another one there, 11155111: see
`live.SEPOLIA`.)"""

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


# --- Who overrules whom ---


def test_nothing_set_is_the_defaults(tmp_path: Path) -> None:
    """And None where there is none; every default is valid."""
    found = load(tmp_path)
    assert (80002, 10, "127.0.0.1", 100) == tuple(
        found[name] for name in ("CHAIN_ID", "FINALITY_CONFIRMATIONS", "HOST", "SLIPPAGE_BPS")
    )
    assert Price(1_100_000) == found["PRICE_PER_UNIT_USDC"]
    assert {name for name, setting in BY_NAME.items() if not setting.default} == {
        name for name in BY_NAME if found[name] is None
    }


def test_environment_over_dotenv_over_world_over_default(tmp_path: Path) -> None:
    """Each takes the place of the next, and only for the names it gives."""
    file = "CHAIN_ID=2\nFINALITY_CONFIRMATIONS=3\nSELLER_PORT=9000\n"
    assert 31337 == load(tmp_path, world=WORLD)["CHAIN_ID"]
    assert 2 == load(tmp_path, env=file)["CHAIN_ID"]
    found = load(tmp_path, {"CHAIN_ID": "1"})
    assert (1, 3, 9000, 5) == tuple(
        found[name] for name in ("CHAIN_ID", "FINALITY_CONFIRMATIONS", "SELLER_PORT",
                                 "DEPLOY_BLOCK")
    )  # fmt: skip
    assert 8403 == found["FACILITATOR_PORT"]
    assert FinalityPolicy(3) == found.finality
    assert Path(".workbench") / "world.json" == WORLD_FILE


@pytest.mark.parametrize("blank", ["", "  ", "\t"], ids=repr)
def test_a_blank_value_overrules_nothing(tmp_path: Path, blank: str) -> None:
    """A `.env` copied from the example and not filled in leaves the world of `up` as it is."""
    empty = "\n".join(f"{name}={blank}" for name in BY_NAME)
    found = load(tmp_path, dict.fromkeys(BY_NAME, blank), env=empty, world=WORLD)
    assert (31337, "http://127.0.0.1:18545", 2) == tuple(
        found[name] for name in ("CHAIN_ID", "POLYGON_AMOY_RPC_URL", "FINALITY_CONFIRMATIONS")
    )
    assert key_of("buyer").secret == found["BUYER_PRIVATE_KEY"]
    filled = load(tmp_path, {"CHAIN_ID": blank}, env="CHAIN_ID=7\n", world=WORLD)
    assert 7 == filled["CHAIN_ID"]


def test_the_process_environment_is_read_unless_another_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the current folder, unless another is given."""
    monkeypatch.setenv("CHAIN_ID", "4242")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SELLER_PORT=9001\n", encoding="utf-8")
    assert (4242, 9001) == (Settings.load()["CHAIN_ID"], Settings.load()["SELLER_PORT"])
    assert 80002 == Settings.load({}, tmp_path)["CHAIN_ID"]


def test_a_world_that_is_being_booted_stands_for_the_file(tmp_path: Path) -> None:
    """`up` and `demo` do not look at the world that another `up` left here."""
    load(tmp_path, world=WORLD)
    assert 80002 == Settings.load({}, tmp_path, world={})["CHAIN_ID"]
    assert 9 == Settings.load({}, tmp_path, world={**WORLD, "chain_id": 9})["CHAIN_ID"]


def test_a_world_sets_everything_that_a_purchase_needs(tmp_path: Path) -> None:
    """Addresses, keys and URLs, each under its own name."""
    found = load(tmp_path, world=WORLD)
    named = {"usdc": 1, "eurc": 2, "asset": 3, "vault": 4, "puller": 5, "hook": 6}
    assert Addresses(**{key: "0x" + f"{n:02x}" * 20 for key, n in named.items()}) == found.addresses
    roles = {"SELLER": "seller", "BUYER": "buyer", "KEEPER": "keeper", "": "facilitator"}
    for prefix, role in roles.items():
        name = f"{prefix}_PRIVATE_KEY".lstrip("_")
        assert key_of(role).secret == found.need(name)
    assert WORLD["seller_url"] == found["SELLER_URL"]
    assert set(world_variables(WORLD)) <= set(BY_NAME)
    assert {f.name for f in fields(Addresses)} == set(ADDRESS_NAMES)


def test_a_value_that_is_needed_and_missing_is_named(tmp_path: Path) -> None:
    """With what it is and where to set it."""
    found = load(tmp_path)
    for name in (name for name, setting in BY_NAME.items() if not setting.default):
        with pytest.raises(InvalidSetting, match=f"{name} is not set") as missing:
            found.need(name)
        assert BY_NAME[name].meaning in missing.value.message
        assert "workbench up" in missing.value.hint
        assert name == missing.value.details["setting"]
    with pytest.raises(InvalidSetting, match="MOCK_USDC_ADDRESS_POLYGON"):
        _ = found.addresses
    assert 80002 == found.need("CHAIN_ID")


# --- Wrong values ---

BAD_ADDRESS = ["0x12", "aa" * 20, "0x" + "g" * 40, "0x" + "１" * 40, "vitalik.eth", "0x" + "a" * 41]
BAD_KEY = [
    "secret", KEY[:-1], KEY + "7", "0x" + "zz" * 32, "0x" + "１" * 64,
    "0x" + "0" * 64, "0x" + "f" * 64,
    "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
]  # fmt: skip
BAD_URL = [
    "localhost:8545", "ftp://x", "http://", "https:///path", "ws://x", "8545",
    "http://host:port", "http://host:99999", "http://:8545", "http://my host", "http://[::1",
]  # fmt: skip
BAD_NUMBER = ["-1", "1.5", "1e3", "ten", "0x10", "１０", "٣", "1_0", "+1", "9" * 13]
BAD_DECIMAL = ["-1", "1,1", "1e3", "one", "１", "1.10.1", "NaN", "inf", "$1"]
WRONG: dict[str, list[str]] = {
    "ALLOWED_HOSTS": ["http://desk.example", "desk.example:80", ".a", "x" * 64, "[::1]"],
    "CORS_ORIGINS": ["shop.example", "https://shop.example/path", "https://shop.example/", "**"],
    "POLYGON_AMOY_RPC_URL": BAD_URL,
    "SELLER_URL": BAD_URL,
    "FACILITATOR_URL": BAD_URL,
    **dict.fromkeys(ADDRESS_NAMES.values(), BAD_ADDRESS),
    **{name: BAD_KEY for name in BY_NAME if name.endswith("PRIVATE_KEY")},
    "CHAIN_ID": [*BAD_NUMBER, "0"],
    "DEPLOY_BLOCK": BAD_NUMBER,
    **{f"{name}_PORT": [*BAD_NUMBER, "65536"] for name in ("SELLER", "FACILITATOR", "TRACKER")},
    "PRICE_PER_UNIT_USDC": [*BAD_DECIMAL, "0", "0.0000001"],
    "EUR_USD_RATE": [*BAD_DECIMAL, "0", "0.000000001"],
    "SLIPPAGE_BPS": [*BAD_NUMBER, "5001"],
    "SELLER_ADDRESS": BAD_ADDRESS,
    "PRICE_TOLERANCE_BPS": [*BAD_NUMBER, "5001"],
    "MAX_DEADLINE_S": [*BAD_NUMBER, "9", "31536001"],
    "MAX_OPEN_PER_BUYER": [*BAD_NUMBER, "0", "1000001"],
    "FUND_BY": ["Permit", "permits", "both", "1"],
    "MAX_EURC_PER_PURCHASE": [*BAD_DECIMAL, "0.0000001"],
    "QUOTE_LIFETIME_S": [*BAD_NUMBER, "9", "86401"],
    "FINALITY_CONFIRMATIONS": [*BAD_NUMBER, "10001"],
    "FINALITY_TIMEOUT_S": [*BAD_NUMBER, "0", "86401"],
    "POLL_INTERVAL_MS": [*BAD_NUMBER, "9", "60001"],
    "WEB3_PROVIDER_URL": BAD_URL,
    "TOKEN_ADDRESS": BAD_ADDRESS,
    "TOKEN_DECIMALS": [*BAD_NUMBER, "37"],
    "UNITS_PER_CREDIT": ["0", "-1", "1.5", "1e", "e15", "0e5", "1e-3", "1e36", "٣", "9" * 37],
    "DATABASE_URL": ["data/app.db", "mysql://x/y", "postgres:x"],
    "PORT": [*BAD_NUMBER, "65536"],
    "PAYOUTS_API_KEY": ["short", "fifteen letters", "two words, and long enough", "é" * 20],
    **dict.fromkeys(
        (
            "DAILY_CREDITS_PER_USER",
            "DAILY_CREDITS_PER_ADDRESS",
            "DAILY_CREDITS",
            "APPROVE_ABOVE_CREDITS",
        ),
        BAD_NUMBER,
    ),
    "OLDEST_PAYOUT_S": ["9", "1.5", "-1", "soon"],
    "RECONCILE_EVERY_S": [*BAD_NUMBER, "0", "86401"],
    "PAYOUTS_IN_FLIGHT": [*BAD_NUMBER, "0", "1001"],
    "PAYOUT_BATCHER": BAD_ADDRESS,
    "PAYOUT_BATCH": [*BAD_NUMBER, "0", "101"],
    "WEBHOOK_URLS": [
        *BAD_URL,
        "http://site.example/h",  # In the clear: users, addresses, amounts.
        "http://10.0.0.1/h",
        "http://127.0.0.1.nip.example/h",
        "http://2130706433/h",
        "https://user:pw@site.example/h",
        "http://127.0.0.1@site.example/h",
        "https://site.example/h#x",
        "https://169.254.169.254/latest/meta-data",  # A cloud's metadata service.
        "https://[fe80::1]/h",
        "https://[::ffff:169.254.169.254]/h",
        "https://0.0.0.0/h",
        "https://224.0.0.1/h",
        "https://site.example/h http://site.example/h",
        " ".join(f"https://site.example/{n}" for n in range(21)),
    ],
    "WEBHOOK_SECRET": [
        "secret",
        HOOK_SECRET.removeprefix("whsec_"),
        HOOK_SECRET[:-4],
        f"{HOOK_SECRET}!",
        "whsec_" + "QUJD" * 22,
        f"{HOOK_SECRET} {HOOK_SECRET} {HOOK_SECRET}",
    ],
    "PAYOUTS_BUMP_AFTER_S": [*BAD_NUMBER, "4", "86401"],
}
FREE = {"HOST", "DATA_DIR", "DB_PATH", "PAYOUT_KEYSTORE", "PAYOUT_KEYSTORE_PASSWORD"}
"""Any text will do; what is wrong with it only the system can say."""


def test_the_credits_seeds_variables_have_its_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, {})
    assert {name: found[name] for name in SEED_000} == SEED_000
    assert 10**15 == load(tmp_path, {"UNITS_PER_CREDIT": "1e15"})["UNITS_PER_CREDIT"]


def test_every_setting_has_its_wrong_values() -> None:
    """A new setting without bounds, or without a test of them, is not proven."""
    assert set(BY_NAME) - FREE == set(WRONG)
    assert len(BY_NAME) == sum(len(group) for _, group in SETTINGS)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_every_wrong_value_is_named_with_the_fix(name: str, tmp_path: Path) -> None:
    """Wherever it comes from; and only what is no secret is repeated."""
    secret = BY_NAME[name].secret
    for value in WRONG[name]:
        with pytest.raises(InvalidSetting) as wrong:
            load(tmp_path, {name: value})
        error = wrong.value
        assert error.message.startswith(name)
        assert name == error.details["setting"]
        assert error.hint or "like 1.10" in error.message or "digits" in error.message
        assert secret != (repr(value) in error.message), value
    with pytest.raises(InvalidSetting, match=name):
        load(tmp_path, env=f"{name}='{WRONG[name][0]}'\n")


GOOD: dict[str, list[tuple[str, Any]]] = {
    "POLYGON_AMOY_RPC_URL": [
        (" https://rpc.example/v2/abc/ ", "https://rpc.example/v2/abc"),
        ("http://[::1]:8545", "http://[::1]:8545"),
        ("http://user:pass@host:1/p?q=1", "http://user:pass@host:1/p?q=1"),
    ],
    "MOCK_USDC_ADDRESS_POLYGON": [("0x" + "Aa" * 20, "0x" + "aa" * 20)],
    "PRIVATE_KEY": [(KEY, KEY), (KEY[2:], KEY[2:])],
    "CHAIN_ID": [("1", 1), ("999999999999", 10**12 - 1)],
    "SELLER_PORT": [("0", 0), ("65535", 65_535)],
    "PRICE_PER_UNIT_USDC": [("0.000001", Price(1)), ("12.5", Price(12_500_000))],
    "EUR_USD_RATE": [("1.10", 110_000_000), ("0.00000001", 1)],
    "SLIPPAGE_BPS": [("0", 0), ("5000", 5_000)],
    "SELLER_ADDRESS": [("0x" + "Aa" * 20, "0x" + "aa" * 20)],
    "MAX_OPEN_PER_BUYER": [("1", 1), ("none", None)],
    "FUND_BY": [("authorization", "authorization"), (" permit ", "permit")],
    "MAX_EURC_PER_PURCHASE": [("250", 250_000_000), ("0.000001", 1), ("none", None)],
    "QUOTE_LIFETIME_S": [("10", 10), ("86400", 86_400)],
    "FINALITY_CONFIRMATIONS": [("0", 0), ("10000", 10_000)],
    "WEBHOOK_URLS": [
        ("https://a.example/h/t0ken?k=v", ("https://a.example/h/t0ken?k=v",)),
        (" https://a.example, https://b.example:8443/h/,https://a.example ",
         ("https://a.example", "https://b.example:8443/h/")),
        ("http://127.0.0.1:9000/h http://localhost/h http://[::1]:9/h https://10.1.2.3/h",
         ("http://127.0.0.1:9000/h", "http://localhost/h", "http://[::1]:9/h", "https://10.1.2.3/h")),
    ],
    "WEBHOOK_SECRET": [
        (HOOK_SECRET, (HOOK_SECRET,)),
        (f"{HOOK_SECRET}  whsec_{'QUJE' * 21}", (HOOK_SECRET, f"whsec_{'QUJE' * 21}")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(GOOD))
def test_right_values_are_read_to_the_bounds(name: str, tmp_path: Path) -> None:
    """In the unit in which the rest of the house counts."""
    for text, value in GOOD[name]:
        assert value == load(tmp_path, {name: text})[name]


@given(st.sampled_from(sorted(BY_NAME)), st.text(max_size=90))
def test_any_text_is_a_value_or_a_named_error(name: str, text: str) -> None:
    """Nothing else comes out of a setting, whatever people write there."""
    try:
        Settings.load({name: text}, ROOT / "tests", world={})
    except InvalidSetting as why:
        assert why.message.startswith(name)


# --- Secrets ---

SECRETS = sorted(name for name, setting in BY_NAME.items() if setting.secret)
CHOSEN_SECRETS = {"PAYOUTS_API_KEY", "PAYOUT_KEYSTORE_PASSWORD"}
"""Almost any text will do: there is no typo that could be told."""


def told(error: BaseException) -> str:
    """All that a log or a terminal could show of an error."""
    shown = [str(error), repr(error), "".join(traceback.format_exception(error))]
    if isinstance(error, WorkbenchError):
        shown += [error.message, error.hint, json.dumps(error.to_json())]
    return "\n".join(shown).lower()


def test_keys_and_rpc_urls_are_secret() -> None:
    """An RPC URL often carries an API key."""
    keys = {name for name in BY_NAME if name.endswith("PRIVATE_KEY")}
    urls = {"POLYGON_AMOY_RPC_URL", "WEB3_PROVIDER_URL", "DATABASE_URL", "WEBHOOK_URLS"}
    assert keys | urls | CHOSEN_SECRETS | {"WEBHOOK_SECRET"} == set(SECRETS)


@pytest.mark.parametrize("name", sorted(set(SECRETS) - CHOSEN_SECRETS))
@pytest.mark.parametrize("spoil", [lambda t: t[:-1], lambda t: t + "q", lambda t: "x" + t],
                         ids=["cut", "longer", "prefixed"])  # fmt: skip
def test_a_wrong_secret_is_never_shown(
    name: str, spoil: Callable[[str], str], tmp_path: Path
) -> None:
    """Not in the message, the JSON, or the traceback: a typo in a key must not publish it."""
    secret = spoil(KEY)
    with pytest.raises(InvalidSetting, match=name) as wrong:
        load(tmp_path, {name: secret})
    assert KEY[4:-2] not in told(wrong.value)


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - set(SECRETS) - FREE))
@pytest.mark.parametrize("form", [KEY, KEY[2:], KEY.upper()], ids=["0x", "bare", "upper"])
def test_a_key_in_the_wrong_line_is_not_shown_either(name: str, form: str, tmp_path: Path) -> None:
    """People paste; and the message goes to a terminal, a log, an issue."""
    with pytest.raises(InvalidSetting, match=name) as wrong:
        load(tmp_path, {name: form})
    assert KEY[2:] not in told(wrong.value)


def test_settings_do_not_show_what_they_hold(tmp_path: Path) -> None:
    """Notebooks print what stands in a cell's last line."""
    found = load(tmp_path, {"PRIVATE_KEY": KEY, "POLYGON_AMOY_RPC_URL": "https://x/v2/apikey"})
    assert KEY == found["PRIVATE_KEY"]
    for shown in (repr(found), str(found), f"{found}"):
        assert KEY[2:] not in shown
        assert "apikey" not in shown


def test_every_key_that_settings_take_can_sign(tmp_path: Path) -> None:
    """So that what is wrong is said at the start, under the variable's name."""
    for key in (KEY, KEY[2:], "0x" + "0" * 63 + "1"):
        KeySigner(load(tmp_path, {"PRIVATE_KEY": key})["PRIVATE_KEY"])


# --- Files ---

DAMAGED = {
    "empty": "",
    "cut": json.dumps(WORLD)[:-20],
    "no JSON": "rpc_url: http://x",
    "an array": "[]",
    "null": "null",
    "a number": "7",
    "deep": "[" * 100_000,
    "addresses an array": json.dumps({**WORLD, "addresses": []}),
    "addresses null": json.dumps({**WORLD, "addresses": None}),
    "keys a text": json.dumps({**WORLD, "keys": KEY}),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_world_file_is_named(text: str, tmp_path: Path) -> None:
    """With the command that makes a new one."""
    with pytest.raises(UnknownWorld, match="world.json is damaged") as damaged:
        load(tmp_path, world=text)
    assert "workbench up" in damaged.value.hint
    assert KEY[2:] not in str(damaged.value)


def test_a_world_file_of_other_bytes_or_no_file_at_all_is_named(tmp_path: Path) -> None:
    """Not UTF-8, or a folder where the file should be."""
    path = tmp_path / WORLD_FILE
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnknownWorld, match="damaged"):
        Settings.load({}, tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnknownWorld, match="cannot be read"):
        Settings.load({}, tmp_path)


def test_without_a_world_file_a_reader_says_so(tmp_path: Path) -> None:
    """`read_world` is asked by those who need one."""
    with pytest.raises(UnknownWorld, match="no world runs in this folder"):
        read_world(tmp_path)


@given(json_values)
def test_any_world_file_is_settings_or_a_named_error(value: Any) -> None:
    """Whatever JSON it holds, also inside."""
    inside = {**WORLD, "addresses": {"SettlementVault": value}}
    for world in (inside, {**WORLD, "addresses": value}, {**WORLD, "chain_id": value}):
        try:
            found = Settings.load({}, ROOT / "tests", world=world)
        except (InvalidSetting, UnknownWorld) as why:
            assert why.message
        else:
            assert isinstance(found["CHAIN_ID"], int)


def test_a_wrong_value_in_a_world_file_is_named_as_its_variable(tmp_path: Path) -> None:
    """So the one who edits it knows what to look for."""
    with pytest.raises(InvalidSetting, match="SETTLEMENT_VAULT_ADDRESS"):
        load(tmp_path, world={**WORLD, "addresses": {"SettlementVault": "here"}})


@pytest.mark.parametrize("content", [b"\xff\xfe\x00=1", b"CHAIN_ID=\xe9\n"])
def test_a_dotenv_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    """Saved in another encoding."""
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"\.env cannot be read") as wrong:
        Settings.load({}, tmp_path)
    assert "UTF-8" in wrong.value.hint


def test_a_dotenv_of_windows_and_with_quotes_is_read(tmp_path: Path) -> None:
    """A byte order mark, carriage returns, quotes, `export` and comments."""
    text = "\ufeffCHAIN_ID=5\r\nexport SELLER_PORT='9000' # mine\r\nHOST=\"::1\"\r\nNOTHING=\r\n"
    (tmp_path / ".env").write_bytes(text.encode())
    found = Settings.load({}, tmp_path)
    assert (5, 9000, "::1") == (found["CHAIN_ID"], found["SELLER_PORT"], found["HOST"])


# --- .env.example ---


def test_the_example_is_printed_from_the_table() -> None:
    """The tracked file, the function and the command are one text."""
    tracked = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert env_example() == tracked
    assert env_example() == CliRunner().invoke(main, ["env"], catch_exceptions=False).output


def test_the_example_holds_every_variable_with_meaning_and_default() -> None:
    """Those of the seed among them; keys and addresses empty."""
    values = dotenv_values(ROOT / ".env.example")
    assert list(BY_NAME) == list(values)
    assert set(SEED_003) <= set(values)
    lines = env_example().splitlines()
    for name, setting in BY_NAME.items():
        told = lines[lines.index(f"{name}=") - 1]
        assert told.startswith(f"# {setting.meaning}")
        assert (f"(default: {setting.default})" in told) is bool(setting.default)
        assert setting.meaning.strip()
    assert {""} == set(values.values())


def test_the_example_as_it_is_can_be_loaded(tmp_path: Path) -> None:
    """`cp .env.example .env` and nothing else is the defaults."""
    assert load(tmp_path).values == load(tmp_path, env=env_example()).values

"""Every wrong value of every setting is named together with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings_cases import FREE, KEY, ROOT, load
from workbench.core.errors import InvalidSetting
from workbench.core.pricing import Price
from workbench.settings import ADDRESS_NAMES, BY_NAME, SETTINGS, Settings

HOOK_SECRET = "whsec_" + "QUJD" * 8

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

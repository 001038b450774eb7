"""Secret settings are never shown in errors or in text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.settings_cases import FREE, KEY, load, told
from workbench.core.errors import InvalidSetting
from workbench.evm.transactions.signer import KeySigner
from workbench.settings import BY_NAME

SECRETS = sorted(name for name, setting in BY_NAME.items() if setting.secret)

CHOSEN_SECRETS = {"PAYOUTS_API_KEY", "PAYOUT_KEYSTORE_PASSWORD"}
"""Almost any text will do: there is no typo that could be told."""


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

"""World files, .env files and the example file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dotenv import dotenv_values
from hypothesis import given

from tests.settings_cases import KEY, ROOT, WORLD, load
from tests.strategies import json_values
from workbench.cli import main
from workbench.config.world_file import WORLD_FILE, read_world
from workbench.core.errors import InvalidSetting, UnknownWorld
from workbench.settings import BY_NAME, Settings, env_example

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

"""Settings: who overrules whom, every wrong value by its name, and no secret in any message."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tests.settings_cases import WORLD, load
from workbench.config.world_file import WORLD_FILE, world_variables
from workbench.core.errors import InvalidSetting
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses
from workbench.core.pricing import Price
from workbench.evm.transactions.test_keys import key_of
from workbench.settings import ADDRESS_NAMES, BY_NAME, Settings


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

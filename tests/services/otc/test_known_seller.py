"""Which seller `workbench buy` pays: --seller, SELLER_ADDRESS, the world, the key; else nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from workbench.cli import main
from workbench.core.errors import InvalidSetting, SellerMismatch, WorkbenchError
from workbench.evm.transactions.test_keys import key_of
from workbench.services.otc.buyer import BuyerRules
from workbench.settings import Settings
from workbench.worlds.remote import live_buyer, seller_address
from workbench.worlds.rules import WorldRules, buyer_rules

SELLER, OTHER = key_of("seller"), "0x" + "5e" * 20


def load(folder: Path, world: dict[str, Any] | None = None, **environ: str) -> Settings:
    """Settings of a folder with this world and environment."""
    return Settings.load(environ=environ, folder=folder, world=world or {})


def test_who_says_which_seller(tmp_path: Path) -> None:
    """The first that says it: the setting, the world file, the key."""
    world = {"seller_address": SELLER.address, "keys": {"seller": key_of("spare1").secret}}
    assert OTHER == seller_address(load(tmp_path, world, SELLER_ADDRESS=OTHER))
    assert SELLER.address.lower() == seller_address(load(tmp_path, world))
    assert SELLER.address.lower() == seller_address(
        load(tmp_path, SELLER_PRIVATE_KEY=SELLER.secret)
    )
    with pytest.raises(SellerMismatch, match="seller") as caught:
        seller_address(load(tmp_path))
    assert "--seller" in caught.value.hint


def test_an_option_goes_before_all_settings(tmp_path: Path) -> None:
    """And without any of them nothing is asked: neither node nor seller."""

    async def begin(settings: Settings, seller: str | None) -> None:
        async with live_buyer(settings, seller):
            pytest.fail("there is no chain here")

    settings = load(tmp_path)
    with pytest.raises(SellerMismatch):
        asyncio.run(begin(settings, None))
    with pytest.raises(InvalidSetting, match="POLYGON_AMOY_RPC_URL"):
        asyncio.run(begin(settings, OTHER))


def test_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence and a hint; an address that is none is refused by its option."""
    monkeypatch.chdir(tmp_path)
    for name in ("SELLER_ADDRESS", "SELLER_PRIVATE_KEY"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(main, ["buy", "1yps"])
    assert 0 != done.exit_code
    assert "seller" in done.output
    assert "--seller" in done.output
    wrong = CliRunner().invoke(main, ["buy", "1yps", "--seller", "bob"])
    assert 2 == wrong.exit_code
    assert "not an address" in wrong.output


def test_the_defaults_are_bounded(tmp_path: Path) -> None:
    """Of the settings, of a world, and of the Python API: a ceiling, a day, a tolerance."""
    from workbench.worlds.served import rules_of

    settings = load(tmp_path)
    served = buyer_rules(rules_of(settings, settings.finality))
    own = BuyerRules()
    for rules in (
        served,
        own,
        buyer_rules(WorldRules(served.price or _price(), settings.finality)),
    ):
        assert 1_000 * 10**6 == rules.ceiling_eurc
        assert 86_400 == rules.max_deadline_s
        assert 100 == rules.price_tolerance_bps
    assert served.price is None
    given = load(tmp_path, PRICE_PER_UNIT_USDC="2", MAX_EURC_PER_PURCHASE="none")
    bound = buyer_rules(rules_of(given, given.finality))
    assert bound.price is not None
    assert (2_000_000, None) == (bound.price.usdc_per_asset, bound.ceiling_eurc)
    assert issubclass(SellerMismatch, WorkbenchError)


def _price() -> Any:
    from workbench.core.pricing import Price

    return Price.parse("1.10")

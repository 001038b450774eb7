"""Scenario files: values are read exactly, and problems are reported by line and field."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml

from tests.documents import code_blocks, documents
from tests.scenario.files import FOLDER, FULL, LEAST, SCHEMA
from workbench.core.pricing import Price
from workbench.scenario import (
    FAULT_SITES,
    Scenario,
    load,
    parse,
    schema_json,
    schema_text,
)
from workbench.scenario import model as m
from workbench.scenario.table import FAULTS, FILE, TableSection


def test_the_least_file_takes_every_default_of_the_model() -> None:
    read = parse(LEAST, "scenarios/least.yaml")
    assert read == Scenario(
        name="least",
        about="The least that a file says.",
        duration_s=600,
        buyers=(m.BuyerGroup(count=2),),
    )


SIZE = m.PurchaseSize(
    model="lognormal", low_units=15 * 10**17, high_units=20 * 10**18, sigma_bps=12_000
)


def test_every_field_is_read_in_its_unit() -> None:
    assert parse(FULL, "full.yaml") == Scenario(
        name="full",
        about="All there is.",
        seed=42,
        duration_s=5_400,
        settle_s=3_600,
        chain=m.ChainSettings(
            block_time_ms=12_000,
            finality_blocks=3,
            base_fee_wei=1_500_000_000,
            block_gas_limit=2_500_000,
            rpc_latency_ms=20,
            http_latency_ms=(5, 80),
            state_root="computed",
        ),
        market=m.Market(
            path=m.RatePath(
                model="jumps",
                start_e8=108_420_000,
                drift_bps_per_day=-5,
                volatility_bps_per_year=800,
                jump_every_s=1_800,
                jump_bps=50,
            ),
            step_s=30,
            pool_usdc=2_500_000_500_000,
            lp_fee_pips=300,
            band_bps=200,
            rate_max_age_s=86_400,
            keeper_every_s=120,
            arbitrageur=m.ArbitrageurSettings(every_s=20, edge_bps=15, max_eurc=1_000_000),
        ),
        buyers=(
            m.BuyerGroup(
                count=3,
                kind="replays",
                arrivals=m.Arrivals(model="even", every_ms=1_500),
                start_s=60,
                size=SIZE,
                slippage_bps=25,
                patience_s=3_600,
                fund_by="permit",
                wallet_eurc=900_000_000,
            ),
            m.BuyerGroup(
                count=1,
                arrivals=m.Arrivals(model="burst"),
                size=m.PurchaseSize(low_units=10**18, high_units=10**18),
            ),
        ),
        seller=m.SellerSettings(
            price=Price(1_200_000),
            price_follows_market=True,
            quote_lifetime_s=300,
            swap_window_s=1_200,
            inventory_units=10**21,
            delay_ms=250,
            poll_ms=500,
        ),
        facilitator=m.FacilitatorSettings(poll_ms=2_000, finality_timeout_s=900, retries=5),
        faults=(
            m.Fault(site="http.lost", chance_ppm=100, stop_s=5_400),
            m.Fault(site="chain.reorg", chance_ppm=10_000, low=1, high=3, stop_s=600),
            m.Fault(site="chain.reorg", chance_ppm=5_000, active_ppm=250_000, low=2, high=2,
                    start_s=600, stop_s=5_400),
        ),
        plant="lose_refund",
    )  # fmt: skip


def test_a_fault_without_a_range_takes_that_of_its_site() -> None:
    (fault,) = parse(LEAST + "faults: {clock.skew: 1 %}").faults
    site = FAULT_SITES["clock.skew"]
    assert (fault.low, fault.high) == (site.low, site.high) == (-30, 30)


def test_the_order_of_faults_in_a_file_says_nothing() -> None:
    first = parse(LEAST + "faults: {http.lost: 1 %, http.cut: 2 %}")
    assert first == parse(LEAST + "faults: {http.cut: 2 %, http.lost: 1 %}")


def test_every_section_fills_its_values_and_needs_what_has_no_default() -> None:
    """The table and the model agree, attribute by attribute."""

    def check(section: TableSection, apart: set[str]) -> None:
        filled = {attribute for item in section.items for attribute in item.into}
        assert filled | apart == {each.name for each in fields(section.make)}, section.make
        for item in section.items:
            if any(section.default(attribute) is MISSING for attribute in item.into):
                assert item.needed or item.name == "stop"
            if isinstance(item.kind, TableSection):
                check(item.kind, {"points"} if item.kind.make is m.RatePath else set())

    check(FILE, {"name", "faults"})
    for name, section in FAULTS.items():
        check(section, {"site"} if FAULT_SITES[name].unit else {"site", "low", "high"})


OURS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_scenarios_are_sound_and_say_what_they_ask(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n# ")
    assert "?" in text.split("about:")[0]
    assert load(path).name == path.stem
    SCHEMA.validate(yaml.safe_load(text))


def test_the_scenarios_that_are_spoken_of_are_here() -> None:
    wanted = {"happy-path", "thin-liquidity", "crash-in-every-gap", "reorg-storm", "csv-market"}
    assert wanted <= {path.stem for path in OURS}


def test_the_example_of_the_guides_is_sound() -> None:
    (example,) = code_blocks(documents(), "yaml")
    assert parse(example.text).faults
    SCHEMA.validate(yaml.safe_load(example.text))


def test_the_kept_schema_is_current() -> None:
    """Else: workbench scenario schema > scenarios/schema.json"""
    assert schema_text() == (FOLDER / "schema.json").read_text(encoding="utf-8")
    SCHEMA.check_schema(schema_json())

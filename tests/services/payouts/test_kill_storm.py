"""`kill -9` under load, with real processes: see `kill_storm`; `make soak ARGS="kills"`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.payouts.kill_storm import KillStorm

SEED = 1


@pytest.mark.parametrize(
    ("kills", "payouts"), [(2, 20), pytest.param(30, 200, marks=pytest.mark.check)]
)
def test_killed_under_load(tmp_path: Path, kills: int, payouts: int) -> None:
    """Nothing double, nothing lost, no service ended by itself; the signer stops where it must."""
    storm = KillStorm(tmp_path, SEED, kills=kills, payouts=payouts)
    assert [] == storm.play(), f"seed {SEED}"
    assert storm.seen["kills"] == kills
    assert storm.seen["restored database: stopped"] == 1
    assert storm.seen["foreign nonce: stopped"] == 1


@pytest.mark.check
@pytest.mark.parametrize(
    ("plant", "symptom"),
    [("another_nonce", " 2 times"), ("ends_at_null", "ended by itself with code 1")],
)
def test_a_wrong_service_is_caught(tmp_path: Path, plant: str, symptom: str) -> None:
    """One that takes another nonce after a time-out; one that ends at a null: within some seeds."""
    for seed in range(SEED, SEED + 3):
        (folder := tmp_path / str(seed)).mkdir()
        storm = KillStorm(folder, seed, kills=4, payouts=40, plant=plant, patience_s=15)
        if any(symptom in problem for problem in storm.play()):
            return
    raise AssertionError(f"{plant}: never caught")

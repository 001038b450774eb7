"""Fixtures of the payout tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.payouts.desk import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    at = Desk()
    yield at
    at.storm.loop.close()
    at.storm.store.close()

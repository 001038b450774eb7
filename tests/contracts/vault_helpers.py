"""Constants that the tests of the vault share."""

from __future__ import annotations

import pytest

both_sides = pytest.mark.parametrize("world", ["usdc_first", "eurc_first"], indirect=True)

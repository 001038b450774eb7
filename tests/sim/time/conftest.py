"""Fixtures of the tests of virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workbench.evm.node.anvil import Anvil


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with Anvil() as made:
        yield made

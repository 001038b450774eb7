"""Fixtures of the EVM tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.evm.watcher_scene import Scene


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()

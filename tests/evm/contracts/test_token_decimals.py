"""A token's decimals: its own word, or TOKEN_DECIMALS where it says none; never two that differ."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from workbench.core.errors import InvalidSetting
from workbench.evm.payments.tokens import token_decimals
from workbench.evm.rpc.client import NodeRevert, Rpc


class Token(Rpc):
    """Answers `decimals()` so; None: it reverts."""

    url = "http://test"

    def __init__(self, said: str | None) -> None:
        self.said = said

    async def call(self, method: str, *params: Any) -> Any:
        if self.said is None:
            raise NodeRevert("execution reverted")
        return self.said

    async def close(self) -> None: ...


def word(number: int) -> str:
    return f"0x{number:064x}"


@pytest.mark.parametrize(
    ("said", "given", "found"),
    [
        (word(6), None, 6), (word(6), 6, 6), (word(0), 0, 0), (word(36), None, 36),
        (None, 6, 6), ("0x", 18, 18), ("0x06", 6, 6), (word(37), 5, 5),
    ],
)  # fmt: skip
def test_what_is_taken(said: str | None, given: int | None, found: int) -> None:
    assert found == asyncio.run(token_decimals(Token(said), "0x", given))


@pytest.mark.parametrize(
    ("said", "given", "why"),
    [
        (None, None, "does not say"), ("0x", None, "does not say"), ("0x06", None, "does not say"),
        (word(37), None, "does not say"), (word(2**256 - 1), None, "does not say"),
        (word(6), 18, "TOKEN_DECIMALS is 18, and the token says 6"), (word(6), 0, "says 6"),
    ],
)  # fmt: skip
def test_what_refuses_the_start(said: str | None, given: int | None, why: str) -> None:
    with pytest.raises(InvalidSetting, match=why) as wrong:
        asyncio.run(token_decimals(Token(said), "0x", given))
    assert "TOKEN_DECIMALS" in wrong.value.hint

"""Names of functions, words of text, and hex."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.codec.reference import encode_selector
from workbench.evm.build.artifacts import load
from workbench.evm.codec import abi
from workbench.evm.codec.abi import encode_call, hex_bytes, text_to_word, to_hex, word_to_text


@pytest.mark.parametrize("contract", abi.OURS)
def test_no_function_is_overloaded(contract: str) -> None:
    """`encode_call` goes by name alone; constants of the parents count too."""
    names = [i["name"] for i in load(contract).abi if i["type"] == "function"]
    used = {"eip712Domain", "nonces", "balanceOf", "allowance", "rate", "setRate", "fund"}
    assert [] == [name for name in names if name in used and names.count(name) > 1]
    for name in set(names) & used:
        assert encode_selector(contract, name) == to_hex(abi._functions(contract)[name].selector)


def test_vault_functions_of_the_plan_are_there() -> None:
    """The words of the states are the words of the contract."""
    wanted = "createSettlement fund executeSwap executeSettlement refund cancel claim rescue"
    assert set(wanted.split()) <= set(abi._functions("SettlementVault"))


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=32))
def test_a_reason_survives_its_word(reason: str) -> None:
    """32 bytes on chain, and the same text (in lower case) when read back."""
    assert 32 == len(text_to_word(reason))
    assert reason.lower() == word_to_text(text_to_word(reason))


@given(st.binary(min_size=32, max_size=32))
def test_any_word_can_be_read(data: bytes) -> None:
    """Whatever somebody wrote there."""
    assert len(word_to_text(data)) <= 32


def test_hex_of_bytes_and_back() -> None:
    """With and without the prefix."""
    assert b"\x01\xff" == hex_bytes(to_hex(b"\x01\xff")) == hex_bytes("01ff")
    assert b"" == hex_bytes("0x")
    assert encode_call("SettlementVault", "finalityBlocks") == keccak(text="finalityBlocks()")[:4]

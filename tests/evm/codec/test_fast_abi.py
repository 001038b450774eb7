"""Our own encoders against the libraries that they stand in for: eth_abi and rlp."""

from __future__ import annotations

from typing import Any

import pytest
import rlp as library
from eth_abi.abi import decode, encode
from eth_abi.exceptions import EncodingError
from eth_utils.crypto import keccak as keccak_of_eth_utils
from hypothesis import given
from hypothesis import strategies as st

from workbench.evm.codec.abi import abi_type
from workbench.evm.codec.fast_abi import (
    WORDS,
    UnsupportedByFastAbi,
    decode_plain,
    encode_plain,
    encode_words,
    keccak,
    rlp,
    to_plain,
)

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Any value that a type can hold."""
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:]) - 1)
    if kind == "bytes":
        return st.binary(max_size=100)
    if kind.startswith("bytes"):
        return st.binary(min_size=int(kind[5:]), max_size=int(kind[5:]))
    return addresses if kind == "address" else st.booleans()


def struct(kinds: list[str]) -> dict[str, Any]:
    return {"type": "tuple", "components": [{"type": kind} for kind in kinds]}


words = st.sampled_from(sorted(WORDS))
items = st.one_of(
    words.map(lambda kind: {"type": kind}),
    st.just({"type": "bytes"}),
    st.lists(words, min_size=1, max_size=4).map(struct),
)


@st.composite
def arguments(draw: st.DrawFn, dynamic: bool = True) -> tuple[list[dict[str, Any]], list[Any]]:
    """ABI items, and a value for each."""
    some = draw(st.lists(items, max_size=5))
    some = [item for item in some if dynamic or item["type"] != "bytes"]
    found = []
    for item in some:
        members = [m["type"] for m in item.get("components", [])]
        inner = st.tuples(*(values_of(kind) for kind in members))
        found.append(draw(inner if members else values_of(item["type"])))
    return some, found


@given(arguments())
def test_arguments_are_encoded_as_by_eth_abi(
    given_: tuple[list[dict[str, Any]], list[Any]],
) -> None:
    """Words, structs of words and `bytes`, in any order."""
    described, values = given_
    planned = to_plain(described)
    assert planned is not None
    assert encode([abi_type(i) for i in described], values) == encode_plain(planned, values)


@given(arguments(dynamic=False))
def test_results_are_decoded_as_by_eth_abi(
    given_: tuple[list[dict[str, Any]], list[Any]],
) -> None:
    """What was encoded comes back, and as the same Python values."""
    described, values = given_
    planned = to_plain(described)
    assert planned is not None
    kinds = [abi_type(item) for item in described]
    data = encode(kinds, values)
    assert decode(kinds, data) == decode_plain(planned, data) == tuple(values)


@given(words, st.binary(min_size=32, max_size=32))
def test_a_word_is_read_as_by_eth_abi_or_left_to_it(kind: str, word: bytes) -> None:
    """Any 32 bytes: we say the same, or nothing, never something else."""
    planned = to_plain([{"type": kind}])
    assert planned is not None
    try:
        ours = decode_plain(planned, word)
    except UnsupportedByFastAbi:
        return
    assert decode([kind], word) == ours


ODD: list[tuple[str, Any]] = [
    ("uint8", 256),
    ("uint8", -1),
    ("uint256", 2**256),
    ("uint256", True),
    ("uint64", "7"),
    ("address", "0x12"),
    ("address", "0x" + "zz" * 20),
    ("address", b"\0" * 20),
    ("bool", 1),
    ("bytes32", b"short"),
    ("bytes4", "0x12345678"),
]


@pytest.mark.parametrize(("kind", "value"), ODD)
def test_what_is_not_plain_is_left_to_eth_abi(kind: str, value: Any) -> None:
    """It knows more forms, and has the words for what is wrong."""
    with pytest.raises(UnsupportedByFastAbi):
        encode_words([kind], [value])
    try:
        encode([kind], [value])
    except (EncodingError, TypeError, ValueError):
        return
    assert kind in ("bytes32", "address")


@pytest.mark.parametrize("kind", ["string", "uint256[]", "address[2]", "int24", "tuple[]"])
def test_there_is_no_plan_for_what_is_not_plain(kind: str) -> None:
    """Also inside a struct, and for a struct that holds `bytes`."""
    assert to_plain([{"type": "uint256"}, {"type": kind, "components": []}]) is None
    assert to_plain([struct(["bytes"])]) is None


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_values_is_not_plain(count: int) -> None:
    """eth_abi tells the caller."""
    with pytest.raises(UnsupportedByFastAbi):
        encode_plain(("uint256",), [1] * count)
    with pytest.raises(UnsupportedByFastAbi):
        encode_words(["uint256"], [1] * count)


nested = st.recursive(
    st.integers(0, 2**256) | st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5)
)


@given(nested)
def test_rlp_is_rlp(item: Any) -> None:
    """Integers, bytes and lists, of any depth and size."""
    assert library.encode(item) == rlp(item)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 255, 256, 65_536])
def test_rlp_of_every_size_of_length(size: int) -> None:
    """The prefix changes its form at 56, and grows at each power of 256."""
    for item in (b"\x7f" * size, b"\x80" * size, [b""] * size):
        assert library.encode(item) == rlp(item)


@given(st.binary(max_size=300))
def test_keccak_is_keccak(data: bytes) -> None:
    """The one with Ethereum's padding, not SHA-3's."""
    assert keccak_of_eth_utils(data) == keccak(data)

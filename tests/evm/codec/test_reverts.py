"""Revert data: each error is explained with a name and a cause, and no data makes it fail."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import example, given
from hypothesis import strategies as st

from tests.evm.codec.reference import AT, drawn
from tests.hypothesis_profile import examples
from tests.strategies import uint256
from workbench.core import errors
from workbench.core.errors import WorkbenchError
from workbench.evm.build.artifacts import load
from workbench.evm.codec import reverts
from workbench.evm.codec.abi import abi_type, signature, to_hex
from workbench.evm.codec.reverts import ERROR_SOURCES, WRAPPED_ERROR, explain_revert


def error_entries() -> dict[str, dict[str, Any]]:
    """Every custom error that our contracts can give, by name."""
    return {
        entry["name"]: entry
        for contract in ERROR_SOURCES
        for entry in load(contract).abi
        if entry["type"] == "error"
    }


ENTRIES = error_entries()


def revert(entry: dict[str, Any], values: list[Any]) -> bytes:
    kinds = [abi_type(i) for i in entry["inputs"]]
    return keccak(text=signature(entry))[:4] + encode(kinds, values)


def wrap(inner: bytes) -> bytes:
    """How PoolManager passes a hook's revert on."""
    return WRAPPED_ERROR + encode(
        ["address", "bytes4", "bytes", "bytes"], [AT.hook, b"swap", inner, b"detail"]
    )


def test_wrapped_error_is_uniswaps() -> None:
    """The selector is that of CustomRevert.WrappedError."""
    assert keccak(text="WrappedError(address,bytes4,bytes,bytes)")[:4] == WRAPPED_ERROR


def test_every_meaning_belongs_to_an_error_that_exists() -> None:
    """A renamed error would silently lose its meaning."""
    assert set() == set(reverts.MEANINGS) - set(ENTRIES)


def test_no_two_errors_share_a_selector() -> None:
    """Four bytes are few."""
    selectors = {keccak(text=signature(entry))[:4] for entry in ENTRIES.values()}
    assert len(ENTRIES) == len(selectors)


@examples(4)
@given(st.data(), st.integers(0, 5))
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_error_is_explained(name: str, data: st.DataObject, depth: int) -> None:
    """By meaning where it has one, else by name; always with its arguments; also when wrapped."""
    entry = ENTRIES[name]
    values = drawn(data, entry["inputs"])
    raw = revert(entry, values)
    for _ in range(depth):
        raw = wrap(raw)
    error = explain_revert(raw)
    kind, text = reverts.MEANINGS.get(name, (errors.Reverted, f"the contract refused with {name}"))
    assert (kind, name) == (type(error), error.details["revert"])
    assert error.message.startswith(text)
    shown = [to_hex(v) if isinstance(v, bytes) else str(v) for v in values]
    assert [] == [v for v in shown if v[:80] not in error.message]


@pytest.mark.parametrize(
    ("name", "kind", "seed"),
    [
        ("AllowanceTooLow", errors.InsufficientAllowance,
         "Settlement failed: insufficient allowance"),
        ("ERC20InsufficientAllowance", errors.InsufficientAllowance,
         "Settlement failed: insufficient allowance"),
        ("PartialFill", errors.InsufficientOutput, "Swap failed: insufficient output"),
        ("OutsideBand", errors.OutsideBand, "Swap failed: "),
        ("StaleRate", errors.StaleRate, "Swap failed: "),
        ("NotFinal", errors.NotFinal, ""),
        ("BadStatus", errors.StateMoved, ""),
    ],
)  # fmt: skip
def test_the_seeds_words_are_said(name: str, kind: type[WorkbenchError], seed: str) -> None:
    """What the seed's troubleshooting lists is what people read, and whether to wait is right."""
    entry = ENTRIES[name]
    values = [b"\1" * 32 if i["type"] == "bytes32" else AT.eurc if i["type"] == "address" else 1
              for i in entry["inputs"]]  # fmt: skip
    error = explain_revert(revert(entry, values))
    assert type(error) is kind
    assert error.message.startswith(seed)
    transient = {"StaleRate", "NotFinal", "BadStatus"}
    assert (name in transient) == error.transient


@given(st.text(max_size=300))
def test_a_reason_in_text_is_told(reason: str) -> None:
    """`require(…, "text")`, as long as one can read it."""
    error = explain_revert(bytes.fromhex("08c379a0") + encode(["string"], [reason]))
    assert errors.Reverted is type(error)
    assert f"the contract refused: {reason[:100]}" in error.message


@given(uint256)
def test_a_panic_is_told_with_its_code(code: int) -> None:
    """Overflow is 17, and so on."""
    error = explain_revert(bytes.fromhex("4e487b71") + encode(["uint256"], [code]))
    assert f"the contract panicked with code {code}." == error.message


SELECTORS = [
    b"",
    WRAPPED_ERROR,
    bytes.fromhex("08c379a0"),
    bytes.fromhex("4e487b71"),
    *(keccak(text=signature(entry))[:4] for entry in ENTRIES.values()),
]


@examples(400)
@given(st.sampled_from(SELECTORS), st.binary(max_size=260) | st.lists(
    st.sampled_from([bytes(32), b"\xff" * 32, b"\x20".rjust(32, b"\0"), b"\x80".rjust(32, b"\0"),
                     b"\x80" + bytes(31)]), max_size=8).map(b"".join))  # fmt: skip
@example(b"", b"")
@example(b"", b"\x01")
@example(bytes.fromhex("08c379a0"), encode(["bytes"], [b"\xff\xfe"]))
@example(bytes.fromhex("08c379a0"), encode(["uint256", "uint256"], [32, 2**255]))
@example(keccak(text="StringTooLong(string)")[:4], encode(["bytes"], [b"\xff\xfe"]))
def test_no_revert_data_breaks_the_telling(selector: bytes, body: bytes) -> None:
    """Empty, cut short, not UTF-8, offsets into nowhere: still an error of ours with a message."""
    error = explain_revert(selector + body)
    assert isinstance(error, WorkbenchError)
    assert error.message
    assert not error.transient or error.details["revert"]


@pytest.mark.parametrize("name", sorted(n for n, entry in ENTRIES.items() if entry["inputs"]))
def test_a_known_error_cut_short_keeps_its_name(name: str) -> None:
    """The selector alone already says what happened."""
    error = explain_revert(keccak(text=signature(ENTRIES[name]))[:4])
    kind, _ = reverts.MEANINGS.get(name, (errors.Reverted, ""))
    assert (kind, name) == (type(error), error.details["revert"])


def test_no_depth_of_wrapping_breaks_the_telling() -> None:
    """A contract may wrap as often as its gas allows."""
    raw = revert(ENTRIES["StaleRate"], [1, 2])
    for _ in range(300):
        raw = wrap(raw)
    assert isinstance(explain_revert(raw), WorkbenchError)


def test_a_long_reason_is_cut() -> None:
    """It goes into the journal, and a contract may say anything."""
    error = explain_revert(bytes.fromhex("08c379a0") + encode(["string"], ["x" * 10**5]))
    assert len(error.message) < 1_000
    error = explain_revert(revert(ENTRIES["StringTooLong"], ["y" * 10**5]))
    assert len(error.message) < 1_000


def test_reverts_are_explained_where_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the payouts' container there is no contract of ours; tokens speak ERC-6093 there, too."""

    def missing(name: str) -> Any:
        raise errors.NotCompiled(f"No compiled contract {name}.")

    monkeypatch.setattr(reverts, "interface", missing)
    reverts._error_table.cache_clear()
    try:
        short = keccak(b"ERC20InsufficientBalance(address,uint256,uint256)")[:4]
        told = explain_revert(
            short + encode(["address", "uint256", "uint256"], ["0x" + "ab" * 20, 1, 2])
        )
        assert "needed 2" in told.message
        assert "an unknown reason" in explain_revert(b"\x01\x02\x03\x04").message
    finally:
        reverts._error_table.cache_clear()

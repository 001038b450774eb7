"""What a trace of a block says of our transactions is what their receipts would."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.facts import BlockRef
from workbench.evm.codec.receipts import Inclusion, inclusions_from_traces
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of

SIGNER = KeySigner(key_of("spare1").secret)
wei = st.integers(0, 2**64)


def signed(**fields: Any) -> tuple[str, str]:
    """Raw bytes and hash of a transfer of nothing."""
    plain = {"chainId": 31337, "to": b"\1" * 20, "value": 0, "data": b"", "gas": 21_000}
    return SIGNER.sign_transaction({**plain, **fields})


def block(gas_used: int, *txs: str, base_fee: int = 7) -> dict[str, Any]:
    header = {"number": "0x10", "hash": "0xb1", "baseFeePerGas": hex(base_fee)}
    return {**header, "gasUsed": hex(gas_used), "transactions": list(txs)}


def told(tx: str, gas: int, *, failed: bool = False) -> dict[str, Any]:
    return {"txHash": tx, "result": {"gas": gas, "failed": failed, "structLogs": []}}


@given(
    st.integers(1, 2**64), st.integers(0, 2**53), wei, wei, wei, st.sampled_from([b"", b"x" * 99])
)
def test_the_price_is_what_eip_1559_says(
    chain_id: int, nonce: int, tip: int, most: int, base_fee: int, data: bytes
) -> None:
    """Whatever numbers the raw bytes hold, of one byte or of many."""
    fees = {"maxPriorityFeePerGas": tip, "maxFeePerGas": most}
    raw, tx = signed(chainId=chain_id, nonce=nonce, data=data, **fees)
    header = block(21_000, tx, base_fee=base_fee)
    landed = inclusions_from_traces(header, [told(tx, 21_000)], {tx: raw})
    where = BlockRef(16, "0xb1", tx, -1)
    assert {tx: Inclusion(where, True, 21_000, min(most, base_fee + tip))} == landed


def test_gas_is_told_up_to_each_transaction() -> None:
    """So what each has used is a difference; of strangers' transactions nothing is said."""
    fees = {"maxPriorityFeePerGas": 1, "maxFeePerGas": 100}
    (one, first), (two, last) = (signed(nonce=nonce, **fees) for nonce in range(2))
    traces = [told(first, 30), told("0xother", 50), told(last, 90, failed=True)]
    header, raws = block(90, first, "0xother", last), {first: one, last: two}
    landed = inclusions_from_traces(header, traces, raws)
    assert {first: (True, 30), last: (False, 40)} == {
        tx: (each.ok, each.gas_used) for tx, each in landed.items()
    }


@pytest.mark.parametrize(
    "traces",
    [
        [told("0xa", 30), told("0xb", 40)],  # Another node's: what each has used by itself.
        [told("0xb", 30), told("0xa", 70)],
        [told("0xa", 30), {"txHash": "0xb", "error": "no trace"}],
        [told("0xa", 70)],
        [],
    ],
)
def test_what_does_not_come_to_the_headers_gas_says_nothing(traces: list[dict[str, Any]]) -> None:
    """Receipts are asked for then."""
    raw, _ = signed(nonce=0, maxPriorityFeePerGas=1, maxFeePerGas=100)
    assert {} == inclusions_from_traces(block(70, "0xa", "0xb"), traces, {"0xa": raw, "0xb": raw})

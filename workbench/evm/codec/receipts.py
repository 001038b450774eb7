"""Where a transaction was mined and what it cost: from its receipt, or from a trace of its block.

anvil 1.7.1 reads and copies a whole block for each of its receipts: 0.1 ms in a block of 200
transactions, 0.2 ms in one of 400. A trace without steps takes 0.01 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.core.facts import BlockRef
from workbench.core.records import quick
from workbench.evm.codec.fast_abi import first_numbers
from workbench.evm.codec.jsonrpc import invalid

DYNAMIC_FEES = "0x02"
"""The first byte of an EIP-1559 transaction."""
HEAD_CHARS = 2 + 2 * (1 + 9 + 5 * 33)
"""How many characters of a raw transaction hold its head and its first five fields."""


@quick
@dataclass(frozen=True, slots=True)
class Inclusion:
    """A transaction that was mined."""

    block: BlockRef
    """The block and the transaction's hash."""
    ok: bool
    """Whether it did not revert."""
    gas_used: int
    gas_price: int
    """Effective price of a unit of gas, in wei."""

    @property
    def tx(self) -> str:
        """The transaction's hash."""
        return self.block.tx


def inclusion_of(receipt: dict[str, Any]) -> Inclusion:
    """Return the inclusion that a receipt reports."""
    number = int(receipt["blockNumber"], 16)
    return Inclusion(
        BlockRef(number, receipt["blockHash"], receipt["transactionHash"], -1),
        int(receipt["status"], 16) == 1,
        int(receipt["gasUsed"], 16),
        int(receipt["effectiveGasPrice"], 16),
    )


def is_within(raw: str, gas_used: int, gas_price: int) -> bool:
    """Return whether a signed transaction allows this much gas at this price (EIP-1559)."""
    if not raw.startswith(DYNAMIC_FEES):
        return True
    _, _, _, max_fee, gas_limit = first_numbers(bytes.fromhex(raw[4:HEAD_CHARS]), 5)
    return gas_used <= gas_limit and gas_price <= max_fee


def require_within(raw: str, gas_used: int, gas_price: int) -> None:
    """Raise RpcAnswerInvalid if a receipt cannot belong to this signed transaction."""
    if not is_within(raw, gas_used, gas_price):
        reason = "more gas, or a higher price, than the signed transaction allows"
        raise invalid("eth_getTransactionReceipt", reason, "gasUsed, effectiveGasPrice")


def inclusions_from_traces(
    block: dict[str, Any], traces: list[dict[str, Any]], raws: dict[str, str]
) -> dict[str, Inclusion]:
    """Return inclusions by transaction, of those whose raw bytes are among `raws`.

    `traces`: the answer to `debug_traceBlockByNumber` without a tracer. Its `gas` is cumulative in
    anvil 1.7.1. If the last one is not the header's `gasUsed`, the result is empty.
    """
    number, block_hash = int(block["number"], 16), block["hash"]
    base_fee = int(block["baseFeePerGas"], 16)
    found: dict[str, Inclusion] = {}
    cumulative = 0
    if len(traces) != len(block["transactions"]):
        return {}
    for tx, trace in zip(block["transactions"], traces, strict=True):
        result = trace.get("result")
        if result is None or trace.get("txHash") != tx:
            return {}
        used, cumulative = result["gas"] - cumulative, result["gas"]
        price = _gas_price(raws.get(tx, ""), base_fee)
        if price is not None:
            where = BlockRef(number, block_hash, tx, -1)
            found[tx] = Inclusion(where, not result["failed"], used, price)
    return found if cumulative == int(block["gasUsed"], 16) else {}


def _gas_price(raw: str, base_fee: int) -> int | None:
    """Return the effective gas price in wei (EIP-1559); None for another transaction type."""
    if not raw.startswith(DYNAMIC_FEES):
        return None
    _chain_id, _nonce, tip, max_fee = first_numbers(bytes.fromhex(raw[4:HEAD_CHARS]), 4)
    return min(max_fee, base_fee + tip)

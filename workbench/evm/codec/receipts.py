"""Where a transaction was mined, and what it cost: from its receipt, or from a trace of its block.

anvil 1.7.1 goes through all of a block, and copies it, for each of its receipts: 0.1 ms in a block
of 200 transactions, 0.2 in one of 400. A trace without steps says as much in 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.core.facts import BlockRef
from workbench.core.records import quick
from workbench.evm.codec.fast_abi import first_numbers
from workbench.evm.codec.jsonrpc import invalid

DYNAMIC_FEES = "0x02"
"""How a transaction of EIP-1559 begins."""
ENOUGH = 2 + 2 * (1 + 9 + 5 * 33)
"""So many characters hold a transaction's head and its first five fields."""


@quick
@dataclass(frozen=True, slots=True)
class Inclusion:
    """`ok`: it did not revert. `gas_price`: what a unit of gas cost in the end, in wei."""

    block: BlockRef
    ok: bool
    gas_used: int
    gas_price: int

    @property
    def tx(self) -> str:
        return self.block.tx


def landing_of(receipt: dict[str, Any]) -> Inclusion:
    """What a receipt says."""
    number = int(receipt["blockNumber"], 16)
    return Inclusion(
        BlockRef(number, receipt["blockHash"], receipt["transactionHash"], -1),
        int(receipt["status"], 16) == 1,
        int(receipt["gasUsed"], 16),
        int(receipt["effectiveGasPrice"], 16),
    )


def is_within(raw: str, gas_used: int, gas_price: int) -> bool:
    """Whether no more gas was used, and none was dearer, than a transaction allows (EIP-1559)."""
    if not raw.startswith(DYNAMIC_FEES):
        return True
    _, _, _, most, gas = first_numbers(bytes.fromhex(raw[4:ENOUGH]), 5)
    return gas_used <= gas and gas_price <= most


def require_within(raw: str, gas_used: int, gas_price: int) -> None:
    """Raise RpcAnswerInvalid for a receipt that cannot be that of these signed bytes."""
    if not is_within(raw, gas_used, gas_price):
        said = "more gas, or dearer gas, than was signed for"
        raise invalid("eth_getTransactionReceipt", said, "gasUsed, effectiveGasPrice")


def traced(
    block: dict[str, Any], traces: list[dict[str, Any]], raws: dict[str, str]
) -> dict[str, Inclusion]:
    """Landings by transaction, of those whose raw bytes are among `raws`.

    `traces`: `debug_traceBlockByNumber` with no tracer, whose `gas` is in anvil 1.7.1 what all
    transactions up to this one have used. Where that does not come to the header's `gasUsed`,
    nothing is said.
    """
    number, block_hash = int(block["number"], 16), block["hash"]
    base_fee = int(block["baseFeePerGas"], 16)
    found: dict[str, Inclusion] = {}
    before = 0
    if len(traces) != len(block["transactions"]):
        return {}
    for tx, told in zip(block["transactions"], traces, strict=True):
        result = told.get("result")
        if result is None or told.get("txHash") != tx:
            return {}
        used, before = result["gas"] - before, result["gas"]
        price = _price(raws.get(tx, ""), base_fee)
        if price is not None:
            where = BlockRef(number, block_hash, tx, -1)
            found[tx] = Inclusion(where, not result["failed"], used, price)
    return found if before == int(block["gasUsed"], 16) else {}


def _price(raw: str, base_fee: int) -> int | None:
    """What a unit of gas costs by EIP-1559; None for another kind of transaction."""
    if not raw.startswith(DYNAMIC_FEES):
        return None
    _, _, tip, most = first_numbers(bytes.fromhex(raw[4:ENOUGH]), 4)  # Chain id and nonce before.
    return min(most, base_fee + tip)

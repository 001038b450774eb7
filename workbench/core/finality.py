"""When a block counts as final: enough confirmations, and the same hash when read again.

N confirmations mean: number of the head >= number of the block + N.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCKHASH_REACH = 256
"""How many blocks back the EVM's BLOCKHASH opcode sees."""


@dataclass(frozen=True, slots=True)
class FinalityPolicy:
    """How many confirmations are required: the larger of the setting and the gate."""

    confirmations: int
    """The setting FINALITY_CONFIRMATIONS."""
    gate: int = 0
    """The minimum that the vault enforces, in blocks."""

    @property
    def depth(self) -> int:
        """Required confirmations, in blocks."""
        return max(self.confirmations, self.gate)

    def reached(self, block_number: int, head_number: int) -> bool:
        """Whether `block_number` has its confirmations at `head_number`."""
        return head_number >= block_number + self.depth

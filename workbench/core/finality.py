"""When a block counts as final: confirmations, and the same hash when looked at again.

N confirmations mean head ≥ block + N (agreement 5).
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCKHASH_REACH = 256
"""How many blocks back the EVM's BLOCKHASH opcode sees."""


@dataclass(frozen=True, slots=True)
class FinalityPolicy:
    """`confirmations`: our setting. `gate`: what the vault itself demands. The larger one rules."""

    confirmations: int
    gate: int = 0

    @property
    def depth(self) -> int:
        return max(self.confirmations, self.gate)

    def reached(self, block_number: int, head_number: int) -> bool:
        """Whether `block_number` has its confirmations at `head_number`."""
        return head_number >= block_number + self.depth

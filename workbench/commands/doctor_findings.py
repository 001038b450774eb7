"""The findings of `workbench doctor`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from workbench.core.ports import NodeState

GAS_FOR_A_DAY_WEI = 10**16
"""0.01 of the native currency. A signer with less will soon be stuck."""


@dataclass(frozen=True)
class Finding:
    """One checked item: whether it is well; else the cause and the remedy."""

    subject: str
    ok: bool
    cause: str = ""
    remedy: str = ""

    def line(self) -> str:
        """Return one line for people."""
        if self.ok:
            return f"ok     {self.subject}" + (f": {self.cause}" if self.cause else "")
        return f"fault  {self.subject}: {self.cause} {self.remedy}"


P = TypeVar("P")
Diagnosis = Callable[[P], AsyncIterator[Finding]]


def base_fee_finding(state: NodeState) -> Finding:
    has = state.base_fee is not None
    cause = f"block {state.number} has no base fee, so nothing can be sent."
    return Finding("EIP-1559", has, "" if has else cause, "Use a chain with EIP-1559.")

"""Calls and helpers that the tests of the sender share."""

from __future__ import annotations

from eth_hash.auto import keccak

from tests.evm.faulty import (
    Ground,
)
from workbench.core.ports import ContractCall
from workbench.evm.transactions.track import RESEND_MS

RESEND_S = RESEND_MS / 1000

GATE = "0x00000000000000000000000000000000000000aa"

GATE_CODE = "6000541560175763" + keccak(b"ReorgDetected()")[:4].hex() + "60e01b60005260046000fd5b00"
"""Takes any call while its first word of storage is 0; else reverts with ReorgDetected()."""


def knock() -> ContractCall:
    """A call that GATE takes or refuses."""
    return ContractCall("knock", GATE, b"")


def set_gate(ground: Ground, shut: bool) -> None:
    ground.node.call("anvil_setCode", GATE, "0x" + GATE_CODE)
    ground.node.call("anvil_setStorageAt", GATE, "0x" + "00" * 32, "0x" + f"{shut:064x}")


def finish(ground: Ground, rounds: int = 8) -> None:
    """Mine and pump until nothing is open."""
    for _ in range(rounds):
        ground.pump()
        ground.mine()
        ground.wait(RESEND_S)
    ground.pump()

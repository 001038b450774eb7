"""A deployed PayoutBatcher with funds, and helpers to pay through it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract import Contract

from tests.contracts.harness import (
    Chain,
    Party,
    Receipt,
)

PAYER, STRANGER = Party("payer"), Party("stranger")

FUNDS = 10**21

MAX = 2**256 - 1

TAKE, REFUSE, BURN_GAS, LONG_REVERT, CALL_BACK, TAKE_SLOWLY = range(6)

HONEST, RETURN_FALSE, TOKEN_BURNS, TOKEN_SHOUTS, BLOCKED, KEEP_ONE, TOKEN_CALLS = range(7)

NATIVE = "0x" + "00" * 20


def someone(number: int) -> str:
    """An account that nobody has used."""
    return to_checksum_address(keccak(b"receiver %d" % number)[:20])


def payment(number: int, to: str | None = None, amount: int = 7) -> tuple[bytes, str, int]:
    return (keccak(b"payout %d" % number), to or someone(number), amount)


@dataclass
class Till:
    """The batcher, a payer with money, and a token of which it has as much."""

    chain: Chain
    batcher: Contract
    token: Contract
    made: Iterator[int] = field(default_factory=itertools.count)

    def balance(self, who: str, token: bool = False) -> int:
        if token:
            return int(self.chain.ask(self.token, "balanceOf", who))
        return int(self.chain.node.rpc("eth_getBalance", who, "latest"), 16)

    def pay(
        self,
        payments: list[tuple[bytes, str, int]],
        token: bool = False,
        sender: Party | str = PAYER,
        gas: int = 16_000_000,
        value: int | None = None,
    ) -> Receipt:
        """One batch. Whatever came of it, nothing is left in the contract."""
        try:
            if token:
                given = (self.token.address, payments)
                return self.chain.act(self.batcher, "payToken", *given, sender=sender, gas=gas)
            sent = sum(p[2] for p in payments) if value is None else value
            more: dict[str, Any] = {"sender": sender, "gas": gas, "value": sent}
            return self.chain.act(self.batcher, "payNative", payments, **more)
        finally:
            assert (0, 0) == (
                self.balance(self.batcher.address),
                self.balance(self.batcher.address, token=True),
            )

    def is_paid(self, number: int, payer: Party = PAYER) -> bool:
        return bool(self.chain.ask(self.batcher, "isPaid", payer.address, payment(number)[0]))

    def receiver(self, mode: int, target: str = NATIVE, message: bytes = b"") -> str:
        made = self.chain.deploy("Receiver")
        self.chain.act(made, "setMode", mode, target, message)
        return str(made.address)

    def picky(self, mode: int) -> str:
        """A receiver to whom the token behaves like that."""
        at = someone(10_000 + next(self.made))
        self.chain.act(self.token, "setMode", at, mode)
        return at

    def bad(self, token: bool, mode: int) -> str:
        return self.picky(mode) if token else self.receiver(mode)


either = pytest.mark.parametrize("token", [False, True], ids=["native", "token"])


def outcomes(receipt: Receipt) -> list[str]:
    """The batcher's own events, in their order."""
    return [e.name for e in receipt.events if e.name in ("Paid", "Failed", "Skipped")]

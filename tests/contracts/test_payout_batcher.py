"""PayoutBatcher: everybody is paid once, nobody stops the others, and nothing stays in it."""

from __future__ import annotations

import pytest

from tests.contracts.harness import (
    Reverted,
)
from tests.contracts.till import (
    BLOCKED,
    HONEST,
    NATIVE,
    PAYER,
    REFUSE,
    STRANGER,
    TAKE,
    Till,
    either,
    outcomes,
    payment,
    someone,
)

PAID, FAILED, SKIPPED = range(3)


@either
def test_everybody_is_paid_what_is_theirs(till: Till, token: bool) -> None:
    """The event of each payment has its id, receiver, token and amount."""
    payments = [payment(n, amount=n) for n in range(5)]
    before = till.balance(PAYER.address, token)
    receipt = till.pay(payments, token)
    assert [p[2] for p in payments] == [till.balance(p[1], token) for p in payments]
    assert before - till.balance(PAYER.address, token) == sum(p[2] for p in payments)
    told = [e.args for e in receipt.events if e.name == "Paid"]
    asset = till.token.address if token else NATIVE
    assert told == [
        {"payer": PAYER.address, "id": i, "to": to, "token": asset, "amount": amount}
        for i, to, amount in payments
    ]
    assert all(till.is_paid(n) for n in range(5))


@either
def test_a_call_says_what_would_come_of_each(till: Till, token: bool) -> None:
    """So that a service can leave out whom a batch would not pay."""
    till.pay([payment(0)], token)
    asked = [payment(0), payment(1), payment(2, till.bad(token, REFUSE if not token else BLOCKED))]
    function = "payToken" if token else "payNative"
    given = (till.token.address, asked) if token else (asked,)
    found = till.batcher.get_function_by_name(function)(*given)
    value = 0 if token else sum(p[2] for p in asked)
    assert [SKIPPED, PAID, FAILED] == found.call({"from": PAYER.address, "value": value})


def test_what_is_left_goes_back(till: Till) -> None:
    """Of a payment that failed, of too much value, and what somebody forced upon the contract."""
    before = till.balance(PAYER.address)
    till.pay([payment(0), payment(1, till.receiver(REFUSE))], value=100)
    assert before - till.balance(PAYER.address) == 7
    till.chain.node.rpc("anvil_setBalance", till.batcher.address, hex(50))
    till.pay([payment(2)])
    assert before - till.balance(PAYER.address) == 2 * 7 - 50


def test_nobody_sends_it_money(till: Till) -> None:
    with pytest.raises(Reverted):
        till.chain.send(till.batcher.address, "0x", PAYER, value=1)
    data = till.batcher.encode_abi("payToken", args=[till.token.address, []])
    with pytest.raises(Reverted):
        till.chain.send(till.batcher.address, data, PAYER, value=1)


@either
def test_an_id_is_paid_once(till: Till, token: bool) -> None:
    """In one batch, in the next one, to another receiver, by the other function."""
    first = payment(0)
    receipt = till.pay([first, first, (first[0], someone(1), 9)], token)
    assert ["Paid", "Skipped", "Skipped"] == outcomes(receipt)
    assert ["Skipped", "Paid"] == outcomes(till.pay([first, payment(1)], token))
    assert ["Skipped"] == outcomes(till.pay([first], not token))
    assert (7, 7) == (till.balance(first[1], token), till.balance(someone(1), token))


@either
def test_ids_are_the_payers_own(till: Till, token: bool) -> None:
    """Who runs ahead with an id of ours pays with their own money, and takes nothing from us."""
    till.pay([payment(0)], token, sender=STRANGER)
    assert not till.is_paid(0)
    assert ["Paid"] == outcomes(till.pay([payment(0)], token))


@either
def test_what_failed_may_be_paid_later(till: Till, token: bool) -> None:
    to = till.bad(token, BLOCKED if token else REFUSE)
    assert ["Failed"] == outcomes(till.pay([payment(0, to)], token))
    assert not till.is_paid(0)
    if token:
        till.chain.act(till.token, "setMode", to, HONEST)
    else:
        made = till.chain.bind("Receiver", to)
        till.chain.act(made, "setMode", TAKE, NATIVE, b"")
    assert ["Paid"] == outcomes(till.pay([payment(0, to)], token))
    assert till.balance(to, token) == 7

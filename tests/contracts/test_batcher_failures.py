"""PayoutBatcher: one payment that fails does not stop the others; any batches."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.harness import (
    DEPLOYER,
    Party,
    Reverted,
    reverts,
)
from tests.contracts.till import (
    BLOCKED,
    BURN_GAS,
    CALL_BACK,
    FUNDS,
    KEEP_ONE,
    LONG_REVERT,
    MAX,
    PAYER,
    REFUSE,
    RETURN_FALSE,
    STRANGER,
    TAKE_SLOWLY,
    TOKEN_BURNS,
    TOKEN_CALLS,
    TOKEN_SHOUTS,
    Till,
    either,
    outcomes,
    payment,
    someone,
)

NATIVE_POISONS = {"refuses": REFUSE, "burns": BURN_GAS, "shouts": LONG_REVERT}

TOKEN_POISONS = {
    "says false": RETURN_FALSE,
    "burns": TOKEN_BURNS,
    "shouts": TOKEN_SHOUTS,
    "blocks": BLOCKED,
    "keeps a part": KEEP_ONE,
}


@pytest.mark.parametrize("how", NATIVE_POISONS)
def test_a_receiver_that_does_not_take_it(till: Till, how: str) -> None:
    bad = till.receiver(NATIVE_POISONS[how])
    receipt = till.pay([payment(0), payment(1, bad), payment(2)])
    assert ["Paid", "Failed", "Paid"] == outcomes(receipt)
    assert (7, 0, 7) == tuple(till.balance(to) for to in (someone(0), bad, someone(2)))
    reason = receipt.one("Failed")["reason"]
    assert len(reason) <= 100
    if how == "refuses":
        assert ("NotToday", (7,)) == till.chain.errors.decode(reason)
    assert receipt.gas < 300_000


@pytest.mark.parametrize("how", TOKEN_POISONS)
def test_a_token_that_does_not_pay_somebody(till: Till, how: str) -> None:
    """By false, by gas, by noise, by a block, or by a fee: undone, and the others are paid."""
    bad = till.picky(TOKEN_POISONS[how])
    receipt = till.pay([payment(0), payment(1, bad), payment(2)], token=True)
    assert ["Paid", "Failed", "Paid"] == outcomes(receipt)
    assert (7, 0, 7) == tuple(till.balance(to, True) for to in (someone(0), bad, someone(2)))
    reason = receipt.one("Failed")["reason"]
    if how == "keeps a part":
        assert ("WrongAmount", (6, 7)) == till.chain.errors.decode(reason)
    if how == "says false":
        assert "SafeERC20FailedOperation" == till.chain.errors.decode(reason)[0]
    assert len(reason) <= 100


def test_a_token_with_a_fee_pays_nobody(till: Till) -> None:
    """Or a bonus: what arrives is what was to be paid, or nothing is."""
    chain = till.chain
    fees = chain.deploy("FeeToken")
    chain.act(fees, "mint", PAYER.address, 100)
    chain.act(fees, "approve", till.batcher.address, MAX, sender=PAYER)
    for number, difference in enumerate((-1, 1)):
        chain.act(fees, "setDifference", difference)
        given = (fees.address, [payment(number)])
        receipt = chain.act(till.batcher, "payToken", *given, sender=PAYER)
        assert "WrongAmount" == chain.errors.decode(receipt.one("Failed")["reason"])[0]
    assert 100 == chain.ask(fees, "balanceOf", PAYER.address)


@either
def test_it_pays_not_itself(till: Till, token: bool) -> None:
    """What went there would be lost."""
    receipt = till.pay([payment(0, till.batcher.address), payment(1)], token)
    assert ["Failed", "Paid"] == outcomes(receipt)


def test_a_receiver_may_take_its_time_up_to_a_limit(till: Till) -> None:
    """40,000 of gas are more than any wallet in use takes."""
    slow = till.receiver(TAKE_SLOWLY)
    assert ["Paid"] == outcomes(till.pay([payment(0, slow)]))


@either
def test_who_is_paid_cannot_come_back_in(till: Till, token: bool) -> None:
    """With a batch of its own, of the other kind, or by `deliver`: no door is open meanwhile."""
    encode = till.batcher.encode_abi
    doors = [
        encode("payNative", args=[[payment(8)]]),
        encode("payToken", args=[till.token.address, []]),
        encode("deliver", args=[till.token.address, PAYER.address, STRANGER.address, 5]),
    ]
    for number, door in enumerate(doors):
        message = bytes.fromhex(door[2:])
        if token:
            caller: Any = till.token
            to = till.picky(TOKEN_CALLS)
            till.chain.act(caller, "setCallBack", till.batcher.address, message)
        else:
            to = till.receiver(CALL_BACK, till.batcher.address, message)
            caller = till.chain.bind("Receiver", to)
        assert ["Paid"] == outcomes(till.pay([payment(number, to)], token))
        assert not till.chain.ask(caller, "gotThrough")
    assert 0 == till.balance(STRANGER.address, token) - FUNDS


def test_deliver_is_its_own_alone(till: Till) -> None:
    """Or whoever likes could spend everybody's allowance."""
    given = (till.token.address, PAYER.address, STRANGER.address, 5)
    with reverts("OnlySelf"):
        till.chain.act(till.batcher, "deliver", *given, sender=STRANGER)


def test_too_little_value(till: Till) -> None:
    with reverts("ValueTooLow", 6, 7):
        till.pay([payment(0), payment(1)], value=13)
    assert not till.is_paid(0)


def test_too_little_allowance_or_balance(till: Till) -> None:
    poor = Party("poor")
    with reverts("AllowanceTooLow", 0, 14):
        till.pay([payment(0), payment(1)], token=True, sender=poor)
    till.chain.act(till.token, "approve", till.batcher.address, 14, sender=poor)
    till.chain.act(till.token, "mint", poor.address, 13)
    with reverts("BalanceTooLow", 13, 14):
        till.pay([payment(0), payment(1)], token=True, sender=poor)


def test_who_does_not_take_back_what_is_left(till: Till) -> None:
    """A contract as payer: its money stays where it was."""
    bad = till.receiver(REFUSE)
    till.chain.node.rpc("anvil_setBalance", bad, hex(100))
    with reverts("LeftoverRefused"):
        till.pay([payment(0)], sender=bad, value=8)
    assert ["Paid"] == outcomes(till.pay([payment(0)], sender=bad))


@either
def test_no_payment_fails_for_want_of_gas(till: Till, token: bool) -> None:
    """Whatever gas one sends: either all are paid, or nothing has happened at all."""
    payments = [payment(n) for n in range(3)]
    full = till.pay(payments, token).gas
    seen = set()
    for gas in range(60_000, full + 120_000, 7_001):
        snapshot = till.chain.node.rpc("evm_snapshot")
        shifted = [payment(n + 10) for n in range(3)]
        try:
            assert ["Paid"] * 3 == outcomes(till.pay(shifted, token, gas=gas)), gas
            seen.add("paid")
        except Reverted:
            seen.add("reverted")
        till.chain.node.rpc("evm_revert", snapshot)
    assert {"paid", "reverted"} == seen


LIMITS = settings(
    max_examples=int(os.environ.get("BATCHES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

BATCHES = st.lists(
    st.tuples(
        st.booleans(),  # Whether it is the token.
        st.sampled_from([PAYER, STRANGER]),
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 50)),
            max_size=7,
        ),
    ),
    min_size=1,
    max_size=4,
)


@LIMITS
@given(batches=BATCHES)
def test_any_batches_pay_each_id_once(
    deployed: Till, batches: list[tuple[bool, Party, list[tuple[int, int, int]]]]
) -> None:
    """Ids, receivers (good ones and others) and amounts at random, against a model."""
    till, chain = deployed, deployed.chain
    snapshot = chain.node.rpc("evm_snapshot")
    try:
        bad = {False: till.receiver(REFUSE), True: till.picky(BLOCKED)}
        known: set[tuple[str, bytes]] = set()
        owed: dict[tuple[bool, str], int] = {}
        spent: dict[tuple[bool, str], int] = {}
        for token, payer, items in batches:
            payments = [
                payment(i, bad[token] if who == 3 else someone(who), amount)
                for i, who, amount in items
            ]
            expected = []
            for identity, to, amount in payments:
                if (payer.address, identity) in known:
                    expected.append("Skipped")
                elif to == bad[token]:
                    expected.append("Failed")
                else:
                    expected.append("Paid")
                    known.add((payer.address, identity))
                    owed[token, to] = owed.get((token, to), 0) + amount
                    spent[token, payer.address] = spent.get((token, payer.address), 0) + amount
            assert expected == outcomes(till.pay(payments, token, sender=payer))
        for token in (False, True):
            for who in range(3):
                assert owed.get((token, someone(who)), 0) == till.balance(someone(who), token)
            assert 0 == till.balance(bad[token], token)
            for party in (PAYER, STRANGER):
                left = FUNDS - spent.get((token, party.address), 0)
                assert left == till.balance(party.address, token)
    finally:
        chain.node.rpc("evm_revert", snapshot)


def test_the_deployer_has_no_say(till: Till) -> None:
    """There is no function but these: no owner, no rescue, no pause."""
    functions = {e["name"] for e in till.batcher.abi if e["type"] == "function"}
    assert {"payNative", "payToken", "deliver", "isPaid", "NATIVE_GAS", "TOKEN_GAS"} == functions
    assert DEPLOYER.address not in {PAYER.address, STRANGER.address}

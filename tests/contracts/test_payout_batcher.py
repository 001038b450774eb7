"""PayoutBatcher: everybody is paid once, nobody stops the others, and nothing stays in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.contract import Contract

from tests.contracts.harness import (
    DEPLOYER,
    Anvil,
    Artifact,
    Chain,
    Party,
    Receipt,
    Reverted,
    reverts,
)

PAYER, STRANGER = Party("payer"), Party("stranger")
FUNDS = 10**21
MAX = 2**256 - 1
PAID, FAILED, SKIPPED = range(3)
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


@pytest.fixture(scope="session")
def deployed(node: Anvil, artifacts: dict[str, Artifact]) -> Till:
    chain = Chain(node, artifacts)
    made = []
    for name in ("PayoutBatcher", "PickyToken"):  # Not by the admin, whose addresses gas hangs on.
        chain.send("", chain.initcode(name), STRANGER)
        made.append(chain.bind(name, chain.last_created))
    till = Till(chain, made[0], made[1])
    for party in (PAYER, STRANGER):
        node.rpc("anvil_setBalance", party.address, hex(FUNDS))
        chain.act(till.token, "mint", party.address, FUNDS)
        chain.act(till.token, "approve", till.batcher.address, MAX, sender=party)
    return till


@pytest.fixture
def till(deployed: Till) -> Iterator[Till]:
    snapshot = deployed.chain.node.rpc("evm_snapshot")
    yield deployed
    deployed.chain.node.rpc("evm_revert", snapshot)


either = pytest.mark.parametrize("token", [False, True], ids=["native", "token"])


def outcomes(receipt: Receipt) -> list[str]:
    """The batcher's own events, in their order."""
    return [e.name for e in receipt.events if e.name in ("Paid", "Failed", "Skipped")]


# --- What it is for ---


@either
def test_everybody_is_paid_what_is_theirs(till: Till, token: bool) -> None:
    """And each payment is told with its id, receiver, token and amount."""
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


# --- Nobody twice ---


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


# --- Nobody stops the others ---

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


# --- What is the caller's fault stops all of it ---


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


# --- Any batches ---

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

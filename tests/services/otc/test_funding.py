"""Two ways to let a budget be pulled: EIP-2612 permits, and ERC-3009 authorisations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

from tests.payments import AMOUNT, SELLER, follow, offer, pay, payment
from workbench import World
from workbench.core.facts import SettlementFunded
from workbench.evm.build.artifacts import load
from workbench.evm.codec import abi
from workbench.evm.transactions.test_keys import key_of

RECEIVE_TYPES = {
    "ReceiveWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


def authorised(
    world: World,
    requirement: dict[str, Any],
    *,
    client: str | None = None,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """A payment with an ERC-3009 authorisation, signed by eth_account; `change` alters it."""
    secret = key_of("buyer").secret
    buyer = client or key_of("buyer").address
    terms = {**requirement["terms"], "buyer": buyer, "maxEurc": 101_000_000}
    consent = Account.sign_typed_data(secret, requirement["domain"], requirement["types"], terms)
    message = {
        "from": buyer,
        "to": world.deployment["SettlementVault"],
        "value": 101_000_000,
        "validAfter": 0,
        "validBefore": terms["fundDeadline"] + 1,
        "nonce": consent.message_hash,
    }
    change(message)
    domain = {
        "name": "Mock EURC",
        "version": "1",
        "chainId": world.deployment.chain_id,
        "verifyingContract": world.deployment["MockEURC"],
    }
    given = Account.sign_typed_data(secret, domain, RECEIVE_TYPES, message)
    return {
        "client": buyer,
        "terms": terms,
        "terms_signature": Web3.to_hex(consent.signature),
        "authorization": {
            "validAfter": message["validAfter"],
            "validBefore": message["validBefore"],
            "signature": Web3.to_hex(given.signature),
        },
    }


def sent(world: World, content: dict[str, Any]) -> str:
    """Pay; the settlement id."""
    answer = pay(world, content)
    assert 200 == answer.status, answer.data()
    return str(answer.data()["settlement_id"])


def executed(world: World, identity: str) -> bool:
    """Follow a settlement to its end."""
    return bool("executed" == follow(world, identity)["status"])


@pytest.mark.parametrize("later_first", [False, True])
def test_two_open_quotes_of_one_buyer_both_settle(world: World, later_first: bool) -> None:
    """Both are signed before either is sent; the order of sending does not matter."""
    payments = [authorised(world, offer(world)) for _ in range(2)]
    identities = [sent(world, each) for each in (payments[::-1] if later_first else payments)]
    assert all(executed(world, identity) for identity in identities)
    assert 2 * AMOUNT == world.balances()["buyer", "YPS"]


def test_two_permits_of_one_buyer_collide_and_the_second_is_refunded(world: World) -> None:
    """Why ERC-3009 is the default: permits carry one sequence of nonces, and the first wins."""
    payments = [payment(world, offer(world)) for _ in range(2)]
    first, second = (sent(world, each) for each in payments)
    assert executed(world, first)
    assert "insufficient_allowance" == follow(world, second)["reason"]
    assert AMOUNT == world.balances()["buyer", "YPS"]


@pytest.mark.parametrize("fund_by", ["authorization", "permit"])
def test_our_buyer_can_do_both(world: World, fund_by: str) -> None:
    """By setting; the facts are the same."""
    buyer = world.wiring.buyer()
    buyer._rules = replace(buyer._rules, fund_by=fund_by)
    purchase = world.do(buyer.buy(SELLER, AMOUNT))
    assert "executed" == purchase.status
    world.advance(4)
    assert [101_000_000] == [
        e.eurc_amount for e in world.run.events if isinstance(e, SettlementFunded)
    ]


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "another amount": lambda m: m.update(value=1),
    "another receiver": lambda m: m.update(to=key_of("spare1").address),
    "another nonce": lambda m: m.update(nonce=b"\x01" * 32),
    "not valid yet": lambda m: m.update(validAfter=2**40),
    "ends too soon": lambda m: m.update(validBefore=m["validBefore"] - 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_authorisation_that_does_not_fit_is_refused(
    world: World, change: Callable[[dict[str, Any]], None]
) -> None:
    """Amount, receiver, nonce and time are all signed, and all checked before anything is done."""
    answer = pay(world, authorised(world, offer(world), change=change))
    assert (400, "bad_signature") == (answer.status, answer.data()["error"])


def test_a_permit_and_an_authorisation_together_are_refused(world: World) -> None:
    """Which of the two should be used is not for us to guess; neither is no payment."""
    requirement = offer(world)
    both = authorised(world, requirement) | {"permit": payment(world, requirement)["permit"]}
    neither = {k: v for k, v in both.items() if k not in ("permit", "authorization")}
    for content in (both, neither):
        answer = pay(world, content)
        assert (400, "invalid_payment") == (answer.status, answer.data()["error"])


def test_a_buyer_with_a_smart_account(world: World) -> None:
    """ERC-1271: the wallet's owner signs, the wallet pays and receives."""
    wallet = deploy_wallet(world)
    fund = abi.encode_call("MockUSDC", "transfer", wallet, 101_000_000)
    act(world, "buyer", world.deployment["MockEURC"], fund)
    identity = sent(world, authorised(world, offer(world), client=wallet))
    assert executed(world, identity)
    assert AMOUNT == world.do(world.chain.balance(world.chain.addresses.asset, wallet.lower()))


def test_a_stranger_s_smart_account_is_refused(world: World) -> None:
    """The wallet says no to a signature that is not its owner's."""
    wallet = deploy_wallet(world, owner="spare1")
    answer = pay(world, authorised(world, offer(world), client=wallet))
    assert (400, "bad_signature") == (answer.status, answer.data()["error"])


def deploy_wallet(world: World, owner: str = "buyer") -> str:
    """A contract wallet of one owner; its address."""
    code = load("Wallet1271").bytecode
    owner_word = bytes.fromhex(key_of(owner).address[2:]).rjust(32, b"\0")
    return str(act(world, "spare2", None, code + owner_word)["contractAddress"])


def act(world: World, role: str, to: str | None, data: bytes) -> dict[str, Any]:
    """A transaction of one of the node's unlocked accounts; its receipt."""
    call = {"from": key_of(role).address, "data": "0x" + data.hex(), "gas": hex(3_000_000)}
    tx = world.rpc.now("eth_sendTransaction", call | ({"to": to} if to else {}))
    world.advance()
    receipt: dict[str, Any] = world.rpc.now("eth_getTransactionReceipt", tx)
    assert "0x1" == receipt["status"]
    return receipt

"""Settlements that cannot go forward end in a full refund, with the reason where people look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.payments import AMOUNT, SELLER, follow, header, offer, pay, payment
from workbench import World, simulated
from workbench.core.errors import OverCeiling, RpcUnreachable
from workbench.core.facts import PaymentAuthorized, SettlementCreated, TransactionMined
from workbench.core.ports import Request
from workbench.core.pricing import Price
from workbench.core.settlement import SettlementState
from workbench.evm.codec import abi
from workbench.evm.deploy.pool import TICK_LIMIT
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.test_keys import key_of
from workbench.worlds.factories import LOCAL_FINALITY
from workbench.worlds.rules import WorldRules

MAX = 2**256 - 1


def transact(world: World, role: str, to: str, data: bytes) -> None:
    """A transaction of one of the node's unlocked accounts, mined."""
    sender = key_of(role).address
    call = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(3_000_000)}
    tx = world.rpc.now("eth_sendTransaction", call)
    world.advance()
    assert world.rpc.now("eth_getTransactionReceipt", tx)["status"] == "0x1"


def give_away(world: World, role: str, contract: str) -> None:
    """Send the whole balance of a token to somebody else."""
    held = world.balances()[(role, {"MockEURC": "EURC", "YieldPoolShare": "YPS"}[contract])]
    data = abi.encode_call("MockUSDC", "transfer", key_of("spare2").address, held)
    transact(world, role, world.deployment[contract], data)


def drain_pool(world: World) -> None:
    """Take all liquidity out, as its provider."""
    seeder = world.deployment["LiquiditySeeder"]
    pool = bytes.fromhex(world.deployment.pool_id[2:])
    # PoolManager keeps pools in slot 6 by id; liquidity is the fourth word of a pool's state.
    state = int.from_bytes(keccak(pool + (6).to_bytes(32, "big")), "big")
    word = hex(state + 3)
    liquidity = int(
        world.rpc.now("eth_getStorageAt", world.deployment["PoolManager"], word, "latest"), 16
    )
    assert liquidity > 0
    key = world.deployment.pool_key
    arguments = (key, -TICK_LIMIT, TICK_LIMIT, -liquidity)
    transact(world, "deployer", seeder, abi.encode_call("LiquiditySeeder", "modify", *arguments))


def authorized(world: World) -> str:
    """A settlement that is created and not funded yet; its id."""
    answer = pay(world, payment(world, offer(world)))
    assert answer.status == 200, answer.data()
    identity: str = answer.data()["settlement_id"]
    return identity


def assert_refunded(world: World, before: dict[Any, int], identity: str, reason: str) -> None:
    """Refunded with that reason, and nobody has gained or lost a base unit."""
    view = follow(world, identity)
    assert ("refunded", "refunded", reason) == (view["status"], view["state"], view.get("reason"))
    assert before == world.balances()
    world.audit()


def test_a_buyer_without_balance_is_refused(world: World) -> None:
    """The EURC went elsewhere between signing and paying: nothing is claimed, and no gas spent."""
    sent = payment(world, offer(world))
    give_away(world, "buyer", "MockEURC")
    before, facts = world.balances(), len(world.run.events)
    answer = pay(world, sent)
    assert (409, "insufficient_funds") == (answer.status, answer.data()["error"])
    world.advance(3)
    told = world.run.events[facts:]
    assert not [e for e in told if isinstance(e, PaymentAuthorized | SettlementCreated)]
    assert before == world.balances()


def test_a_pool_without_liquidity_is_refunded(world: World) -> None:
    """Both legs were pulled, the pool has nothing: both go back."""
    drain_pool(world)
    before = world.balances()
    assert_refunded(world, before, authorized(world), "insufficient_output")


def test_a_seller_without_allowance_sells_by_permit(world: World) -> None:
    """PermitPuller's allowance is revoked: the seller signs a permit, and the sale goes on."""
    revoke(world)
    run = world.buy("100")
    assert run.status == "executed"
    assert change(run, "buyer", "YPS") == 100 * 10**18


def test_a_purchase_outside_the_band_is_refunded_at_once(world: World) -> None:
    """One base unit costs two of EURC, far from 1.10: the band refuses, the buyer gets all back."""
    before = world.balances()
    answer = pay(world, payment(world, offer(world, 1), max_eurc=2), 1)
    assert_refunded(world, before, answer.data()["settlement_id"], "outside_band")


def test_an_unfunded_settlement_expires_and_is_refunded(world: World) -> None:
    """The rate goes stale, nobody refreshes it: after the deadline the money goes home."""
    world.facilitator._keeper = None
    transact_rate(world, max_age_s=60)
    world.skip(62)
    before = world.balances()
    identity = authorized(world)
    for _ in range(5):
        world.advance()
    view = world.get(f"{SELLER}/settlement/{identity}").data()
    assert (view["status"], view["state"]) == ("pending", "funded")
    world.skip(1300)
    assert_refunded(world, before, identity, "expired")


def test_the_buyer_keeps_to_its_own_ceiling(world: World) -> None:
    """A purchase above the user's ceiling is not signed, and nothing was sent to the seller."""
    buyer = world.wiring.buyer()
    buyer._rules = replace(buyer._rules, ceiling_eurc=100_000_000)
    with pytest.raises(OverCeiling) as caught:
        world.do(buyer.buy(SELLER, AMOUNT))
    assert caught.value.details["budget_eurc"] == 101_000_000
    assert not [e for e in world.run.events if isinstance(e, PaymentAuthorized)]


def test_one_payment_sent_five_times_at_once_is_one_settlement(world: World) -> None:
    """Five copies, one settlement, one transaction, five equal answers."""
    sent = header(payment(world, offer(world)))
    request = Request("GET", f"{SELLER}/buy-asset?amount={AMOUNT}", headers=(("X-PAYMENT", sent),))

    async def five() -> list[Any]:
        return list(await asyncio.gather(*(world.http.send(request) for _ in range(5))))

    answers = world.do(five())
    assert [answer.status for answer in answers] == [200] * 5
    assert len({answer.body for answer in answers}) == 1
    identity = answers[0].data()["settlement_id"]
    assert follow(world, identity)["status"] == "executed"
    # And once more, after it is over: the same answer, and nothing happens.
    assert answers[0].body == world.send(request).body
    world.advance(5)
    facts = world.run.events
    assert len([e for e in facts if isinstance(e, SettlementCreated)]) == 1
    acts = [e.act for e in facts if isinstance(e, TransactionMined)]
    assert acts == ["create", "fund", "swap", "execute"]


@pytest.fixture(scope="module")
def permitless() -> Iterator[World]:
    """A world whose seller signs no permits: it sells by allowance alone."""
    rules = WorldRules(price=Price.parse("1.10"), finality=LOCAL_FINALITY, sign_permits=False)
    with simulated(rules=rules) as made:
        yield made


def test_a_seller_without_allowance_and_permit_is_refunded(permitless: World) -> None:
    """The seed's first troubleshooting case: nothing was pulled, and the reason is there."""
    revoke(permitless)
    before = permitless.balances()
    identity = authorized(permitless)
    assert_refunded(permitless, before, identity, "insufficient_allowance")
    failed = [
        e for e in permitless.run.events if getattr(e, "code", "") == "insufficient_allowance"
    ]
    assert "Settlement failed: insufficient allowance" in failed[0].message  # type: ignore[attr-defined]


ALWAYS_REVERTS = "0x5f5ffd"
"""PUSH0, PUSH0, REVERT."""


@pytest.mark.parametrize("retries", [0, 1])
def test_what_reverts_is_tried_again_as_often_as_the_rules_say(retries: int) -> None:
    """Sound whenever it is simulated, and refused in every block that has a swap."""
    rules = WorldRules(price=Price.parse("1.10"), finality=LOCAL_FINALITY, retries=retries)
    with simulated(rules=rules) as world:
        vault = world.accounts["vault"]
        code = world.rpc.now("eth_getCode", vault, "latest")

        async def break_vault() -> None:
            swapping = world.facilitator.book.of(SettlementState.FUNDED)
            if swapping and swapping[0].reverted.count("swap") <= retries:
                await world.rpc.call("anvil_setCode", vault, ALWAYS_REVERTS)

        async def mend_vault(_: int) -> None:
            await world.rpc.call("anvil_setCode", vault, code)

        world.miner.before_block.append(break_vault)
        world.miner.after_block.append(mend_vault)
        before = world.balances()
        assert_refunded(world, before, authorized(world), "reverted")
        mined = [e for e in world.run.events if isinstance(e, TransactionMined)]
        assert [False] * (1 + retries) == [e.ok for e in mined if e.act == "swap"]


def revoke(world: World) -> None:
    """The seller takes PermitPuller's allowance back."""
    data = abi.encode_call("MockUSDC", "approve", world.deployment["PermitPuller"], 0)
    transact(world, "seller", world.deployment["YieldPoolShare"], data)


def transact_rate(world: World, max_age_s: int) -> None:
    """Set the reference rate anew, with another lifetime."""
    data = abi.encode_call("FacilitatorHook", "setRate", 110_000_000, 100, max_age_s, 500)
    transact(world, "keeper", world.deployment["FacilitatorHook"], data)


def change(run: Any, account: str, token: str) -> int:
    """By how much a balance moved during a run."""
    (row,) = [b for b in run.balances_seen if (b.account, b.token) == (account, token)]
    return int(row.change)


class Outage(Rpc):
    """An RPC that can be away: every call fails while it is."""

    def __init__(self, world: World) -> None:
        self._real, self._world, self.until, self.failed = world.rpc, world, 0, 0
        self.url = self._real.url

    async def call(self, method: str, *params: Any) -> Any:
        if self._world.clock.now_ms() < self.until:
            self.failed += 1
            raise RpcUnreachable("the node is away (test).")
        return await self._real.call(method, *params)

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("after", ["created", "funded", "swapped"])
def test_a_node_that_is_gone_for_ten_seconds_loses_nothing(world: World, after: str) -> None:
    """The services wait, go on, and the settlement ends as if nothing had been."""
    outage = Outage(world)
    for service in (world.seller, world.facilitator, world.tracker):
        service._chain.rpc = outage  # type: ignore[attr-defined]
        service._watcher._rpc = outage  # type: ignore[attr-defined]
        if sender := getattr(service, "_sender", None):
            for part in (sender, sender._simulation, sender._inclusions):
                part._rpc = outage
    identity = authorized(world)
    for _ in range(10):
        if world.get(f"http://tracker/settlement/{identity}").data()["state"] == after:
            break
        world.advance()
    else:
        pytest.fail(f"the settlement was never seen {after}")
    outage.until = world.clock.now_ms() + 10_000
    answer = world.get(f"{SELLER}/settlement/{identity}")
    assert (answer.status, answer.data()["error"]) == (503, "rpc_unreachable")
    world.advance(11)
    assert outage.failed > 10
    assert follow(world, identity)["status"] == "executed"

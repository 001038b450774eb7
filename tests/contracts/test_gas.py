"""What each step costs, to the unit, against gas.json.

Everything that could move a number is fixed: addresses, keys, salts, deadlines and times.
So a difference is a change of the contracts (or of the compiler, or of anvil), and worth a
look. *first* is a settlement between parties that hold nothing of what they receive in a
vault that holds nothing either; *warm* is the next one between the same two.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from tests.contracts.harness import Party
from tests.contracts.vault_deployment import BUYER, FINALITY_BLOCKS, SELLER, Terms
from tests.contracts.vault_world import World

PAYER = Party("payer")
SNAPSHOT = Path(__file__).with_name("gas.json")


def four_steps(world: World, terms: Terms) -> dict[str, int]:
    costs = {
        "createSettlement": world.create(terms).gas,
        "fund": world.fund(terms).gas,
        "executeSwap": world.swap(terms).gas,
    }
    world.mine(FINALITY_BLOCKS)
    costs["executeSettlement"] = world.execute(terms).gas
    return costs


def other_ends(world: World) -> dict[str, int]:
    """The warm costs of what is not on the main path."""
    deals = [world.terms(salt=bytes([2, number]) * 16) for number in range(4)]
    for terms in deals:
        world.create(terms)
    authorised, cancelled, created, funded = deals
    world.fund(funded)
    return {
        "fundWithAuthorization": world.fund_with_authorization(authorised).gas,
        "cancel": world.act(world.vault, "cancel", cancelled.words, sender=BUYER).gas,
        "refund (created)": world.refund(created, b"EXAMPLE").gas,
        "refund (funded)": world.refund(funded, b"EXAMPLE").gas,
    }


def balancing(world: World) -> dict[str, int]:
    """The balancer's swap, either way, to where the reference has gone."""
    costs = {}
    for name, eurc_in, rate in (("eurc in", True, 109_000_000), ("usdc in", False, 110_000_000)):
        world.set_rate(rate)
        costs[name] = world.rebalance(eurc_in, 10**15, rate).gas
    return costs


def paying_out(world: World) -> dict[str, int]:
    """Of one payout, alone and in batches of 1, 10 and 100; to accounts that held nothing, then
    to the same ones."""
    batcher, token = world.deploy("PayoutBatcher"), world.usdc
    world.node.rpc("anvil_setBalance", PAYER.address, hex(10**18))
    world.act(token, "mint", PAYER.address, 10**9)
    world.act(token, "approve", batcher.address, 2**256 - 1, sender=PAYER)
    costs = {}
    for held in ("new", "known"):
        alone = world.act(token, "transfer", _payee(999), 5, sender=PAYER)
        costs[f"native, {held}, alone"] = world.send(_payee(998), "0x", PAYER, value=5).gas
        costs[f"token, {held}, alone"] = alone.gas
        for count in (1, 10, 100):
            payments = [
                (keccak(b"%s %d %d" % (held.encode(), count, n)), _payee(count + n), 5)
                for n in range(count)
            ]
            more: dict[str, Any] = {"sender": PAYER, "gas": 16_000_000}
            native = world.act(batcher, "payNative", payments, value=5 * count, **more)
            # The ids of one kind are used up for the other.
            again = [(keccak(identity), to, amount) for identity, to, amount in payments]
            moved = world.act(batcher, "payToken", token.address, again, **more)
            costs[f"native, {held}, of {count}"] = native.gas // count
            costs[f"token, {held}, of {count}"] = moved.gas // count
    return costs


def _payee(number: int) -> str:
    return to_checksum_address(keccak(b"payee %d" % number)[:20])


def test_gas_is_what_it_was(world: World) -> None:
    usdc = world.balance(world.usdc, SELLER)
    world.act(world.usdc, "transfer", BUYER.address, usdc, sender=SELLER)
    measured = {
        "first": four_steps(world, world.terms()),
        "warm": four_steps(world, world.terms(salt=b"\x01" * 32)),
        "other ends": other_ends(world),
        "balance": balancing(world),
        "payouts": paying_out(world),
    }
    for costs in (measured["first"], measured["warm"]):
        costs["total"] = sum(costs.values())
    world.assert_conserved()

    if os.environ.get("UPDATE_GAS") == "1":
        SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    changes = [
        f"{group} {step}: {recorded.get(group, {}).get(step)} -> {gas}"
        for group, costs in measured.items()
        for step, gas in costs.items()
        if recorded.get(group, {}).get(step) != gas
    ]
    hint = "If that is meant: UPDATE_GAS=1 pytest tests/contracts/test_gas.py, and commit gas.json."
    assert measured == recorded, "\n".join(["gas has changed", *changes, hint])

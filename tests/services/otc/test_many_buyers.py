"""Many buyers at once: what is done in one go is what would be done one by one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from bench.common import deployers_nonce, mints
from bench.simulated import EURC_EACH, arrivals, keys
from tests.evm.faulty import OTHER
from workbench import World
from workbench.core.facts import Event, TransactionMined, TransactionSigned
from workbench.core.money import YPS
from workbench.core.purchase import Purchase
from workbench.core.settlement import SettlementState
from workbench.evm.codec.abi import encode_call
from workbench.evm.transactions.signer import KeySigner
from workbench.worlds.conditions import SELLER_URL

COUNT = 24
WHOLE = 10**YPS.decimals


async def nothing() -> None:
    """What happens beside the purchases."""


def settle(
    world: World,
    seed: int,
    amounts: list[int],
    beside: Callable[[], Coroutine[Any, Any, None]] = nothing,
) -> tuple[list[Purchase], tuple[Event, ...]]:
    """`COUNT` purchases by as many buyers, half of them at the very same moment."""
    secrets = keys(seed, COUNT)
    owners = [KeySigner(key).address for key in secrets]
    nonce = deployers_nonce(world.rpc)
    raws = mints(owners, world.deployment["MockEURC"], EURC_EACH, nonce, world.deployment.chain_id)
    world.rpc.all_now([("eth_sendRawTransaction", raw) for raw in raws])
    world.advance()
    moments = [0.5] * (COUNT // 2) + arrivals(seed, COUNT - COUNT // 2, 6)

    async def one(key: str, moment: float, units: int) -> Purchase:
        await world.clock.sleep(moment)
        return await world.wiring.buyer(key).buy(SELLER_URL, units)

    async def everybody() -> list[Purchase]:
        asked = zip(secrets, moments, amounts, strict=True)
        also = asyncio.ensure_future(beside())
        purchases = await asyncio.gather(*(one(*each) for each in asked))
        await also
        return purchases

    purchases = world.do(everybody())
    world.advance(5)
    return purchases, world.run.events


def test_many_buyers_settle_alike_each_time(world: World) -> None:
    """Everybody gets what it asked for, each act is done once, and a second run is the same."""
    amounts = [(1 + n % 3) * WHOLE for n in range(COUNT)]
    beginning = world.snapshot()
    purchases, facts = settle(world, 1, amounts)
    world.audit()
    assert ["executed"] * COUNT == [each.status for each in purchases]
    assert COUNT == len({each.settlement_id for each in purchases})
    books = (world.seller.book, world.tracker.book)
    for book in books:
        assert {SettlementState.DELIVERED} == {s.state for s in book.settlements.values()}
    mined = [fact for fact in facts if isinstance(fact, TransactionMined)]
    assert dict.fromkeys(("create", "fund", "swap", "execute"), COUNT) == Counter(
        f.act for f in mined
    )
    assert all(fact.ok for fact in mined)
    signed = Counter((f.signer, f.nonce) for f in facts if isinstance(f, TransactionSigned))
    assert {1} == set(signed.values())
    beginning.restore()
    assert (purchases, facts) == settle(world, 1, amounts)


def test_one_who_cannot_pay_holds_up_nobody(world: World) -> None:
    """One act of many is refused by the simulation: it alone is, and it ends refunded."""
    spender, eurc = KeySigner(keys(2, COUNT)[5]), world.chain.addresses.eurc

    async def spend() -> None:
        """The sixth buyer's EURC leaves once it has signed, before anything is funded."""
        await world.clock.sleep(0.6)
        world.rpc.now("anvil_setBalance", spender.address, hex(10**18))
        call = encode_call("MockUSDC", "transfer", OTHER, EURC_EACH)
        fields: dict[str, Any] = {"chainId": world.deployment.chain_id, "nonce": 0, "data": call}
        fields |= {"gas": 100_000, "value": 0, "to": bytes.fromhex(eurc[2:])}
        fields |= {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**10}
        world.rpc.now("eth_sendRawTransaction", spender.sign_transaction(fields)[0])

    purchases, _ = settle(world, 2, [WHOLE] * COUNT, spend)
    assert Counter({"executed": COUNT - 1, "refunded": 1}) == Counter(p.status for p in purchases)
    assert "refunded" == purchases[5].status

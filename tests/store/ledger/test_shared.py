"""Several processes on one PostgreSQL database: reservations, locks, and stopped processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import postgres
from workbench.core.errors import StoreBusy
from workbench.core.payout import Payout, PayoutState
from workbench.core.ports import SignerState
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.unit import LedgerUnit

pytestmark = pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
NOW, UNTIL = 1_000, 16_000


@pytest.fixture
def pair(server: postgres.Cluster) -> Iterator[tuple[LedgerStore, LedgerStore]]:
    """Return two stores of one database with ten approved payouts."""
    url = server.fresh()
    first, second = LedgerStore(url), LedgerStore(url)

    async def fill() -> None:
        async with first.unit() as unit:
            for number in range(10):
                await unit.put_payout(
                    Payout(
                        f"0x{number:02x}", PayoutState.APPROVED, user_id="u", key=f"k{number}",
                        address="0xab", credits=1, units=1, asset="eip155:1/native", at_ms=number,
                    )
                )  # fmt: skip

    asyncio.run(fill())
    yield first, second
    first.close()
    second.close()


def numbers(payouts: Any) -> list[int]:
    """Return the numbers of payouts made by `pair`."""
    return [payout.at_ms for payout in payouts]


def test_payouts_under_reservation_are_skipped(
    pair: tuple[LedgerStore, LedgerStore],
) -> None:
    """Until a reservation commits, another process skips its payouts and does not wait."""

    async def work() -> None:
        first, second = pair
        async with first.beside() as mine:
            assert [0, 1, 2] == numbers(await mine.take_payouts(NOW, UNTIL, 3))
            async with second.beside() as other:
                assert [3, 4, 5] == numbers(await other.take_payouts(NOW, UNTIL, 3))
                assert 3 == await other.count_taken(NOW)
        async with second.beside() as unit:
            assert [6, 7] == numbers(await unit.take_payouts(NOW, UNTIL, 2))
            assert 8 == await unit.count_taken(NOW)
            assert 0 == await unit.count_nonces()
            assert [8, 9] == numbers(await unit.take_payouts(NOW, UNTIL, 16))

    asyncio.run(work())


def test_a_reservation_ends(pair: tuple[LedgerStore, LedgerStore]) -> None:
    """At its time, if its process died; when given back, at once or at the time given."""

    async def work() -> None:
        first, second = pair
        async with first.beside() as unit:
            await unit.take_payouts(NOW, UNTIL, 10)
        async with second.beside() as unit:
            assert [] == await unit.take_payouts(UNTIL - 1, 2 * UNTIL, 10)
            await unit.give_back(["0x05"], 0)
            await unit.give_back(["0x06"], NOW + 2)
            assert [5] == numbers(await unit.take_payouts(NOW, UNTIL, 10))
            assert [6] == numbers(await unit.take_payouts(NOW + 2, UNTIL, 10))
            assert 10 == len(await unit.take_payouts(UNTIL, 2 * UNTIL, 10))

    asyncio.run(work())


def test_one_process_at_a_time_takes_nonces(pair: tuple[LedgerStore, LedgerStore]) -> None:
    """The row of the signer is locked until the transaction ends."""
    first, second = pair
    order: list[str] = []
    held = threading.Event()

    async def put() -> None:
        async with first.unit() as unit:
            await unit.put_signer(1, "0xab", SignerState(4))

    async def hold() -> None:
        async with first.beside() as unit:
            await unit.signer(1, "0xab", locked=True)
            held.set()
            await asyncio.sleep(0.3)
            order.append("first")

    async def wait() -> None:
        held.wait(5)
        async with second.beside() as unit:
            assert SignerState(4) == await unit.signer(1, "0xab"), (
                "a read without `locked` does not wait"
            )
            order.append("read")
            await unit.signer(1, "0xab", locked=True)
            order.append("second")

    asyncio.run(put())
    _together(lambda: asyncio.run(hold()), lambda: asyncio.run(wait()))
    assert ["read", "first", "second"] == order


def test_several_processes_start_on_an_empty_database(server: postgres.Cluster) -> None:
    """Each creates the missing tables; they wait for each other."""
    for _ in range(3):
        url = server.fresh()
        stores = _together(*[lambda url=url: LedgerStore(url)] * 4)
        for store in stores:
            store.close()


def test_a_process_stopped_within_a_unit_stops_no_other(
    pair: tuple[LedgerStore, LedgerStore],
) -> None:
    """The server ends its transaction and rolls it back; the process can continue later."""
    first, second = pair

    async def one(unit: LedgerUnit) -> None:
        await unit.put_signer(1, "0xab", SignerState(1))

    async def stopped() -> None:
        async with first.unit() as unit:
            unit._store.cursor.execute("SET idle_in_transaction_session_timeout = 200")
            await one(unit)
            await asyncio.sleep(0.5)

    async def again(store: LedgerStore) -> SignerState | None:
        async with store.unit() as unit:
            return await unit.signer(1, "0xab")

    with pytest.raises(StoreBusy):
        asyncio.run(stopped())
    assert asyncio.run(again(second)) is None
    assert asyncio.run(again(first)) is None, "it is connected again"


def _together(*works: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result(timeout=60) for each in [pool.submit(work) for work in works]]

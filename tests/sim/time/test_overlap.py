"""The node works while others run, and what happens when depends on no wall clock."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.evm.node.test_anvil_traps import payments
from tests.evm.rpc.nodes import Server, good
from tests.sim.time.overlap_loop import NOBODY, playing
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.client import SEND, PendingAnswers
from workbench.evm.rpc.mining import MiningRpc
from workbench.sim.time.loop import VirtualClock


def test_of_equal_timers_the_lower_rank_comes_first() -> None:
    """And of equal ranks whoever slept first, however long ago that was."""
    woken: list[str] = []
    with playing() as (loop, play):

        async def sleep(name: str, rank: int, *naps: float) -> None:
            for nap in naps:
                await VirtualClock(loop, 0, rank).sleep(nap)
            woken.append(name)

        play(sleep("c", 9, 3), sleep("d", 9, 1, 2), sleep("b", 4, 2, 1), sleep("a", 0, 1, 1, 1))
    assert ["a", "b", "c", "d"] == woken


def test_a_moment_is_over_when_nobody_can_go_on(node: Anvil) -> None:
    """Not before an answer that somebody waits for has come, nor what it leads to."""
    rpc, done = MiningRpc(node.url), list[str]()
    with playing() as (loop, play):

        async def service() -> None:
            await asyncio.sleep(1)
            for step in range(3):
                await rpc.call("evm_mine")
                done.append(f"step {step}")
            await asyncio.sleep(1)
            done.append("a second later")

        async def look() -> None:
            await asyncio.sleep(1)
            await loop.rest()
            done.append(f"rest at {loop.time():g}")

        play(look(), service())
    assert ["step 0", "step 1", "step 2", "rest at 1", "a second later"] == done


def test_others_run_while_the_node_works_and_time_stands_still(node: Anvil) -> None:
    """Whoever is ready goes on; whoever sleeps wakes when the answer is there."""
    rpc, told = MiningRpc(node.url), list[str]()
    with playing() as (loop, play):

        async def asking() -> None:
            await rpc.call("evm_mine")
            told.append(f"answer at {loop.time():g}")

        async def working() -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            told.append("work")

        async def sleeping() -> None:
            await asyncio.sleep(0.001)
            told.append("woken")

        play(asking(), sleeping(), working())
    assert ["work", "answer at 0", "woken"] == told


def test_there_is_work_to_do_while_the_node_is_silent() -> None:
    """Part after part until it has something to say; then no more, whatever is left."""
    done: list[str] = []
    go = threading.Event()

    def late(connection: socket.socket, request: bytes) -> None:
        assert go.wait(10)
        good(connection, request)

    def work() -> bool:
        done.append("a part")
        if len(done) == 3:  # As if this part took so long that the answer comes meanwhile.
            go.set()
            assert rpc._connection is not None
            assert rpc._connection._ready.poll(10_000)
        return True

    server = Server([late])
    rpc = MiningRpc(server.url)
    rpc.idle_work = work
    assert "0x1" == rpc.now("m")
    assert 3 == len(done)
    asyncio.run(rpc.close())
    server.close()


Steps = list[str]


@given(st.lists(st.lists(st.sampled_from(["mine", "ask", "wait"]), max_size=6), max_size=4))
def test_every_answer_is_of_the_block_in_which_it_was_asked(
    node: Anvil, scripts: Sequence[Steps]
) -> None:
    """Whoever mines or asks at the same time, and although equal questions are asked once."""
    rpc = MiningRpc(node.url)
    mined = int(rpc.now("eth_blockNumber"), 16)
    wrong: list[tuple[int, int]] = []
    with playing() as (_, play):

        async def one(script: Steps) -> None:
            nonlocal mined
            for step in script:
                if step == "wait":
                    await asyncio.sleep(1)
                elif step == "mine":
                    mined += 1
                    await rpc.call("evm_mine")
                else:
                    then = mined
                    seen = int(await rpc.call("eth_blockNumber"), 16)
                    wrong.extend([(then, seen)] if seen != then else [])

        assert [None] * len(scripts) == play(*(one(script) for script in scripts))
    assert [] == wrong
    assert mined == int(rpc.now("eth_blockNumber"), 16)


def test_who_gives_up_takes_no_answer_from_others(node: Anvil) -> None:
    """Two wait for the same answer, one is cancelled; and what was written is answered anyway."""
    rpc = MiningRpc(node.url)
    with playing() as (_, play):

        async def both() -> list[Any]:
            first = asyncio.ensure_future(rpc.call("eth_chainId"))
            second = asyncio.ensure_future(rpc.call("eth_chainId"))
            alone = asyncio.ensure_future(rpc.call("evm_mine"))
            await asyncio.sleep(0)
            first.cancel()
            alone.cancel()
            return list(await asyncio.gather(first, second, alone, return_exceptions=True))

        before = int(rpc.now("eth_blockNumber"), 16)
        ((gone, there, unseen),) = play(both())
        assert (type(gone), there, type(unseen)) == (
            asyncio.CancelledError,
            "0x7a69",
            asyncio.CancelledError,
        )
        assert before + 1 == int(rpc.now("eth_blockNumber"), 16)


def test_what_is_sent_holds_up_nobody() -> None:
    """Time goes on, nothing is read; the next block has all of it, and then it is answered.

    So many at once that they fill all buffers between the two processes.
    """
    with Anvil() as node, playing() as (_, play):
        rpc = MiningRpc(node.url)

        async def work() -> list[str]:
            raws = payments(3_000)
            asked = rpc.ask([(SEND, raw) for raw in raws])
            await asyncio.sleep(100)
            assert asked.begun
            assert not asked.known
            rpc.ask([("evm_setBlockGasLimit", hex(10**9))])
            await rpc.call("evm_mine")
            assert asked.known
            block = await rpc.call("eth_getBlockByNumber", "latest", False)
            assert asked.results == block["transactions"] == await asked
            return list(block["transactions"])

        (transactions,) = play(work())
        assert 3_000 == len(transactions)


def test_no_transaction_moves_across_the_order_to_mine() -> None:
    """Though it has a connection of its own, and whatever is asked before, behind and between."""
    raws, tip = iter(payments(4_000)), st.sampled_from(["send", "ask", "pending", "mine", "wait"])
    with Anvil() as node:
        rpc = MiningRpc(node.url)

        @given(st.lists(tip, max_size=16))
        def check(script: list[str]) -> None:
            sent: list[list[PendingAnswers]] = [[]]

            async def work() -> list[Any]:
                first = int(await rpc.call("eth_blockNumber"), 16) + 1
                for step in [*script, "mine"]:
                    if step == "send":
                        sent[-1].append(rpc.ask([(SEND, next(raws))]))
                    elif step == "mine":
                        mined = rpc.ask([("evm_mine",)])
                        sent.append([])
                    elif step == "wait":
                        await asyncio.sleep(1)
                    else:
                        rpc.ask([("eth_getBalance", NOBODY, step.replace("ask", "latest"))])
                await mined
                numbers = [hex(first + n) for n in range(len(sent) - 1)]
                return await rpc.many([("eth_getBlockByNumber", n, False) for n in numbers])

            with playing() as (_, play):
                (blocks,) = play(work())
            in_blocks = [block["transactions"] for block in blocks]
            assert [[each.results[0] for each in part] for part in sent[:-1]] == in_blocks

        check()
        asyncio.run(rpc.close())

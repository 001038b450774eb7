"""The node works while others run, and what happens when depends on no wall clock."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.faulty import GWEI, Ground
from tests.evm.node.test_anvil_traps import payments
from tests.evm.rpc.nodes import Server, cut_short, good
from workbench.core.errors import RpcUnreachable
from workbench.core.facts import TransactionReplaced
from workbench.core.ports import SlotState
from workbench.evm.codec.receipts import Inclusion, inclusion_of
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import RECEIPT, SEND, PendingAnswers
from workbench.evm.rpc.mining import MiningRpc
from workbench.evm.transactions.test_keys import key_of
from workbench.sim.time.loop import VirtualClock, VirtualLoop

NOBODY = "0x" + "ab" * 20


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with Anvil() as made:
        yield made


@contextlib.contextmanager
def playing() -> Iterator[tuple[VirtualLoop, Callable[..., list[Any]]]]:
    """A loop, and a function that runs coroutines on it together: their results or errors."""
    loop = VirtualLoop()

    def play(*works: Coroutine[Any, Any, Any]) -> list[Any]:
        async def together() -> list[Any]:
            return await asyncio.gather(*works, return_exceptions=True)

        return loop.run_until_complete(together())

    try:
        yield loop, play
    finally:
        loop.close()


# --- The loop -------------------------------------------------------------------------------------


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


# --- Asking ---------------------------------------------------------------------------------------


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


LOGGERS = ("0x" + "1a" * 20, "0x" + "2b" * 20)
LOG_SELF = "0x305f5260205fa000"
"""PUSH own address to memory, LOG0 of it: whoever is called says so."""
REFUSING, REFUSE = "0x" + "3c" * 20, "0x5f5ffd"


def legacy_payments() -> Iterator[str]:
    """Transfers of 1 wei with one price of gas, as before EIP-1559, signed by eth_account."""
    secret = key_of("payer").secret
    fields = {
        "chainId": 31337,
        "to": bytes.fromhex(LOGGERS[0][2:]),
        "value": 1,
        "gas": 50_000,
        "data": b"",
    }
    for nonce in itertools.count():
        signed = Account.sign_transaction({**fields, "nonce": nonce, "gasPrice": 3 * GWEI}, secret)
        yield "0x" + signed.raw_transaction.hex().removeprefix("0x")


def test_what_came_with_a_block_is_what_the_node_says_of_it() -> None:
    """Logs, and where transactions have landed, reverted ones too; and receipts, when asked for."""
    sends = ["send 0", "send 1", "send 2", "send old"]
    asks = ["logs 0", "logs 01", "receipt", "landed", "landed"]
    step = st.sampled_from([*sends, "mine", "mine", "wait", *asks])
    with Anvil() as node:
        plain, rpc = BlockingRpc(node.url), MiningRpc(node.url)
        for at in LOGGERS:
            plain.now("anvil_setCode", at, LOG_SELF)
        plain.now("anvil_setCode", REFUSING, REFUSE)
        raws = {
            str(n): iter(payments(2_000, to=at, account=f"spare{n + 1}"))
            for n, at in enumerate((*LOGGERS, REFUSING))
        }
        raws["old"] = legacy_payments()
        sent: list[str] = []
        seen: list[int] = []
        ends: set[bool] = set()

        async def one(script: list[str]) -> None:
            for each in script:
                what, _, which = each.partition(" ")
                if what == "send":
                    sent.append(await rpc.call(SEND, next(raws[which])))
                elif what == "mine":
                    await rpc.call("evm_mine")
                elif what == "logs":
                    block = await rpc.call("eth_getBlockByNumber", "latest", False)
                    at = [LOGGERS[int(n)] for n in which]
                    query = {"address": at, "blockHash": block["hash"]}
                    told = await rpc.call("eth_getLogs", query)
                    assert plain.now("eth_getLogs", query) == told
                    seen.append(len(told))
                elif what == "receipt" and sent:
                    mined = int(await rpc.call("eth_blockNumber"), 16)
                    asked = [(RECEIPT, tx) for tx in sent[-5:]]
                    told = await rpc.many(asked)
                    if mined == int(await rpc.call("eth_blockNumber"), 16):
                        assert plain.all_now(asked) == told
                        seen.append(sum(each is not None for each in told))
                elif what == "landed" and sent:
                    mined = int(await rpc.call("eth_blockNumber"), 16)
                    txs = sent[-40:]
                    landed = await rpc.inclusions(txs)
                    receipts = plain.all_now([(RECEIPT, tx) for tx in txs])
                    if mined == int(await rpc.call("eth_blockNumber"), 16):
                        assert [each and inclusion_of(each) for each in receipts] == landed
                        ends.update(each.ok for each in landed if isinstance(each, Inclusion))
                else:
                    await asyncio.sleep(1)

        @given(st.lists(st.lists(step, max_size=12), min_size=1, max_size=3))
        def check(scripts: list[list[str]]) -> None:
            with playing() as (_, play):
                ended = play(*(one(script) for script in scripts))
            assert [None] * len(scripts) == ended

        check()
        assert max(seen) > 2, "hardly anything was there to be compared"
        assert {True, False} == ends, "some landed well, and some did not"
        asyncio.run(rpc.close())


def test_landings_of_a_head_that_goes_are_not_kept() -> None:
    """It is taken back while somebody asks what became of a transaction in it."""
    with Anvil() as node, playing() as (_, play):
        rpc = MiningRpc(node.url)
        (raw,) = payments(1)

        async def work() -> list[Any]:
            tx = await rpc.call(SEND, raw)
            assert [None] == await rpc.inclusions([tx])
            await rpc.call("evm_mine")
            (there,) = await rpc.inclusions([tx])
            assert isinstance(there, Inclusion)
            rpc.invalidate()
            asking = asyncio.ensure_future(rpc.inclusions([tx]))
            await asyncio.gather(asking, asyncio.ensure_future(rpc.call("anvil_rollback", 1)))
            assert await rpc.call(RECEIPT, tx) is None
            return await rpc.inclusions([tx])

        assert [[None]] == play(work())


def test_what_is_foreseen_comes_with_the_next_block() -> None:
    """Nothing is written before, and nobody waits for it after; in the block after, it is asked."""
    with Anvil() as node, playing() as (_, play):
        written: list[str] = []

        class Noting(MiningRpc):
            def _write(self, asked: Any) -> None:
                written.append(asked.requested[0][0])
                super()._write(asked)

        rpc = Noting(node.url)
        question = ("eth_getBalance", NOBODY, "latest")

        async def work() -> list[str]:
            rpc.prefetch([question])
            assert [] == written
            answers = []
            for n, written_ahead in ((7, 1), (8, 0)):
                await rpc.call("anvil_setBalance", NOBODY, hex(n))
                await rpc.call("evm_mine")
                assert written.count("eth_getBalance") == written_ahead
                answers.append(await rpc.call(*question))
                assert written.count("eth_getBalance") == 1
                written.clear()
            return answers

        assert [["0x7", "0x8"]] == play(work())
        asyncio.run(rpc.close())


def test_a_refusal_is_heard_at_the_next_look() -> None:
    """The base fee jumps between signing and sending, and nobody waited for what the node said."""
    ground = Ground()
    try:
        rpc = MiningRpc(ground.node.url)
        ground.rpc = rpc  # type: ignore[assignment]
        ground.fresh_sender()

        def jump() -> None:
            ground.store.after_commit = lambda: None
            ground.mine(base_fee=100 * GWEI)

        ground.store.after_commit = jump
        ground.submit(1)
        assert (1, SlotState.SENT) == (len(ground.slot(1).attempts), ground.slot(1).state)
        for _ in range(2):
            rpc.now("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
            rpc.now("evm_mine")
            ground.pump()
        assert 1 == len(ground.facts(TransactionReplaced))
        assert (2, SlotState.MINED) == (len(ground.slot(1).attempts), ground.slot(1).state)
        assert {1: 1} == ground.paid()
    finally:
        ground.close()


# --- A node that is lost --------------------------------------------------------------------------


def test_all_who_wait_are_told_that_the_node_is_gone() -> None:
    """Nothing is asked again: the node may have mined. The next question has a new connection."""
    server = Server([good, cut_short], [good])
    rpc = MiningRpc(server.url)
    with playing() as (_, play):
        assert ["0x1"] == play(rpc.call("first"))
        told = play(rpc.call("evm_mine"), rpc.call("eth_chainId"), rpc.call("second"))
        assert [RpcUnreachable] * 3 == [type(each) for each in told]
        assert ["0x1"] == play(rpc.call("third"))
    assert 1 == len([r for r in server.requests if b"evm_mine" in r])
    asyncio.run(rpc.close())
    server.close()


def test_nobody_notices_a_connection_that_was_closed_while_idle() -> None:
    """It is seen before anything is written to it."""
    server = Server([good], [good])
    rpc = MiningRpc(server.url)
    with playing() as (_, play):
        assert ["0x1"] == play(rpc.call("first"))
        assert rpc._connection is not None
        closed, _, _ = select.select([rpc._connection._socket], [], [], 10)
        assert closed
        assert ["0x1"] == play(rpc.call("second"))
    asyncio.run(rpc.close())
    server.close()

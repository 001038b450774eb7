"""The simulation's RPC client and blocks: receipts, prefetched answers, a lost node."""

from __future__ import annotations

import asyncio
import itertools
import select
from collections.abc import Iterator
from typing import Any

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.faulty import GWEI, Ground
from tests.evm.node.test_anvil_traps import payments
from tests.evm.rpc.nodes import Server, cut_short, good
from tests.sim.time.overlap_loop import NOBODY, playing
from workbench.core.errors import RpcUnreachable
from workbench.core.facts import TransactionReplaced
from workbench.core.ports import SlotState
from workbench.evm.codec.receipts import Inclusion, inclusion_of
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import RECEIPT, SEND
from workbench.evm.rpc.mining import MiningRpc
from workbench.evm.transactions.test_keys import key_of

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

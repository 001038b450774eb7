"""anvil's traps, each shown as it is, and beside it how our adapter does not fall into it.

A test here that fails after an update of anvil may be good news: then the trap is gone.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.evm.faulty import GWEI, OTHER
from workbench import World
from workbench.core.errors import RpcFault
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.mining import MiningRpc
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of


@pytest.fixture
def node() -> Iterator[Anvil]:
    with Anvil() as made:
        yield made


def payments(
    count: int, first: int = 0, tip: int = GWEI, *, to: str = OTHER, account: str = "payer"
) -> list[str]:
    """Signed transfers of 1 wei by one account, nonce after nonce."""
    payer = KeySigner(key_of(account).secret)
    fields = {"chainId": 31337, "to": bytes.fromhex(to[2:]), "value": 1, "data": b""}
    gas = 21_000 if to == OTHER else 50_000
    fields |= {"gas": gas, "maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": tip}
    nonces = range(first, first + count)
    return [payer.sign_transaction({**fields, "nonce": nonce})[0] for nonce in nonces]


def number(node: BlockingRpc | Anvil, method: str, *params: Any) -> int:
    ask = node.now if isinstance(node, BlockingRpc) else node.call
    return int(ask(method, *params), 16)


def batch(url: str, *calls: tuple[Any, ...]) -> list[Any]:
    """A JSON-RPC batch, which no code of ours ever sends."""
    messages = [
        {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
        for n, (method, *params) in enumerate(calls)
    ]
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(messages).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = json.loads(answer.read())
    return [each.get("result") for each in sorted(told, key=lambda each: each["id"])]


# --- A batch is not executed in order -------------------------------------------------------------


def test_a_batch_reads_before_it_mines(node: Anvil) -> None:
    """The trap: `evm_mine`, then the head, in one batch: the head is sometimes the one before."""
    wrong = 0
    for _ in range(50):
        before = number(node, "eth_blockNumber")
        _, seen = batch(node.url, ("evm_mine",), ("eth_blockNumber",))
        wrong += int(seen, 16) != before + 1
    assert wrong, "batches are in order now: they may be used"


def test_many_calls_are_executed_in_order(node: Anvil) -> None:
    """Ours: requests one after the other on one connection. Every read sees the block before it."""
    rpc = BlockingRpc(node.url)
    heads = rpc.all_now([("evm_mine",), ("eth_blockNumber",)] * 100)[1::2]
    assert list(range(1, 101)) == [int(head, 16) for head in heads]


def test_many_sends_keep_their_order_and_are_all_in_the_block(node: Anvil) -> None:
    """Two hundred, the order to mine right behind them: one block with all, by nonce."""
    rpc = BlockingRpc(node.url)
    raws = payments(200)
    *hashes, _ = rpc.all_now([*(("eth_sendRawTransaction", raw) for raw in raws), ("evm_mine",)])
    block = rpc.now("eth_getBlockByNumber", "latest", False)
    assert hashes == block["transactions"]


def test_an_error_among_many_is_a_value_in_its_place(node: Anvil) -> None:
    """The others are as they would have been without it."""
    chain, error, head = BlockingRpc(node.url).all_now(
        [("eth_chainId",), ("eth_noSuch",), ("eth_blockNumber",)]
    )
    assert ("0x7a69", "0x0") == (chain, head)
    assert isinstance(error, RpcFault)


# --- The base fee drifts, and a revert does not bring it back -------------------------------------


def base_fee(rpc: BlockingRpc) -> int:
    return int(rpc.now("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)


def test_the_base_fee_falls_and_is_not_restored(node: Anvil) -> None:
    """The trap: each empty block is cheaper; after a revert the next one goes on from there."""
    rpc = BlockingRpc(node.url)
    rpc.now("evm_mine")
    snapshot = rpc.now("evm_snapshot")
    rpc.now("evm_mine")
    expected = base_fee(rpc)
    for _ in range(5):
        rpc.now("evm_mine")
    rpc.now("evm_revert", snapshot)
    rpc.now("evm_mine")
    assert expected > base_fee(rpc), "a revert restores the fee now: World.mine need not hold it"


def test_a_world_gives_the_same_block_on_every_branch(world: World) -> None:
    """Ours: `World.mine` holds the fee. Whatever came between, a branch has the same hash."""
    beginning = world.snapshot()
    hashes = set()
    for blocks in (0, 7, 3):
        world.advance(blocks)
        beginning.restore()
        world.advance(2)
        hashes.add(world.rpc.now("eth_getBlockByNumber", "latest", False)["hash"])
        beginning.restore()
    assert 1 == len(hashes)


# --- anvil_loadState adds to what is there --------------------------------------------------------


def test_loading_a_state_merges(node: Anvil) -> None:
    """The trap: accounts that the loaded state does not know stay. Ours: a node for each load.

    `boot` starts a new process from the file; nothing of ours loads into a node that has lived.
    """
    rpc = BlockingRpc(node.url)
    state = rpc.now("anvil_dumpState")
    stranger = "0x" + "51" * 20
    rpc.now("anvil_setBalance", stranger, hex(7))
    rpc.now("anvil_loadState", state)
    assert 7 == number(rpc, "eth_getBalance", stranger, "latest")


# --- The mempool survives a revert ----------------------------------------------------------------


def test_the_pool_survives_a_revert(node: Anvil) -> None:
    """The trap: what was pending before a revert is mined after it."""
    rpc = BlockingRpc(node.url)
    rpc.now("evm_mine")
    snapshot = rpc.now("evm_snapshot")
    (raw,) = payments(1)
    sent = rpc.now("eth_sendRawTransaction", raw)
    rpc.now("evm_revert", snapshot)
    rpc.now("evm_mine")
    assert [sent] == rpc.now("eth_getBlockByNumber", "latest", False)["transactions"]


def test_a_world_forgets_what_was_pending_when_it_goes_back(world: World) -> None:
    """Ours: `Snapshot.restore` empties the pool first."""
    beginning = world.snapshot()
    (raw,) = payments(1)
    world.rpc.now("eth_sendRawTransaction", raw)
    beginning.restore()
    world.advance()
    assert [] == world.rpc.now("eth_getBlockByNumber", "latest", False)["transactions"]


# --- A memory that is never out of date -----------------------------------------------------------


def test_calls_tried_together_are_as_if_tried_alone(node: Anvil) -> None:
    """In the newest block, as `eth_call` has it; one that cannot be tried spoils no other."""
    rpc, plain = MiningRpc(node.url), BlockingRpc(node.url)
    where = "0x" + "c0" * 20
    # Returns number and timestamp; given any data, it reverts with the number.
    code = "0x4360005242602052" + "3615601257" + "60206000fd" + "5b60406000f3"
    node.call("anvil_setCode", where, code)
    node.call("evm_mine", {"timestamp": 2_000_000_000})
    fine, refused = {"to": where}, {"to": where, "data": "0x01"}
    broke = {"from": "0x" + "d0" * 20, "to": where, "maxFeePerGas": hex(GWEI)}
    for some in ([fine], [fine, refused, fine], [fine, broke, refused], [fine] * 150):
        one_by_one = asyncio.run(plain.simulate_all(some))
        together = asyncio.run(rpc.simulate_all(some))
        assert [type(each) for each in one_by_one] == [type(each) for each in together]
        assert one_by_one[0] == together[0]
    assert one_by_one[0] == "0x" + f"{1:064x}{2_000_000_000:064x}"


def test_equal_questions_are_asked_once_a_block(node: Anvil) -> None:
    """And after a block, a change by hand or a revert they are asked again."""
    rpc, plain = MiningRpc(node.url), BlockingRpc(node.url)
    asked: list[int] = []
    exchange = rpc._exchange
    rpc._exchange = lambda calls: asked.append(len(calls)) or exchange(calls)  # type: ignore[method-assign, func-returns-value]
    for _ in range(5):
        assert 0 == number(rpc, "eth_blockNumber")
    assert [1] == asked
    changes: list[tuple[Any, ...]] = [
        ("evm_mine",),
        ("anvil_setBalance", OTHER, "0x7"),
        ("evm_snapshot",),
        ("anvil_setNonce", OTHER, "0x9"),
        ("evm_mine", {"timestamp": 2_000_000_000}),
        ("anvil_setCode", OTHER, "0x60"),
        ("evm_revert", "0x0"),
        ("anvil_rollback", 1),
    ]
    reads: list[tuple[Any, ...]] = [
        ("eth_blockNumber",),
        ("eth_getBlockByNumber", "latest", False),
        ("eth_getBlockByNumber", "latest", True),
        ("eth_getBlockByNumber", "0x1", True),
        ("eth_getBlockByNumber", "0x1", False),
        ("eth_getBlockByNumber", "0x2", False),
        ("eth_getBalance", OTHER, "latest"),
        ("eth_getTransactionCount", OTHER, "latest"),
        ("eth_getCode", OTHER, "latest"),
    ]
    for change in changes:
        rpc.now(*change)
        for _ in range(2):
            assert plain.all_now(reads) == rpc.all_now(reads) == [rpc.now(*r) for r in reads], (
                change
            )


def test_a_traces_gas_is_that_of_all_transactions_up_to_it(node: Anvil) -> None:
    """The trap, and why landings come from differences: elsewhere it is the transaction's own."""
    rpc = BlockingRpc(node.url)
    rpc.all_now([("eth_sendRawTransaction", raw) for raw in payments(3)])
    rpc.now("evm_mine")
    traces = rpc.now("debug_traceBlockByNumber", "latest", {})
    assert [21_000, 42_000, 63_000] == [each["result"]["gas"] for each in traces]


def test_receipts_and_logs_are_those_of_the_node(world: World) -> None:
    """Remembered, or not yet there: the same as when asked one by one."""
    identity = world.buy("1").settlement_id
    plain = BlockingRpc(world.node.url)
    head = number(plain, "eth_blockNumber")
    vault = [world.chain.addresses.vault, world.chain.addresses.hook]
    found = 0
    for height in range(head - 14, head + 1):
        block = plain.now("eth_getBlockByNumber", hex(height), False)
        query = {"address": vault, "blockHash": block["hash"]}
        logs = world.rpc.now("eth_getLogs", query)
        assert plain.now("eth_getLogs", query) == logs
        found += sum(identity in log["topics"] for log in logs)
        for tx in block["transactions"]:
            asked = ("eth_getTransactionReceipt", tx)
            assert plain.now(*asked) == world.rpc.now(*asked)
    assert found >= 4
    (raw,) = payments(1)
    sent = world.rpc.now("eth_sendRawTransaction", raw)
    assert world.rpc.now("eth_getTransactionReceipt", sent) is None
    world.advance()
    assert sent == world.rpc.now("eth_getTransactionReceipt", sent)["transactionHash"]

"""The sender: whatever dies, drops, lags or forks, each act is on the chain once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.evm.faulty import (
    GWEI,
    OTHER,
    RECEIPT,
    SEND,
    Ground,
    Killed,
    pay,
    subject,
)
from workbench.core.errors import (
    NonceTaken,
    RpcUnreachable,
    SignerShort,
    StateMoved,
    TransactionTimeout,
    WorkbenchError,
)
from workbench.core.facts import (
    BlockRef,
    TransactionFailed,
    TransactionFinalized,
    TransactionMined,
    TransactionReplaced,
    TransactionSent,
    TransactionSigned,
)
from workbench.core.ports import ContractCall, Slot, SlotState, TransactionIntent
from workbench.evm.transactions import sender as sender_module
from workbench.evm.transactions.inclusion import SEARCH_MS
from workbench.evm.transactions.sender import MAX_ATTEMPTS, RESEND_MS
from workbench.evm.transactions.simulation import MAX_FEE_WEI
from workbench.sim.time.loop import SkewedClock

RESEND_S = RESEND_MS / 1000
GATE = "0x00000000000000000000000000000000000000aa"
GATE_CODE = "6000541560175763" + keccak(b"ReorgDetected()")[:4].hex() + "60e01b60005260046000fd5b00"
"""Takes any call while its first word of storage is 0; else reverts with ReorgDetected()."""


@pytest.fixture
def ground() -> Iterator[Ground]:
    made = Ground()
    yield made
    made.close()


def knock() -> ContractCall:
    """A call that GATE takes or refuses."""
    return ContractCall("knock", GATE, b"")


def set_gate(ground: Ground, shut: bool) -> None:
    ground.node.call("anvil_setCode", GATE, "0x" + GATE_CODE)
    ground.node.call("anvil_setStorageAt", GATE, "0x" + "00" * 32, "0x" + f"{shut:064x}")


def finish(ground: Ground, rounds: int = 8) -> None:
    """Mine and pump until nothing is open."""
    for _ in range(rounds):
        ground.pump()
        ground.mine()
        ground.wait(RESEND_S)
    ground.pump()


# --- The way of one act ---------------------------------------------------------------------------


def test_an_act_goes_from_signed_to_final(ground: Ground) -> None:
    """Each state of the slot has its one fact; once it is final, nothing is asked of the node."""
    tx = ground.submit(1)
    assert SlotState.SENT is ground.slot(1).state
    ground.mine()
    ground.pump()
    slot = ground.slot(1)
    assert (SlotState.MINED, True, tx) == (slot.state, slot.ok, slot.tx)
    ground.mine(2)
    ground.pump()
    assert SlotState.FINAL is ground.slot(1).state
    kinds = [TransactionSigned, TransactionSent, TransactionMined, TransactionFinalized]
    assert kinds == [type(fact) for fact in ground.facts()]
    assert {tx} == {fact.tx for fact in ground.facts()}
    mined, final = ground.facts()[2:]
    assert slot.block == mined.block == final.block
    block = ground.node.call("eth_getBlockByNumber", "0x1", False)
    assert int(block["timestamp"], 16) * 1000 == mined.at_ms
    before = ground.rpc.calls.total()
    ground.pump()
    assert before == ground.rpc.calls.total()


def test_the_same_key_twice_is_one_transaction(ground: Ground) -> None:
    """Asked again at any stage, by the same process or a new one: the same hash, nothing sent."""
    tx = ground.submit(1)
    sent = ground.rpc.calls[SEND]
    for stage in range(5):
        ground.fresh_sender()
        assert tx == ground.submit(1), stage
        ground.mine()
        ground.pump()
    assert sent == ground.rpc.calls[SEND]
    assert {1: 1} == ground.paid()
    assert 1 == len(ground.facts(TransactionMined)) == len(ground.facts(TransactionFinalized))


def test_concurrent_submits_take_gapless_nonces(ground: Ground) -> None:
    """Forty keys, each asked for twice at once: forty nonces in a row, forty payments."""

    async def all_at_once() -> list[str]:
        numbers = [n for n in range(40) for _ in range(2)]
        asked = (ground.sender.submit(subject(n), pay(n)) for n in numbers)
        return list(await asyncio.gather(*asked))

    hashes = ground.run(all_at_once())
    assert 40 == len(set(hashes))
    assert hashes[::2] == hashes[1::2]
    assert list(range(40)) == [slot.nonce for slot in ground.slots()]
    ground.mine()
    ground.pump()
    assert dict.fromkeys(range(40), 1) == ground.paid()
    assert 40 == len(ground.facts(TransactionSigned)) == len(ground.facts(TransactionMined))


def test_who_comes_alone_does_not_wait_and_a_crowd_goes_together(ground: Ground) -> None:
    """Gathering 100 ms: the first goes at once, those of the next 100 ms in one go after them."""
    sender, start = ground.fresh_sender(gather_s=0.1), ground.clock.now_ms()

    async def one(number: int, at_ms: int) -> int:
        await ground.clock.sleep(at_ms / 1000)
        await sender.submit(subject(number), pay(number))
        return ground.clock.now_ms() - start

    async def all_of_them() -> list[int]:
        asked = [(1, 0), (2, 30), (3, 60), (4, 150), (5, 500)]
        return list(await asyncio.gather(*(one(*each) for each in asked)))

    assert [0, 100, 100, 200, 500] == ground.run(all_of_them())


def test_a_clock_that_is_put_back_holds_up_nobody(ground: Ground) -> None:
    """Nobody waits longer than acts are gathered for, whatever the clock said before."""
    ground.clock = clock = SkewedClock(ground.clock)  # type: ignore[assignment]
    sender = ground.fresh_sender(gather_s=0.1)
    clock.skew_s = 3600
    ground.run(sender.submit(subject(1), pay(1)))
    clock.skew_s = 0
    start = ground.loop.time()
    ground.run(sender.submit(subject(2), pay(2)))
    assert ground.loop.time() - start <= 0.1


def test_two_processes_on_one_store_share_the_nonces(ground: Ground) -> None:
    """A second worker on the same database takes no nonce, and no key, that the first one has."""
    senders = [ground.sender, ground.fresh_sender()]

    async def both() -> None:
        asked = (s.submit(subject(n), pay(n)) for n in range(10) for s in senders)
        await asyncio.gather(*asked, return_exceptions=True)

    ground.run(both())
    finish(ground, 4)
    assert dict.fromkeys(range(10), 1) == ground.paid()


# --- Many at a time -------------------------------------------------------------------------------


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three acts in a part, so that few acts are many parts."""
    monkeypatch.setattr(sender_module, "PART", 3)
    monkeypatch.setattr(sender_module, "FIRST_PART", 3)


class Marks:
    """Takes some acts back before they are signed; `fails`: what becomes of the marking."""

    def __init__(self, back: set[int], fails: bool = False) -> None:
        self.back, self.fails = {subject(n) for n in back}, fails
        self.asked: list[int] = []
        self.marked: list[str] = []

    async def refused(
        self, unit: Any, acts: Sequence[TransactionIntent]
    ) -> dict[Any, WorkbenchError]:
        self.asked.append(len(acts))
        return {a.key: StateMoved("taken back.") for a in acts if a.subject in self.back}

    async def mark(self, unit: Any, slots: Sequence[Slot]) -> None:
        if self.fails and len(self.asked) == 2:
            raise StateMoved("moved.")
        self.marked += [slot.subject for slot in slots]


def acts(count: int, within: Marks | None = None) -> list[TransactionIntent]:
    return [TransactionIntent(subject(n), pay(n), within=within) for n in range(count)]


def test_parts_are_sent_in_the_order_of_their_nonces(ground: Ground, parts: None) -> None:
    """Ten acts in four parts: each part is sent once the one before is, and stored before."""
    sent: list[int] = []
    send = ground.rpc.node.now

    def spy(method: str, *params: Any) -> Any:
        if method == SEND:
            raws = {each.attempts[0].raw: each.nonce for each in ground.slots()}
            sent.append(raws[params[0]])
        return send(method, *params)

    ground.rpc.node.now = spy  # type: ignore[method-assign]
    told = ground.run(ground.sender.submit_many(acts(10)))
    assert [slot.tx for slot in ground.slots()] == told
    assert list(range(10)) == sent
    assert {SlotState.SENT} == {slot.state for slot in ground.slots()}
    finish(ground, 3)
    assert dict.fromkeys(range(10), 1) == ground.paid()


def test_the_next_part_is_stored_while_one_is_sent(ground: Ground, parts: None) -> None:
    """At the first answer to a send of a part the next part is there already."""
    stored: list[int] = []
    ground.rpc.after = lambda method: stored.append(len(ground.slots())) if method == SEND else None
    ground.run(ground.sender.submit_many(acts(9)))
    assert [6, 9] == sorted({*stored} - {3})


def test_sends_of_a_part_that_are_lost_are_sent_again(ground: Ground, parts: None) -> None:
    """Requests of the first part, an answer of the second: the same bytes, one payment each."""
    ground.rpc.lose_requests[SEND] = 2
    ground.run(ground.sender.submit_many(acts(3)))
    ground.rpc.lose_answers[SEND] = 1
    told = ground.run(ground.sender.submit_many(acts(8)))
    finish(ground, 4)
    assert [slot.tx for slot in ground.slots()] == told
    assert [1] * 8 == [len(slot.attempts) for slot in ground.slots()]
    assert dict.fromkeys(range(8), 1) == ground.paid()


def test_a_node_that_goes_away_between_two_parts(ground: Ground, parts: None) -> None:
    """What was stored is sent, what was not is not; asked again, all are paid once."""
    ground.rpc.before = lambda method: away() if method == "eth_call" and ground.slots() else None

    def away() -> None:
        raise RpcUnreachable("the node is away (test).")

    with pytest.raises(RpcUnreachable):
        ground.run(ground.sender.submit_many(acts(8)))
    first = len(ground.slots())
    assert 0 < first < 8
    assert {SlotState.SENT} == {slot.state for slot in ground.slots()}
    ground.rpc.before = lambda method: None
    ground.run(ground.sender.submit_many(acts(8)))
    assert list(range(8)) == [slot.nonce for slot in ground.slots()]
    finish(ground, 3)
    assert dict.fromkeys(range(8), 1) == ground.paid()


def test_one_that_is_taken_back_holds_up_nobody(ground: Ground, parts: None) -> None:
    """It takes no nonce and is not marked; the others of its part and the next go on."""
    marks = Marks({1, 5})
    told = ground.run(ground.sender.submit_many(acts(8, marks)))
    assert [n in (1, 5) for n in range(8)] == [isinstance(each, StateMoved) for each in told]
    assert [3, 3, 2] == marks.asked
    others = [subject(n) for n in range(8) if n not in (1, 5)]
    assert others == marks.marked == [slot.subject for slot in ground.slots()]
    assert list(range(6)) == [slot.nonce for slot in ground.slots()]
    finish(ground, 3)
    assert dict.fromkeys((0, 2, 3, 4, 6, 7), 1) == ground.paid()


def test_a_part_that_cannot_be_marked_is_not_signed(ground: Ground, parts: None) -> None:
    """All or nothing of it, without a fact; the part before it is sent."""
    with pytest.raises(StateMoved):
        ground.run(ground.sender.submit_many(acts(8, Marks(set(), fails=True))))
    assert [(n, SlotState.SENT) for n in range(3)] == [(s.nonce, s.state) for s in ground.slots()]
    assert 3 == len(ground.facts(TransactionSigned)) == len(ground.facts(TransactionSent))
    ground.run(ground.sender.submit_many(acts(8)))
    finish(ground, 3)
    assert dict.fromkeys(range(8), 1) == ground.paid()


def test_final_slots_cost_nothing(ground: Ground) -> None:
    """Sixty final slots, one open: a pump asks for the open one only."""
    for n in range(60):
        ground.submit(n)
    ground.mine(3)
    ground.pump()
    assert 60 == len(ground.slots(SlotState.FINAL))
    ground.submit(60)
    before = ground.rpc.calls.total()
    ground.pump()
    assert ground.rpc.calls.total() - before <= 3


# --- Crashes --------------------------------------------------------------------------------------


def live_through(ground: Ground, number: int) -> None:
    """One act from its submission to its finality, as a service would drive it."""

    async def service() -> None:
        await ground.sender.submit(subject(number), pay(number))
        for _ in range(4):
            ground.mine()
            await ground.sender.pump()

    ground.run(service())


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_killed_around_every_commit(ground: Ground, moment: str) -> None:
    """The process dies around its n-th commit, for every n: a new one ends with one transaction."""
    for n in range(1, 30):
        left = [n]

        def hook(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        setattr(ground.store, moment, hook)
        try:
            live_through(ground, n)
        except Killed:
            setattr(ground.store, moment, lambda: None)
            ground.fresh_sender()
            ground.submit(n)
            finish(ground, 4)
        else:
            assert n > 4, "there are at least four commits in a life"
            break
    setattr(ground.store, moment, lambda: None)
    assert dict.fromkeys(range(1, n + 1), 1) == ground.paid()
    assert n == len(ground.facts(TransactionSigned)) == len(ground.facts(TransactionFinalized))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_every_call(ground: Ground, moment: str) -> None:
    """The process dies around its n-th call of the node, for every n: one transaction for each."""
    for n in range(1, 60):
        left = [n]

        def hook(method: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        setattr(ground.rpc, moment, hook)
        try:
            live_through(ground, n)
        except Killed:
            setattr(ground.rpc, moment, lambda method: None)
            ground.fresh_sender()
            ground.submit(n)
            finish(ground, 4)
        else:
            assert n > 8, "there are at least eight calls in a life"
            break
    assert dict.fromkeys(range(1, n + 1), 1) == ground.paid()
    assert n == len(ground.facts(TransactionMined))


def test_nothing_is_sent_before_it_is_stored(ground: Ground) -> None:
    """At each broadcast the store already holds the very bytes, on the first send and on a bump."""
    seen: list[str] = []
    send = ground.rpc.node.now

    def spy(method: str, *params: Any) -> Any:
        if method == SEND:
            stored = [a.raw for slot in ground.slots() for a in slot.attempts]
            assert params[0] in stored
            seen.append(params[0])
        return send(method, *params)

    ground.rpc.node.now = spy  # type: ignore[method-assign]
    ground.submit(1)
    ground.node.call("anvil_dropAllTransactions")
    ground.mine(base_fee=100 * GWEI)
    ground.wait(RESEND_S)
    ground.pump()
    assert 2 == len(seen) == len(set(seen))


# --- A network that loses things ------------------------------------------------------------------


def test_a_lost_request_is_sent_again(ground: Ground) -> None:
    """The node never saw it: the slot stays signed, and the next pump sends the same bytes."""
    ground.rpc.lose_requests[SEND] = 1
    tx = ground.submit(1)
    assert SlotState.SIGNED is ground.slot(1).state
    ground.pump()
    ground.mine()
    ground.pump()
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert {1: 1} == ground.paid()


def test_a_lost_answer_is_no_second_payment(ground: Ground) -> None:
    """The node has it, we do not know: sent again, "already imported", one payment."""
    ground.rpc.lose_answers[SEND] = 1
    ground.submit(1)
    ground.pump()
    assert 2 == ground.rpc.calls[SEND]
    assert SlotState.SENT is ground.slot(1).state
    assert 1 == len(ground.facts(TransactionSent))
    finish(ground, 3)
    assert {1: 1} == ground.paid()


def test_a_lost_answer_about_a_mined_transaction(ground: Ground) -> None:
    """It was mined before we ask again: "nonce too low" leads to its receipt, not to another."""
    ground.rpc.lose_answers[SEND] = 1
    ground.submit(1)
    ground.mine()
    ground.fresh_sender()
    ground.submit(1)
    ground.pump()
    assert SlotState.MINED is ground.slot(1).state
    assert {1: 1} == ground.paid()


def test_a_node_that_forgot_gets_the_same_bytes(ground: Ground) -> None:
    """A restarted node has an empty pool: after a while the same bytes are sent once more."""
    tx = ground.submit(1)
    ground.node.call("anvil_dropAllTransactions")
    ground.mine()
    ground.pump()
    assert 1 == ground.rpc.calls[SEND], "too early: it may just be waiting"
    ground.wait(RESEND_S)
    ground.pump()
    ground.mine()
    ground.pump()
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert 1 == len(ground.slot(1).attempts)


def test_an_unreachable_node_takes_no_slot(ground: Ground) -> None:
    """Nothing was simulated, so nothing was signed; the key is free for the next try."""
    ground.rpc.lose_requests["eth_call"] = 1
    with pytest.raises(RpcUnreachable):
        ground.submit(1)
    assert [] == ground.slots()
    ground.submit(1)
    assert [0] == [slot.nonce for slot in ground.slots()]


def test_waiting_for_an_act_survives_a_node_that_is_away(ground: Ground) -> None:
    """`mined` waits through faults, and says in time when its time is up."""
    ground.submit(1)
    ground.rpc.lose_requests["eth_getBlockByNumber"] = 3

    async def wait(timeout_s: float) -> BlockRef:
        return await ground.sender.mined(subject(1), "pay", 1, timeout_s)

    async def mine_later() -> None:
        await ground.clock.sleep(3)
        ground.mine()

    with pytest.raises(TransactionTimeout):
        ground.run(wait(1.0))

    async def both() -> BlockRef:
        return (await asyncio.gather(wait(10), mine_later()))[0]

    assert 1 == ground.run(both()).number


def test_many_waiters_ask_the_node_as_one(ground: Ground) -> None:
    """Thirty waiters for thirty acts look once a quarter of a second, all together."""
    for n in range(30):
        ground.submit(n)
    before = ground.rpc.calls[RECEIPT]

    async def wait_all() -> None:
        waiting = [ground.sender.mined(subject(n), "pay", 1, 5) for n in range(30)]

        async def mine_later() -> None:
            await ground.clock.sleep(1)
            ground.mine()

        await asyncio.gather(*waiting, mine_later())

    ground.run(wait_all())
    assert ground.rpc.calls[RECEIPT] - before <= 30 * 7


# --- Acts that fail -------------------------------------------------------------------------------


def test_a_revert_in_simulation_takes_no_slot(ground: Ground) -> None:
    """The node's simulation refuses: the error has a name, and no nonce is used."""
    set_gate(ground, shut=True)
    with pytest.raises(StateMoved):
        ground.run(ground.sender.submit("a", knock()))
    assert ([], []) == (ground.slots(), ground.facts())


def test_the_simulation_looks_at_the_newest_block(ground: Ground) -> None:
    """Others' pending transactions are plans: they neither allow nor forbid an act."""
    drain = {"from": ground.key.address, "to": OTHER}
    balance = int(ground.node.call("eth_getBalance", ground.address, "latest"), 16)
    ground.node.call("eth_sendTransaction", {**drain, "value": hex(balance - 10**17)})
    big = ContractCall("pay", GATE, b"", 10**18)
    set_gate(ground, shut=False)
    assert ground.run(ground.sender.submit("a", big))


def test_a_mined_revert_is_recorded_with_its_reason(ground: Ground) -> None:
    """Fine when simulated, refused when mined: a fact says why, and a next attempt succeeds."""
    set_gate(ground, shut=False)
    ground.rpc.lose_requests[SEND] = 1
    ground.run(ground.sender.submit("a", knock()))
    set_gate(ground, shut=True)
    for _ in range(2):
        ground.mine()
        ground.pump()
    (mined,), (failed,) = ground.facts(TransactionMined), ground.facts(TransactionFailed)
    assert (False, "knock", mined.tx) == (mined.ok, failed.act, failed.tx)
    assert ("state_moved", True, mined.block) == (failed.code, failed.transient, failed.block)
    with pytest.raises(StateMoved):
        ground.run(ground.sender.mined("a", "knock", 1, 1))
    set_gate(ground, shut=False)
    ground.run(ground.sender.submit("a", knock(), 2))
    ground.mine()
    assert ground.run(ground.sender.mined("a", "knock", 2, 1))
    finish(ground, 3)
    assert [SlotState.FINAL] * 2 == [slot.state for slot in ground.slots()]
    assert 1 == len(ground.facts(TransactionFailed))


def test_gas_suffices_for_storage_that_others_cleared(ground: Ground) -> None:
    """Estimated while four words of storage were set, mined after they were cleared: no revert."""
    code = "".join(f"60016{n:03x}55" for n in range(1, 5)) + "00"
    ground.node.call("anvil_setCode", GATE, "0x" + code)

    def fill(value: int) -> None:
        for n in range(1, 5):
            place, word = (f"0x{number:064x}" for number in (n, value))
            ground.node.call("anvil_setStorageAt", GATE, place, word)

    fill(1)
    ground.run(ground.sender.submit("a", ContractCall("store", GATE, b"any")))
    fill(0)
    ground.mine()
    ground.pump()
    assert [True] == [fact.ok for fact in ground.facts(TransactionMined)]


TIMED_CODE = {
    what: f"600054{opcode}1115601957636768091360e01b60005260046000fd5b00"
    for what, opcode in (("time", "42"), ("number", "43"))
}
"""Takes any call while the block's time, or number, is not above the first word of storage; else
reverts with the selector of DeadlinePassed."""


@pytest.mark.parametrize("knows_overrides", [True, False], ids=["a node", "a poor node"])
@pytest.mark.parametrize("what", TIMED_CODE)
def test_a_revert_that_comes_with_its_block_is_explained(
    ground: Ground, what: str, knows_overrides: bool
) -> None:
    """At its parent's time and number the call is good: it is asked as of the block itself, where
    the node can do that."""
    block = ground.node.call("eth_getBlockByNumber", "latest", False)
    now = int(block["timestamp"], 16)
    limit = now + 5 if what == "time" else int(block["number"], 16)
    ground.node.call("anvil_setCode", GATE, "0x" + TIMED_CODE[what])
    ground.node.call("anvil_setStorageAt", GATE, "0x" + "00" * 32, f"0x{limit:064x}")
    ground.run(ground.sender.submit("a", knock()))
    ground.node.call("evm_setNextBlockTimestamp", now + 10)
    ground.mine()
    if not knows_overrides:
        ground.rpc.knows_overrides = False
    ground.pump()
    assert [False] == [fact.ok for fact in ground.facts(TransactionMined)]
    expected = "deadline_passed" if knows_overrides else "reverted"
    assert [expected] == [fact.code for fact in ground.facts(TransactionFailed)]


def test_a_reorg_while_a_revert_is_explained(ground: Ground) -> None:
    """The transaction is gone when we ask what it was: no crash, and in the end it is done."""
    set_gate(ground, shut=False)
    ground.run(ground.sender.submit("a", knock()))
    set_gate(ground, shut=True)
    ground.mine()
    ground.rpc.answers["eth_getTransactionByHash", ground.slots()[0].tx] = None
    ground.pump()
    assert ["reverted"] == [fact.code for fact in ground.facts(TransactionFailed)]


def test_a_signer_without_gas_is_told_so(ground: Ground) -> None:
    """No native currency: SignerShort says which account, and what to do; no slot is taken."""
    ground.node.call("anvil_setBalance", ground.address, "0x0")
    for call in (pay(1), knock()):
        set_gate(ground, shut=False)
        with pytest.raises(SignerShort) as told:
            ground.run(ground.sender.submit("a", call))
        assert ground.address in told.value.message
        assert "native currency" in told.value.hint
    assert [] == ground.slots()


def test_a_signer_that_runs_dry_goes_on_when_refilled(ground: Ground) -> None:
    """Signed, and then the account is empty: nothing is lost, and it is mined once it can pay."""
    ground.rpc.lose_requests[SEND] = 1
    tx = ground.submit(1)
    ground.node.call("anvil_setBalance", ground.address, "0x1")
    ground.pump()
    assert SlotState.SIGNED is ground.slot(1).state
    ground.node.call("anvil_setBalance", ground.address, hex(10**18))
    ground.wait(RESEND_S)
    finish(ground, 3)
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]


# --- Nonces that others use -----------------------------------------------------------------------


def test_a_nonce_taken_while_ours_is_open(ground: Ground) -> None:
    """A foreign transaction of our key is mined in our place: once it is final, LOST, transient."""
    ground.rpc.lose_requests[SEND] = 1
    ground.submit(1)
    ground.steal_nonce(0)
    ground.pump()
    assert SlotState.LOST is not ground.slot(1).state, "a mined theft may still be taken back"
    ground.mine(2)
    ground.pump()
    assert SlotState.LOST is not ground.slot(1).state, "one reading proves no loss"
    ground.wait(3)
    ground.pump()
    assert SlotState.LOST is ground.slot(1).state
    (failed,) = ground.facts(TransactionFailed)
    assert ("nonce_taken", True, "pay") == (failed.code, failed.transient, failed.act)
    with pytest.raises(NonceTaken):
        ground.run(ground.sender.mined(subject(1), "pay", 1, 1))
    ground.submit(1, attempt=2)
    ground.submit(2)
    finish(ground, 3)
    assert 1 == ground.paid()[1] == ground.paid()[2]


def test_a_theft_that_is_taken_back(ground: Ground) -> None:
    """The foreign transaction goes with a reorg: our slot was not lost, and is mined after all."""
    ground.rpc.lose_requests[SEND] = 1
    tx = ground.submit(1)
    ground.steal_nonce(0)
    ground.pump()
    ground.reorg(1)
    finish(ground, 4)
    assert tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert {1: 1} == ground.paid()


def test_a_foreign_transaction_while_none_of_ours_is_open(ground: Ground) -> None:
    """We count on from the chain's own nonce, and go on behind it."""
    ground.submit(1)
    finish(ground, 3)
    ground.steal_nonce(1)
    ground.submit(2)
    finish(ground, 3)
    assert [0, 2] == [slot.nonce for slot in ground.slots(SlotState.FINAL)]
    assert 1 == ground.paid()[1] == ground.paid()[2]


def test_a_gap_left_by_a_foreign_transaction_is_filled(ground: Ground) -> None:
    """We counted on from a foreign transaction, and a reorg dropped it: ours is not stuck."""
    ground.mine(3)
    ground.steal_nonce(0)
    ground.submit(1)
    ground.reorg(1)
    ground.node.call("anvil_dropAllTransactions")
    for _ in range(3):
        ground.wait(RESEND_S)
        ground.pump()
        ground.mine()
    finish(ground, 3)
    assert 1 == ground.paid()[1]
    assert SlotState.FINAL is ground.slot(1).state


def test_a_lagging_node_proves_no_theft(ground: Ground) -> None:
    """Our own receipt is missing on one node while another counts our nonce: that is not LOST."""
    tx = ground.submit(1)
    ground.mine(6)
    ground.rpc.answers[RECEIPT, tx] = None
    ground.wait(RESEND_S)
    ground.pump()
    assert SlotState.SENT is ground.slot(1).state
    ground.rpc.answers.clear()
    ground.pump()
    assert SlotState.FINAL is ground.slot(1).state
    assert [] == ground.facts(TransactionFailed)


def test_a_theft_too_old_to_be_proved_is_believed_in_time(ground: Ground) -> None:
    """The node has forgotten the states to search: only after ten minutes the slot is LOST."""
    ground.rpc.lose_requests[SEND] = 1
    ground.submit(1)
    ground.steal_nonce(0)
    ground.mine(150)
    ground.pump()
    assert SlotState.LOST is not ground.slot(1).state
    ground.wait(SEARCH_MS / 1000)
    ground.pump()
    assert SlotState.LOST is ground.slot(1).state


# --- Reorgs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])
def test_a_reorg_takes_a_mined_act_back(ground: Ground, depth: int) -> None:
    """anvil drops the transactions of a reorg: the same bytes are sent again at once."""
    ground.mine(2)
    tx = ground.submit(1)
    ground.mine(depth)
    ground.pump()
    first = ground.slot(1).block
    ground.reorg(depth)
    ground.pump()
    assert (SlotState.SENT, None) == (ground.slot(1).state, ground.slot(1).block)
    finish(ground, 4)
    second = ground.slot(1).block
    assert first
    assert second
    assert first.hash != second.hash
    assert first.tx == second.tx == tx
    assert {1: 1} == ground.paid()
    assert [first, second] == [fact.block for fact in ground.facts(TransactionMined)]
    assert [second] == [fact.block for fact in ground.facts(TransactionFinalized)]


def test_anvils_own_reorg(ground: Ground) -> None:
    """`anvil_reorg` leaves its transactions out of the pool: they are back in the next block."""
    ground.mine(2)
    for n in range(5):
        ground.submit(n)
    ground.mine()
    ground.pump()
    ground.node.call("anvil_reorg", 1, [])
    finish(ground, 4)
    assert dict.fromkeys(range(5), 1) == ground.paid()
    assert 5 == len(ground.facts(TransactionFinalized))


def test_moved_to_another_block_by_a_reorg(ground: Ground) -> None:
    """The new branch has the transaction, too: the slot follows it, and counts from there."""
    ground.mine(2)
    tx = ground.submit(1)
    raw = ground.slot(1).attempts[0].raw
    ground.mine()
    ground.pump()
    ground.node.call("anvil_rollback", 1)
    ground.mine()
    ground.node.call(SEND, raw)
    ground.mine()
    ground.pump()
    slot = ground.slot(1)
    assert slot.block
    assert (SlotState.MINED, tx, 4) == (slot.state, slot.block.tx, slot.block.number)
    assert 0 == ground.rpc.calls[SEND] - 1
    ground.mine()
    ground.pump()
    assert SlotState.MINED is ground.slot(1).state
    ground.mine()
    ground.pump()
    assert SlotState.FINAL is ground.slot(1).state


def test_final_only_with_the_block_that_the_chain_has(ground: Ground) -> None:
    """A stale receipt names a block that is no more: neither mined nor final by it."""
    ground.mine(2)
    tx = ground.submit(1)
    ground.mine()
    ground.pump()
    stale = ground.node.call(RECEIPT, tx)
    ground.reorg(1)
    ground.mine(4)
    ground.rpc.answers[RECEIPT, tx] = stale
    ground.pump()
    assert SlotState.MINED is ground.slot(1).state
    assert [] == ground.facts(TransactionFinalized)
    ground.rpc.answers.clear()
    finish(ground, 4)
    assert {1: 1} == ground.paid()


def test_final_after_so_many_confirmations_and_not_before(ground: Ground) -> None:
    """N confirmations mean head ≥ block + N, for every N."""
    for confirmations in (0, 1, 3):
        ground.confirmations = confirmations
        ground.fresh_sender()
        ground.submit(confirmations)
        for n in range(confirmations + 1):
            ground.pump()
            assert SlotState.FINAL is not ground.slot(confirmations).state, (confirmations, n)
            ground.mine()
        ground.pump()
        assert SlotState.FINAL is ground.slot(confirmations).state


def test_a_reorg_deeper_than_finality_is_healed(ground: Ground) -> None:
    """What was final is gone: asked for again, or in the way of later acts, it is sent again."""
    ground.mine(2)
    for n in (1, 2):
        ground.submit(n)
    ground.mine(4)
    ground.pump()
    assert 2 == len(ground.slots(SlotState.FINAL))
    ground.reorg(4)
    assert 0 == ground.paid().total()
    ground.submit(1)
    finish(ground, 2)
    assert 1 == ground.paid()[1]
    ground.submit(3)
    finish(ground, 6)
    assert {1: 1, 2: 1, 3: 1} == ground.paid()


def test_a_revert_whose_block_left_and_came_back(ground: Ground) -> None:
    """The fact of the revert went with its block; asked again, the sender tells it anew."""
    set_gate(ground, shut=False)
    ground.run(ground.sender.submit("a", knock()))
    set_gate(ground, shut=True)
    ground.mine()
    ground.pump()
    (failed,) = ground.facts(TransactionFailed)
    ground.run(ground.sender.submit("a", knock()))
    assert [failed] == ground.facts(TransactionFailed), "it stands: it is not told twice"
    orphan(ground, failed.block)
    ground.run(ground.sender.submit("a", knock()))
    assert [failed, failed] == ground.facts(TransactionFailed)


def orphan(ground: Ground, block: BlockRef) -> None:
    """As a watcher on the same store would."""
    from workbench.core.facts import BlockOrphaned

    async def tell() -> None:
        fact = BlockOrphaned(subject=block.hash, at_ms=1, source="watcher", number=block.number)
        async with ground.store.unit() as unit:
            await unit.record(fact)

    ground.run(tell())


# --- Fees -----------------------------------------------------------------------------------------


def test_a_fee_that_fell_behind_is_raised(ground: Ground) -> None:
    """The base fee rises above ours: a new attempt of the same slot, 12.5 % more or the market."""
    old = ground.submit(1)
    ground.mine(base_fee=100 * GWEI)
    ground.wait(RESEND_S)
    ground.pump()
    slot = ground.slot(1)
    assert 2 == len(slot.attempts)
    first, second = (sender_module._fields_of(attempt.raw) for attempt in slot.attempts)
    for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert 8 * second[name] >= 9 * first[name]
    assert second["maxFeePerGas"] >= 200 * GWEI
    same = ("nonce", "to", "value", "data", "gas", "chainId")
    assert [first[name] for name in same] == [second[name] for name in same]
    (replaced,) = ground.facts(TransactionReplaced)
    assert (old, slot.tx) == (replaced.old_tx, replaced.tx)
    ground.mine(base_fee=100 * GWEI)
    ground.pump()
    assert slot.tx == ground.slot(1).block.tx  # type: ignore[union-attr]
    assert {1: 1} == ground.paid()


def test_a_fee_refused_at_once_is_raised_at_once(ground: Ground) -> None:
    """The base fee jumps between signing and sending: the node refuses, the bumped bytes go."""
    ground.rpc.before = lambda method: (
        ground.mine(base_fee=100 * GWEI)
        if method == SEND and not ground.facts(TransactionReplaced)
        else None
    )
    ground.submit(1)
    ground.rpc.before = lambda method: None
    assert (2, SlotState.SENT) == (len(ground.slot(1).attempts), ground.slot(1).state)
    ground.mine(base_fee=100 * GWEI)
    ground.pump()
    assert {1: 1} == ground.paid()


def test_the_older_attempt_may_win(ground: Ground) -> None:
    """Bumped, and then a block takes the first bytes: the slot is done by them, once."""
    old = ground.submit(1)
    raw = ground.slot(1).attempts[0].raw
    ground.mine(base_fee=100 * GWEI)
    ground.wait(RESEND_S)
    ground.pump()
    ground.node.call("anvil_dropAllTransactions")
    ground.mine(base_fee=GWEI)
    ground.node.call(SEND, raw)
    ground.mine(base_fee=GWEI)
    ground.pump()
    slot = ground.slot(1)
    assert slot.block
    assert (old, old, SlotState.MINED) == (slot.tx, slot.block.tx, slot.state)
    finish(ground, 3)
    assert {1: 1} == ground.paid()
    assert [old] == [fact.tx for fact in ground.facts(TransactionFinalized)]


def test_bumps_are_capped(ground: Ground) -> None:
    """A market gone mad: never above the cap, never more than a few attempts, and not lost."""
    ground.submit(1)
    ground.mine(base_fee=MAX_FEE_WEI)
    for _ in range(3):
        ground.wait(RESEND_S)
        ground.pump()
    assert 1 == len(ground.slot(1).attempts)
    for n in range(2 * MAX_ATTEMPTS):
        ground.mine(base_fee=(n + 2) ** 4 * GWEI // 8)
        ground.node.call("anvil_dropAllTransactions")
        ground.wait(RESEND_S)
        ground.pump()
    slot = ground.slot(1)
    assert len(slot.attempts) <= MAX_ATTEMPTS
    fees = [sender_module._fields_of(attempt.raw)["maxFeePerGas"] for attempt in slot.attempts]
    assert fees == sorted(fees)
    assert fees[-1] <= MAX_FEE_WEI
    ground.mine(base_fee=GWEI)
    finish(ground, 3)
    assert {1: 1} == ground.paid()


def test_the_tip_is_what_the_node_suggests(ground: Ground) -> None:
    """Polygon takes nothing below 25 gwei: the suggestion counts, our least tip without one."""
    ground.rpc.answers["eth_maxPriorityFeePerGas", ""] = hex(30 * GWEI)
    ground.submit(1)
    ground.submit(2)
    tips = [sender_module._fields_of(s.attempts[0].raw) for s in ground.slots()]
    assert [30 * GWEI] * 2 == [each["maxPriorityFeePerGas"] for each in tips]
    assert 1 == ground.rpc.calls["eth_maxPriorityFeePerGas"]


def test_a_stale_send_does_not_undo_what_a_pump_saw(ground: Ground) -> None:
    """While `submit` still waits for its answer, a pump sees the receipt: MINED stays MINED."""

    sent = asyncio.Event()

    async def slow_answer() -> None:
        async def pump_meanwhile() -> None:
            await sent.wait()
            ground.mine()
            await ground.sender.pump()

        await asyncio.gather(ground.sender.submit(subject(1), pay(1)), pump_meanwhile())

    real = ground.rpc.call

    async def slow(method: str, *params: Any) -> Any:
        answer = await real(method, *params)
        if method == SEND:
            sent.set()
            await ground.clock.sleep(1)
        return answer

    ground.rpc.call = slow  # type: ignore[method-assign]
    ground.run(slow_answer())
    assert SlotState.MINED is ground.slot(1).state
    finish(ground, 3)
    assert 1 == len(ground.facts(TransactionMined)) == len(ground.facts(TransactionFinalized))


# --- Everything at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_a_storm_of_faults(seed: int) -> None:
    """Lost requests and answers, lag, crashes, reorgs, dropped pools: forty acts, each once."""
    chance = random.Random(seed)
    ground = Ground(seed=seed)
    try:
        ground.mine(4)
        ground.rpc.rate_request = ground.rpc.rate_answer = 0.1
        ground.rpc.lag = 4
        todo = list(range(40))
        while todo or chance.random() < 0.9:
            _strike(ground, chance, todo)
        ground.rpc.rate_request = ground.rpc.rate_answer = 0.0
        ground.rpc.lag = 0
        for n in range(40):
            ground.submit(n)
        finish(ground, 12)
        assert dict.fromkeys(range(40), 1) == ground.paid()
        assert list(range(40)) == [slot.nonce for slot in ground.slots(SlotState.FINAL)]
        assert [] == ground.facts(TransactionFailed)
        ground.fresh_sender()
        ground.pump()
    finally:
        ground.close()


def _strike(ground: Ground, chance: random.Random, todo: list[int]) -> None:
    """One thing that happens in a storm."""
    event = chance.choices(
        ["submit", "pump", "mine", "wait", "reorg", "crash", "drop"], [8, 8, 6, 3, 2, 2, 1]
    )[0]
    try:
        if event == "submit" and todo:
            ground.submit(todo[0])
            todo.pop(0)
        elif event == "pump":
            ground.pump()
        elif event == "mine":
            ground.mine()
        elif event == "wait":
            ground.wait(chance.choice([1, RESEND_S]))
        elif event == "reorg":
            ground.reorg(chance.choice([1, 2]))
        elif event == "drop":
            ground.node.call("anvil_dropAllTransactions")
        elif event == "crash":
            _crash(ground, chance)
    except WorkbenchError as why:
        assert why.transient, why


def _crash(ground: Ground, chance: random.Random) -> None:
    """The process dies somewhere in a pump; a new one takes over."""
    left = [chance.randint(1, 12)]

    def hook(*_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    where = chance.choice(["before", "after", "store"])
    if where == "store":
        ground.store.after_commit = hook
    else:
        setattr(ground.rpc, where, hook)
    try:
        ground.pump()
    except Killed:
        pass
    finally:
        ground.store.after_commit = lambda: None
        ground.rpc.before = ground.rpc.after = lambda method: None
        ground.fresh_sender()

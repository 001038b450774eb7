"""Payouts in batches on a real chain: paid together, judged and refunded one by one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.services.payouts.test_tokens import MANIFEST, PAYER, act, call
from workbench import World
from workbench.core.errors import ContractNotFound, InvalidSetting
from workbench.core.facts import AllowanceGiven, PayoutBatched
from workbench.core.payout import BATCH_MOST, batch_gas
from workbench.core.ports import Request
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.payments import batch
from workbench.evm.payments.batch import payment_id
from workbench.worlds.rules import PayoutConfig

UNITS = 10**6
HALF_CLOSED = "0x6001431615600a57005b5f5ffd"
"""A receiver that takes nothing in even blocks."""
BURNS = "0xfe"
MINTED = 1_000 * UNITS


class Till:
    """The world's payout service, paying in batches of up to ten."""

    def __init__(self, world: World, token: str | None = None, most: int = 10) -> None:
        self.world, self.token = world, token.lower() if token else None
        self.batcher = world.deployment["PayoutBatcher"].lower()
        units = UNITS if token else 10**15
        self.credits = PayoutConfig(self.token, None, units, batcher=self.batcher, batch=most)
        self.restart()
        self.post("/earn", user_id="u", credits=1_000, idempotency_key="e")

    def restart(self) -> None:
        if "payouts" in self.world._tasks:
            self.world.kill("payouts")
        self.world.wiring.credits = self.credits
        self.world.restart("payouts")
        self.world.advance()  # Its first round is over, and what is asked now waits for the next.

    def post(self, path: str, **body: Any) -> Any:
        headers = (("Content-Type", "application/json"),)
        request = Request("POST", f"http://payouts{path}", (), headers, json.dumps(body).encode())
        return self.world.send(request).data()

    def ask(self, *numbers: int) -> list[str]:
        """One payout of as many credits for each number, all asked for between two rounds."""
        found = []
        for n in numbers:
            asked = {"user_id": "u", "credits": n, "address": payee(n), "idempotency_key": f"k{n}"}
            found.append(str(self.post("/payout", **asked)["id"]))
        return found

    def see(self, payout_id: str) -> Any:
        return self.world.get(f"http://payouts/v1/payouts/{payout_id}").data()

    def states(self, payouts: list[str]) -> list[str]:
        return [self.see(each)["state"] for each in payouts]

    def alarms(self) -> dict[str, str]:
        told: dict[str, str] = self.world.get("http://payouts/readyz").data()["alarms"]
        return told

    def balance(self, owner: str) -> int:
        if self.token is None:
            return int(self.world.node.call("eth_getBalance", owner, "latest"), 16)
        request = {"to": self.token, "data": "0x70a08231" + owner[2:].rjust(64, "0")}
        return int(self.world.node.call("eth_call", request, "latest"), 16)

    def reconciles(self) -> bool:
        """The ledger is the chain, gas and allowances included."""
        report = self.world.do(self.world.payouts.payouts.reconciler.conclude())
        return report.is_right and not [n for n in report.booked.values() if n < 0]

    def facts(self, kind: type[Any]) -> list[Any]:
        async def read() -> list[Any]:
            async with self.world.stores["payouts"].unit() as unit:
                return [fact for _, fact in await unit.facts() if isinstance(fact, kind)]

        found: list[Any] = self.world.do(read())
        return found


def payee(number: int) -> str:
    return f"0x{number + 0xBA7C4:040x}"


def picky(world: World) -> Till:
    """A token that pays some and not others, of which the payer has a thousand."""
    code = json.loads(MANIFEST.read_text(encoding="utf-8"))["contractTypes"]["PickyToken"][
        "deploymentBytecode"
    ]
    token = act(world, None, hex_bytes(code["bytecode"]))
    act(world, token, call("mint(address,uint256)", PAYER, MINTED))
    return Till(world, token)


def set_mode(till: Till, receiver: str, mode: int) -> None:
    assert till.token is not None
    act(till.world, till.token, call("setMode(address,uint8)", receiver, mode))


def test_what_is_asked_together_is_paid_together(world: World) -> None:
    """One nonce, one transaction, one transfer to each; the gas is shared to the last wei."""
    till = Till(world)
    payouts = till.ask(1, 2, 3, 4, 5)
    world.advance(6)
    told = [till.see(each) for each in payouts]
    assert {"paid"} == {each["state"] for each in told}
    assert [n * 10**15 for n in range(1, 6)] == [till.balance(payee(n)) for n in range(1, 6)]
    (tx,) = {each["tx"] for each in told}
    (name,) = {each["batch"] for each in told}
    facts = till.facts(PayoutBatched)
    assert {(name, place) for place in range(5)} == {(f.batch, f.place) for f in facts}
    receipt = world.node.call("eth_getTransactionReceipt", tx)
    paid = [fact for fact in world.do(_facts(world)) if fact.type == "PayoutPaid"]
    cost = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert cost == sum(fact.gas_wei for fact in paid)
    assert max(f.gas_wei for f in paid) - min(f.gas_wei for f in paid) <= 1
    assert till.reconciles()
    assert {} == till.alarms()
    assert 0 == till.balance(till.batcher)


async def _facts(world: World) -> list[Any]:
    async with world.stores["payouts"].unit() as unit:
        return [fact for _, fact in await unit.facts()]


def test_there_are_as_many_batches_as_needed(world: World) -> None:
    till = Till(world, most=4)
    payouts = till.ask(*range(1, 11))
    world.advance(6)
    assert {"paid"} == set(till.states(payouts))
    sizes = Counter(till.see(each)["batch"] for each in payouts)
    assert [2, 4, 4] == sorted(sizes.values())


def test_who_refuses_stops_nobody(world: World) -> None:
    """A batch would not pay them: they go alone, and wait for a better day."""
    till = Till(world)
    world.node.call("anvil_setCode", payee(2), BURNS)
    payouts = till.ask(1, 2, 3)
    world.advance(6)
    assert ["paid", "approved", "paid"] == till.states(payouts)
    assert "reason" in till.see(payouts[1])
    world.node.call("anvil_setCode", payee(2), "0x")
    world.advance(24)
    assert ["paid"] * 3 == till.states(payouts)
    assert till.reconciles()


def test_who_refuses_once_it_is_signed_is_refunded_alone(world: World) -> None:
    till = Till(world)
    payouts = till.ask(1, 2, 3)
    world.do(world.payouts.payouts.tick())
    world.node.call("anvil_setCode", payee(2), BURNS)
    world.advance(10)
    assert ["paid", "refunded", "paid"] == till.states(payouts)
    assert "the receiver refused" in till.see(payouts[1])["reason"]
    assert 1_000 - 1 - 3 == world.get("http://payouts/v1/balances/u").data()["credits"]
    assert till.reconciles()


def test_a_batch_is_not_taken_back(world: World) -> None:
    """Signed together with others: too late, and nothing has changed by asking."""
    till = Till(world)
    payouts = till.ask(1, 2)
    world.do(world.payouts.payouts.tick())
    told = till.post(f"/v1/payouts/{payouts[0]}:cancel")
    assert ("payout_ended", True) == (told["error"], "together with others" in told["message"])
    world.advance(6)
    assert ["paid", "paid"] == till.states(payouts)


def test_who_is_taken_back_before_is_not_in_it(world: World) -> None:
    till = Till(world)
    payouts = till.ask(1, 2)
    assert "cancelled" == till.post(f"/v1/payouts/{payouts[0]}:cancel")["state"]
    world.advance(6)
    assert ["cancelled", "paid"] == till.states(payouts)
    assert 0 == till.balance(payee(1))


def test_a_token_is_allowed_first(world: World) -> None:
    """By one transaction of the wallet's own, whose gas is in the books; then paid in batches,
    by the allowance and not by an authorisation that anybody could bring besides."""
    token = world.deployment["MockUSDC"]
    act(world, token, call("mint(address,uint256)", PAYER, MINTED))
    till = Till(world, token)
    payouts = till.ask(1, 2, 3)
    world.advance(12)
    assert ["paid"] * 3 == till.states(payouts)
    assert [n * UNITS for n in (1, 2, 3)] == [till.balance(payee(n)) for n in (1, 2, 3)]
    (given,) = till.facts(AllowanceGiven)
    assert given.gas_wei > 0
    assert till.reconciles()
    more = till.ask(4, 5)
    world.advance(6)
    assert ["paid"] * 2 == till.states(more)
    assert 1 == len(till.facts(AllowanceGiven)), "once is enough"
    assert till.reconciles()
    assert {} == till.alarms()


def test_an_allowance_that_was_taken_away_is_given_again(world: World) -> None:
    till = picky(world)
    first = till.ask(1)
    world.advance(12)
    assert ["paid"] == till.states(first)
    # Whoever holds the key could; here the token forgets.
    slot = to_hex(_allowance_slot(till.batcher))
    world.node.call("anvil_setStorageAt", till.token, slot, "0x" + "00" * 32)
    second = till.ask(2)
    world.advance(12)
    assert ["paid"] == till.states(second)
    assert 2 == len(till.facts(AllowanceGiven))
    assert till.reconciles()


def _allowance_slot(spender: str) -> bytes:
    """OpenZeppelin's ERC20 keeps allowances in the mapping of slot 1."""
    from eth_hash.auto import keccak

    inner = keccak(hex_bytes(PAYER).rjust(32, b"\0") + (1).to_bytes(32, "big"))
    return keccak(hex_bytes(spender).rjust(32, b"\0") + inner)


@pytest.mark.parametrize(
    ("mode", "why"), [(1, "refused"), (2, ""), (4, "blocks one"), (5, "Wrong")]
)
def test_a_token_that_turns_on_one_of_them(world: World, mode: int, why: str) -> None:
    """Between signing and mining, by false, gas, a block or a fee: that one is refunded."""
    till = picky(world)
    first = till.ask(9)
    world.advance(12)
    payouts = till.ask(1, 2, 3)
    world.do(world.payouts.payouts.tick())
    sent = till.see(payouts[0])["transaction"]["attempts"][0]
    data = world.node.call("eth_getTransactionByHash", sent)
    world.node.call("anvil_dropTransaction", sent)
    assert data["to"] == till.batcher
    set_mode(till, payee(2), mode)
    world.advance(14)
    assert ["paid", "paid", "refunded", "paid"] == till.states(first + payouts)
    assert why in till.see(payouts[1])["reason"]
    assert (UNITS, 0, 3 * UNITS) == tuple(till.balance(payee(n)) for n in (1, 2, 3))
    assert till.reconciles()
    assert {} == till.alarms()


def test_yesterdays_database_does_not_pay_again(world: World) -> None:
    """Restored, and released by a person: the contract skips who was paid since, and we see it."""
    till = Till(world)
    till.ask(9)
    world.advance(6)
    payouts = till.ask(1, 2)
    backup = world.stores["payouts"].dump()
    world.advance(6)
    assert ["paid", "paid"] == till.states(payouts)
    world.kill("payouts")
    world.stores["payouts"].restore(backup)
    world.restart("payouts")
    world.advance(4)
    assert "a second reading follows" in till.alarms()["signer_quarantined"]
    world.advance(20)
    assert "our database ends below" in till.alarms()["signer_quarantined"]
    assert ["approved", "approved"] == till.states(payouts)
    till.post("/v1/signer:release")
    world.advance(8)
    assert ["paid", "paid"] == till.states(payouts)
    assert [10**15, 2 * 10**15] == [till.balance(payee(n)) for n in (1, 2)], "once, all the same"


def test_another_contract_than_ours_is_refused(world: World) -> None:
    """Whatever it tells of payments, we would believe: so it must be this very one."""
    till = Till(world)
    for address, error, why in (
        (payee(1), ContractNotFound, "PAYOUT_BATCHER"),
        (world.deployment["MockUSDC"].lower(), InvalidSetting, "is not this PayoutBatcher"),
    ):
        world.wiring.credits = PayoutConfig(None, None, 1, batcher=address, batch=2)
        with pytest.raises(error, match=why):
            world.do(world.wiring.payouts().payouts.check())
    world.wiring.credits = till.credits
    told = till.post("/payout", user_id="u", credits=1, address=till.batcher)
    assert "the contract that pays" in told["message"]


def test_a_batch_that_no_block_can_hold(world: World) -> None:
    """Nothing would ever be mined."""
    world.node.call("evm_setBlockGasLimit", hex(1_000_000))
    world.advance(1)
    at = world.deployment["PayoutBatcher"].lower()
    world.wiring.credits = PayoutConfig(None, None, 1, batcher=at, batch=100)
    with pytest.raises(InvalidSetting, match="PAYOUT_BATCH=100 may take"):
        world.do(world.wiring.payouts().payouts.check())


@pytest.mark.parametrize("is_token", [False, True])
def test_the_gas_that_a_batch_is_given_is_enough_at_worst(world: World, is_token: bool) -> None:
    """Receivers that burn all they get, but the last one, which is new: it is paid."""
    till = picky(world) if is_token else Till(world)
    count = 20
    receivers = [payee(1_000 + n) for n in range(count)]
    for receiver in receivers[:-1]:
        if is_token:
            set_mode(till, receiver, 2)
        else:
            world.node.call("anvil_setCode", receiver, BURNS)
    if is_token:
        act_as_payer(world, till.token or "", batch.allowing(till.batcher))
    payments = [(payment_id(str(n)), to, 5) for n, to in enumerate(receivers)]
    data = _encoded(payments, till.token)
    gas, value = batch_gas(count, is_token=is_token), 0 if is_token else 5 * count
    receipt = act_as_payer(world, till.batcher, data, gas, value)
    kinds = [log["topics"][0] for log in receipt["logs"] if log["address"] == till.batcher]
    assert [batch.FAILED] * (count - 1) + [batch.PAID] == kinds
    assert batch_gas(BATCH_MOST, is_token=is_token) < 2**24, "more than a node takes (EIP-7825)"


def _encoded(payments: list[tuple[bytes, str, int]], token: str | None) -> bytes:
    from eth_abi.abi import encode

    if token is None:
        return batch.PAY_NATIVE + encode([batch.PAYMENTS], [payments])
    return batch.PAY_TOKEN + encode(["address", batch.PAYMENTS], [token, payments])


def act_as_payer(
    world: World, to: str, data: bytes, gas: int = 1_000_000, value: int = 0
) -> dict[str, Any]:
    fields = {"from": PAYER, "to": to, "data": to_hex(data), "gas": hex(gas), "value": hex(value)}
    world.node.call("anvil_impersonateAccount", PAYER)
    tx = world.node.call("eth_sendTransaction", fields)
    world.advance(1)
    receipt: dict[str, Any] = world.node.call("eth_getTransactionReceipt", tx)
    world.node.call("anvil_stopImpersonatingAccount", PAYER)
    return receipt


def test_the_code_that_is_pinned_is_that_of_the_contract(world: World) -> None:
    from eth_hash.auto import keccak

    code = world.node.call("eth_getCode", world.deployment["PayoutBatcher"], "latest")
    assert batch.CODE_HASH == to_hex(keccak(hex_bytes(code)))

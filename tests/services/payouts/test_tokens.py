"""Payouts in tokens on a real chain: plain ones, those that know ERC-3009, and unkind ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench import World
from workbench.core.errors import ContractNotFound, InvalidSetting, WorkbenchError, WrongChain
from workbench.core.facts import PayoutPaid
from workbench.core.ports import Request
from workbench.evm.codec.abi import to_hex
from workbench.evm.payments.guard import AUTHORIZED, authorization_nonce
from workbench.evm.transactions.test_keys import key_of
from workbench.worlds.rules import PayoutConfig

MANIFEST = Path(__file__).resolve().parents[3] / ".build" / "__local__.json"
TO = "0x" + "ab" * 20
PAYER = key_of("payer").address.lower()
OWNER = key_of("deployer").address
UNITS = 10**6
"""Of one credit: one whole token of six decimals."""


class Till:
    """The world's payout service, paying a token."""

    def __init__(self, world: World, token: str) -> None:
        self.world, self.token = world, token.lower()
        self.credits = PayoutConfig(token=self.token, units_per_credit=UNITS)
        self.restart()

    def restart(self) -> None:
        if "payouts" in self.world._tasks:
            self.world.kill("payouts")
        self.world.wiring.credits = self.credits
        self.world.restart("payouts")

    def post(self, path: str, **body: Any) -> Any:
        headers = (("Content-Type", "application/json"),)
        request = Request("POST", f"http://payouts{path}", (), headers, json.dumps(body).encode())
        return self.world.send(request).data()

    def ask(self, credits: int = 5, key: str = "k") -> str:
        self.post("/earn", user_id="u", credits=credits)
        told = self.post("/payout", user_id="u", credits=credits, address=TO, idempotency_key=key)
        return str(told["id"])

    def see(self, payout_id: str) -> Any:
        return self.world.get(f"http://payouts/v1/payouts/{payout_id}").data()

    def alarms(self) -> dict[str, str]:
        told: dict[str, str] = self.world.get("http://payouts/readyz").data()["alarms"]
        return told

    def balance(self, owner: str = TO) -> int:
        data = "0x70a08231" + owner[2:].rjust(64, "0")
        call = {"to": self.token, "data": data}
        return int(self.world.node.call("eth_call", call, "latest"), 16)


def act(world: World, to: str | None, data: bytes, value: int = 0, sender: str = OWNER) -> str:
    """A transaction of the deployer's, or of another, mined with the next block."""
    fields = {"from": sender, "data": to_hex(data), "gas": hex(5_000_000), "value": hex(value)}
    tx = world.node.call("eth_sendTransaction", {**fields, **({"to": to} if to else {})})
    world.advance(1)
    receipt = world.node.call("eth_getTransactionReceipt", tx)
    assert int(receipt["status"], 16) == 1
    return str(receipt["contractAddress"])


def call(signature: str, *words: int | str) -> bytes:
    """Calldata of a function of plain words."""
    from eth_hash.auto import keccak

    values = (int(word, 16) if isinstance(word, str) else word for word in words)
    return keccak(signature.encode())[:4] + b"".join(
        (v % 2**256).to_bytes(32, "big") for v in values
    )


def sign_and_drop(world: World, till: Till, payout: str) -> bytes:
    """The payout is signed and sent, and the node forgets it; its calldata."""
    world.do(world.payouts.payouts.tick())
    tx = till.see(payout)["transaction"]["attempts"][0]
    sent = world.node.call("eth_getTransactionByHash", tx)
    world.node.call("anvil_dropTransaction", tx)
    return bytes.fromhex(sent["input"][2:])


def unkind(world: World, name: str) -> Till:
    """A token from contracts/test, of which the payer has a thousand."""
    if not MANIFEST.exists():
        pytest.fail("compile the contracts first: make compile", pytrace=False)
    code = json.loads(MANIFEST.read_text(encoding="utf-8"))["contractTypes"][name][
        "deploymentBytecode"
    ]["bytecode"]
    token = act(world, None, bytes.fromhex(code.removeprefix("0x")))
    act(world, token, call("mint(address,uint256)", PAYER, 1_000 * UNITS))
    return Till(world, token)


def fiat(world: World) -> Till:
    """MockUSDC, which knows ERC-3009."""
    token = world.deployment.addresses["MockUSDC"]
    act(world, token, call("mint(address,uint256)", PAYER, 1_000 * UNITS))
    return Till(world, token)


def test_a_token_with_authorisations_is_paid_by_one(world: World) -> None:
    """The authorisation's nonce is the payout's: the token itself refuses a second payment."""
    till = fiat(world)
    payout = till.ask()
    world.advance(6)
    told = till.see(payout)
    assert ("paid", 5 * UNITS) == (told["state"], till.balance())
    sent = world.node.call("eth_getTransactionByHash", told["tx"])
    assert sent["input"].startswith(to_hex(AUTHORIZED))
    assert authorization_nonce(payout).hex() in sent["input"]
    again = {"from": PAYER, "to": till.token, "data": sent["input"]}
    with pytest.raises(WorkbenchError):
        world.node.call("eth_call", again, "latest")
    assert {} == till.alarms()


def test_somebody_else_brings_the_authorisation(world: World) -> None:
    """What was signed anybody may submit: ours reverts then, and the payout is paid anyhow."""
    till = fiat(world)
    payout = till.ask()
    data = sign_and_drop(world, till, payout)
    act(world, till.token, data)
    world.advance(14)
    tx = till.see(payout)["transaction"]["attempts"][0]
    assert ("paid", 5 * UNITS) == (till.see(payout)["state"], till.balance())
    receipt = world.node.call("eth_getTransactionReceipt", tx)
    assert 0 == int(receipt["status"], 16)


def test_a_plain_token_is_transferred(world: World) -> None:
    till = unkind(world, "HostileToken")
    payout = till.ask()
    world.advance(6)
    assert ("paid", 5 * UNITS) == (till.see(payout)["state"], till.balance())
    world.do(world.pass_time(1))
    assert {} == till.alarms()


@pytest.mark.parametrize(("mode", "why"), [(1, "false"), (2, ""), (3, "")])
def test_a_token_that_would_not_pay_is_not_asked(world: World, mode: int, why: str) -> None:
    """It answers false, burns the gas, or reverts: no nonce is used, and others are not held up."""
    till = unkind(world, "HostileToken")
    act(world, till.token, call("setMode(uint8,address,bytes4)", mode, 0, 0))
    payout = till.ask()
    world.advance(4)
    told = till.see(payout)
    assert "approved" == told["state"]
    assert why in told["reason"]
    assert "transaction" not in told
    world.do(world.pass_time(70))
    assert payout in till.alarms()["token_refused"], "what lasts is red"
    act(world, till.token, call("setMode(uint8,address,bytes4)", 0, 0, 0))
    world.advance(24)
    assert ("paid", 5 * UNITS) == (till.see(payout)["state"], till.balance())
    assert "token_refused" not in till.alarms()


def test_a_token_that_takes_a_fee_is_not_asked(world: World) -> None:
    """The receiver would get less than what is owed."""
    till = unkind(world, "FeeToken")
    act(world, till.token, call("setDifference(int256)", -1))
    payout = till.ask()
    world.advance(4)
    assert "another amount" in till.see(payout)["reason"]
    act(world, till.token, call("setDifference(int256)", 0))
    world.advance(24)
    assert ("paid", 5 * UNITS) == (till.see(payout)["state"], till.balance())


@pytest.mark.parametrize("how", ["false", "fee"])
def test_a_token_that_turns_between_signing_and_mining(world: World, how: str) -> None:
    """It says no in the block: refunded. It moves something else: a person must look."""
    till = unkind(world, "HostileToken" if how == "false" else "FeeToken")
    payout = till.ask()
    sign_and_drop(world, till, payout)
    if how == "false":
        act(world, till.token, call("setMode(uint8,address,bytes4)", 1, 0, 0))
    else:
        act(world, till.token, call("setDifference(int256)", -1))
    world.advance(14)
    told = till.see(payout)
    if how == "false":
        assert ("refunded", 0) == (told["state"], till.balance())
        assert 5 == till.world.get("http://payouts/v1/balances/u").data()["credits"]
        assert {} == till.alarms()
    else:
        assert "sent" == told["state"], "neither paid nor refunded"
        assert "something else" in till.alarms()["signer_quarantined"]


def test_a_paused_and_a_blocked_token_wait(world: World) -> None:
    till = fiat(world)
    act(world, till.token, call("pause()"))
    payout = till.ask()
    world.advance(4)
    assert "paused" in till.see(payout)["reason"]
    act(world, till.token, call("unpause()"))
    act(world, till.token, call("setBlocked(address,bool)", TO, 1))
    world.advance(20)
    assert "blocks one of the accounts" in till.see(payout)["reason"]
    cancelled = till.post(f"/v1/payouts/{payout}:cancel")
    assert "cancelled" == cancelled["state"]
    assert 5 == till.world.get("http://payouts/v1/balances/u").data()["credits"]


def test_a_wallet_without_the_token(world: World) -> None:
    """Gas alone pays nothing: it waits, and readiness is red."""
    till = Till(world, world.deployment.addresses["MockUSDC"])
    payout = till.ask()
    world.advance(4)
    assert "approved" == till.see(payout)["state"]
    assert "cannot pay" in till.alarms()["wallet_short"]
    act(world, till.token, call("mint(address,uint256)", PAYER, 1_000 * UNITS))
    world.advance(24)
    assert ("paid", {}) == (till.see(payout)["state"], till.alarms())


def test_a_token_taken_from_the_wallet_stops_the_signer(world: World) -> None:
    """A transfer out of it that is no payout's goes to suspense (here by an allowance)."""
    till = fiat(world)
    till.ask()
    world.advance(6)
    world.node.call("anvil_impersonateAccount", PAYER)
    data = to_hex(call("transfer(address,uint256)", OWNER, 7))
    world.node.call("eth_sendTransaction", {"from": PAYER, "to": till.token, "data": data})
    world.advance(6)
    service = world.payouts.payouts
    service.reconciler._done_ms = None
    world.advance(2)
    world.advance(12)
    assert "signer_quarantined" in till.alarms()
    world.node.call("anvil_stopImpersonatingAccount", PAYER)


def test_what_one_credit_would_cost_is_named(world: World) -> None:
    """The default is made for wei: in a token of six decimals it would be a billion of them."""
    world.wiring.credits = PayoutConfig(token=world.deployment.addresses["MockUSDC"].lower())
    service = world.wiring.payouts()
    with pytest.raises(InvalidSetting, match=r"one credit would cost 1000000000 mUSDC") as wrong:
        world.do(service.payouts.check())
    assert "UNITS_PER_CREDIT" in wrong.value.message
    assert "1000000 pays 1 mUSDC" in wrong.value.hint


def test_a_token_that_is_not_there(world: World) -> None:
    world.wiring.credits = PayoutConfig(token=TO, units_per_credit=1)
    with pytest.raises(ContractNotFound, match="TOKEN_ADDRESS"):
        world.do(world.wiring.payouts().payouts.check())


def test_another_chain_than_was_said(world: World) -> None:
    wiring = replace(world.wiring, chain_id=11155111)
    with pytest.raises(WrongChain, match="the node is on chain 31337, CHAIN_ID says 11155111"):
        world.do(wiring.payouts().payouts.check())


def test_open_payouts_of_another_asset(world: World) -> None:
    """A database with payouts in one asset is not gone on with in another."""
    till = fiat(world)
    act(world, till.token, call("pause()"))
    till.ask()
    world.kill("payouts")
    world.wiring.credits = PayoutConfig()
    with pytest.raises(InvalidSetting, match="open payouts in this database are of"):
        world.do(world.wiring.payouts().payouts.check())
    world.wiring.credits = till.credits
    world.restart("payouts")


def test_the_journal_names_block_and_gas(world: World) -> None:
    till = fiat(world)
    payout = till.ask()
    world.advance(6)

    async def read() -> list[Any]:
        async with world.stores["payouts"].unit() as unit:
            return [fact for _, fact in await unit.facts(subject=payout)]

    (paid,) = [fact for fact in world.do(read()) if isinstance(fact, PayoutPaid)]
    assert paid.block is not None
    assert (paid.units, paid.block.tx) == (5 * UNITS, paid.tx)
    receipt = world.node.call("eth_getTransactionReceipt", paid.tx)
    assert paid.gas_wei == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)

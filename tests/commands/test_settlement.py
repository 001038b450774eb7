"""Cancel, refund, claim, rescue by hand: on a real node, beside real services, by real commands."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import CLEAN, WORKBENCH
from workbench.commands.settlement import ObservedSettlement, describe, open_operator
from workbench.core.errors import WorkbenchError
from workbench.evm.codec import abi
from workbench.evm.node.anvil import DEFAULT_CHAIN_ID
from workbench.evm.transactions.test_keys import key_of
from workbench.settings import Settings
from workbench.worlds.balances import balances
from workbench.worlds.local import LocalWorld, boot_served
from workbench.worlds.served import write_world_file

AMOUNT = 100 * 10**18
STRANGER = key_of("spare2")
NOBODY = "0x" + "99" * 32


class Place:
    """A served world, in whose folder commands are run."""

    def __init__(self, world: LocalWorld, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.chain = world.wiring.chain("test")
        self.accounts = {"buyer": key_of("buyer").address, "seller": key_of("seller").address}

    async def command(self, *words: str, env: dict[str, str] | None = None) -> Any:
        """`workbench …`; what its JSON line says, with its exit code as `code`."""
        process = await asyncio.create_subprocess_exec(
            WORKBENCH,
            *words,
            "--json",
            cwd=self.folder,
            env={**CLEAN, **(env or {})},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert b"Traceback" not in err, err.decode()
        assert out, err.decode()
        return {**json.loads(out.splitlines()[-1]), "code": process.returncode}

    async def hand(self, act: str, *arguments: Any, env: dict[str, str] | None = None) -> Any:
        """The same without a process: what the act returns, or the error as JSON."""
        settings = Settings.load({**(env or {})}, self.folder)
        async with open_operator(settings, self.folder) as hand:
            try:
                done = await getattr(hand, act)(*arguments)
            except WorkbenchError as why:
                return why.to_json()
            return describe(done) if isinstance(done, ObservedSettlement) else asdict(done)

    async def created(self) -> str:
        """A settlement that nobody funds, since the facilitator is not at work; its id."""
        buyer, url = self.world.wiring.buyer(), self.world.servers["seller"].url
        payment, _ = await buyer.authorize(url, AMOUNT)
        return str((await buyer.pay(url, payment))["settlement_id"])

    async def state(self, identity: str, wanted: str) -> None:
        """Until the vault says so: within half a minute."""
        words = ("none", "created", "funded", "swapped", "executed", "refunded")
        for _ in range(300):
            if words[await self.chain.status(identity)] == wanted:
                return
            await asyncio.sleep(0.1)  # The node mines by itself.
        raise AssertionError(f"{identity} never was {wanted}")

    async def transact(self, role: str, contract: str, function: str, *arguments: Any) -> None:
        """A transaction of one of the node's unlocked accounts, mined."""
        data = abi.to_hex(abi.encode_call("MockUSDC", function, *arguments))
        to, gas = self.world.deployment[contract], hex(500_000)
        call = {"from": key_of(role).address, "to": to, "data": data, "gas": gas}
        tx = await self.chain.rpc.call("eth_sendTransaction", call)
        for _ in range(100):
            if receipt := await self.chain.rpc.call("eth_getTransactionReceipt", tx):
                assert "0x1" == receipt["status"]
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{function} was not mined")

    async def balances(self) -> dict[tuple[str, str], int]:
        return await balances(self.chain, self.accounts)

    async def sleep_until_after(self, deadline: int) -> None:
        """The chain's clock, put past a deadline."""
        head = await self.chain.head()
        await self.chain.rpc.call("evm_increaseTime", hex(deadline - head.timestamp + 1))
        await self.chain.rpc.call("evm_mine")


Story = Callable[[Place], Awaitable[None]]


def tell(story: Story, folder: Path, *, facilitator: bool) -> None:
    """A served world; its facilitator may accept authorisations and yet do nothing."""

    async def told() -> None:
        node, deployment = boot_served(DEFAULT_CHAIN_ID, lambda _: None)
        try:
            settings = Settings.load({}, folder, world={})
            data = folder / "data"
            async with LocalWorld(node, deployment, data, settings, auto_ports=True) as world:
                write_world_file({**world.description(), "pid": os.getpid()}, folder)
                if not facilitator:
                    world._tasks[world.names.index("facilitator")].cancel()
                await story(Place(world, folder))
                assert not world.alarms()
        finally:
            node.stop()

    asyncio.run(told())


async def cancelling(place: Place) -> None:
    before = await place.balances()
    identity = await place.created()
    shown = await place.command("settlement", "show", identity)
    assert ("created", "pending", 0) == (shown["state"], shown["status"], shown["code"])
    assert 0 < shown["seconds_left"] <= 600
    # Not yours; too early; and then as seller, with the very nonces that the seller counts.
    stranger = {"BUYER_PRIVATE_KEY": STRANGER.secret, "SELLER_PRIVATE_KEY": STRANGER.secret}
    refused = await place.command("settlement", "cancel", identity, env=stranger)
    assert ("not_a_party", 1) == (refused["error"], refused["code"])
    assert "too_early" == (await place.hand("refund", identity))["error"]
    done = await place.command("settlement", "cancel", identity, "--by", "seller")
    assert ("done", "refunded", 0) == (done["status"], done["state"], done["code"])
    again = await place.command("settlement", "cancel", identity, "--by", "buyer")
    assert ("already", None, 0) == (again["status"], again["tx"], again["code"])
    assert "already" == (await place.hand("refund", identity))["status"]
    shown = await place.hand("show", identity)
    assert ("refunded", "cancelled") == (shown["state"], shown["reason"])
    assert before == await place.balances()
    # The seller goes on selling: no nonce of its was lost.
    later = await place.created()
    assert "created" == (await place.hand("show", later))["state"]


async def refunding(place: Place) -> None:
    before = await place.balances()
    soon, late = await place.created(), await place.created()
    done = await place.hand("refund", soon, "facilitator")
    assert ("done", "refunded") == (done["status"], done["state"])
    assert "by_hand" == (await place.hand("show", soon))["reason"]
    shown = await place.hand("show", late)
    await place.sleep_until_after(shown["fund_deadline"])
    assert "expired" == (await place.hand("show", late))["state"]
    # Twice at once is one transaction.
    both = [place.hand("refund", late, "buyer") for _ in range(2)]
    told = await asyncio.gather(*both)
    assert {"refunded"} == {each.get("state") for each in told}, told
    assert 1 == len({each["tx"] for each in told if each["tx"]})
    shown = await place.hand("show", late)
    assert ("refunded", "expired") == (shown["state"], shown["reason"])
    assert before == await place.balances()
    for wrong, code in (("0x12", "invalid_settlement_id"), (NOBODY, "unknown_settlement")):
        for act in ("show", "cancel", "refund", "claim"):
            refused = await place.hand(act, wrong)
            assert code == refused["error"]


async def claiming(place: Place) -> None:
    """USDC blocks the seller just before it is paid: its price is parked."""
    nothing = await place.hand("rescue", "usdc")
    assert "nothing_to_rescue" == nothing["error"]
    seller = key_of("seller").address
    await place.transact("deployer", "MockUSDC", "setBlocked", seller, True)
    before = await place.balances()
    identity = await place.created()
    await place.state(identity, "executed")
    shown = await place.hand("show", identity)
    assert [110_000_000] == [each["amount"] for each in shown["parked"]]
    late = await place.hand("cancel", identity)
    assert "state_moved" == late["error"]
    blocked = await place.hand("claim", identity, "seller")
    assert "token_refused" == blocked["error"]
    empty = await place.hand("claim", identity, "buyer")
    assert "nothing_to_claim" == empty["error"]
    await place.transact("deployer", "MockUSDC", "setBlocked", seller, False)
    done = await place.hand("claim", identity, "seller")
    usdc = place.chain.addresses.usdc
    assert ((usdc, 110_000_000),) == done["amounts"]
    after = await place.balances()
    assert 110_000_000 == after["seller", "USDC"] - before["seller", "USDC"]
    again = await place.hand("claim", identity, "seller")
    assert "nothing_to_claim" == again["error"]
    await rescuing(place, before=after)


async def rescuing(place: Place, before: dict[tuple[str, str], int]) -> None:
    """Somebody sends EURC to the vault by mistake; its admin sends it back."""
    vault, buyer = place.chain.addresses.vault, place.accounts["buyer"]
    for amount in (7_000_000, 5):
        await place.transact("buyer", "MockEURC", "transfer", vault, amount)
        theirs = {"DEPLOYER_PRIVATE_KEY": STRANGER.secret}
        refused = await place.hand("rescue", "eurc", env=theirs)
        assert "not_allowed" == refused["error"]
        done = await place.command("rescue", "eurc", "--to", buyer)
        assert [[place.chain.addresses.eurc, amount]] == done["amounts"]
        assert "nothing_to_rescue" == (await place.hand("rescue", "eurc"))["error"]
    assert before == await place.balances()
    assert "invalid_setting" == (await place.hand("rescue", "gold"))["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "facilitator"),
    [(cancelling, False), (refunding, False), (claiming, True)],
    ids=["cancel", "refund", "claim and rescue"],
)
def test_by_hand(story: Story, facilitator: bool, tmp_path: Path) -> None:
    """Once each, whoever asks how often; errors name what is wrong."""
    tell(story, tmp_path, facilitator=facilitator)


def test_without_a_world_or_settings_it_says_so(tmp_path: Path) -> None:
    """No chain, no key: the setting is named."""

    async def ask() -> Any:
        place = object.__new__(Place)
        place.folder = tmp_path
        return await place.command("settlement", "show", NOBODY)

    told = asyncio.run(ask())
    assert ("invalid_setting", "POLYGON_AMOY_RPC_URL") == (told["error"], told["setting"])

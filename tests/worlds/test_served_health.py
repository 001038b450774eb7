"""A served world whose node goes wrong: no process ends, and each says what is wrong, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from workbench.core.errors import NoBaseFee, WorkbenchError
from workbench.core.ports import Request
from workbench.evm.node.anvil import DEFAULT_CHAIN_ID
from workbench.services.common.loop import FaultPolicy
from workbench.settings import Settings
from workbench.worlds import served
from workbench.worlds.local import LocalWorld, boot_served
from workbench.worlds.remote import live_payouts
from workbench.worlds.served import Served, WallClock
from workbench.worlds.wiring import loop_of

WITHIN_S = 40.0
ALL = ("seller", "facilitator", "tracker", "payouts")


async def ask(world: LocalWorld, name: str, path: str) -> tuple[int, Any]:
    url = f"{world.servers[name].url}{path}"
    answer = await world.wiring.http("test").send(Request("GET", url))
    return answer.status, answer.data()


async def until(world: LocalWorld, check: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until it holds of the alarms of every service."""
    async with asyncio.timeout(WITHIN_S):
        while not all(check(world.alarms().get(name, {})) for name in ALL):
            await world.wiring.clock("test").sleep(0.1)


async def story(folder: Path) -> None:
    node, deployment = boot_served(DEFAULT_CHAIN_ID, lambda _: None)
    try:
        settings = Settings.load({}, folder, world={})
        async with LocalWorld(node, deployment, folder, settings, auto_ports=True) as world:
            await until(world, lambda alarms: alarms == {})
            for name in ALL:
                assert 200 == (await ask(world, name, "/readyz"))[0]
                status, told = await ask(world, name, "/health")
                assert (200, "ok", {}) == (status, told["status"], told["alarms"])
                assert all(check["ok"] for check in told["checks"].values())
            rpc = world.wiring.chain("test").rpc
            await rpc.call("anvil_setChainId", 99)
            await until(world, lambda alarms: list(alarms) == ["chain_id"])
            for name in ALL:
                status, told = await ask(world, name, "/readyz")
                assert 503 == status
                assert "on chain 99, the settings say 31337" in told["alarms"]["chain_id"]
            await rpc.call("anvil_setChainId", DEFAULT_CHAIN_ID)
            await until(world, lambda alarms: alarms == {})
            node.stop()
            await until(world, lambda alarms: "chain" in alarms)
            for name in ALL:
                status, told = await ask(world, name, "/health")
                assert (200, "degraded") == (status, told["status"])
                assert "no chain at" in told["alarms"]["chain"]
                assert 200 == (await ask(world, name, "/livez"))[0]
                assert 503 == (await ask(world, name, "/readyz"))[0]
            assert (await ask(world, "seller", "/health"))[1]["block"] is None
            assert not any(task.done() for task in world._tasks)
    finally:
        node.stop()


@pytest.mark.slow
def test_a_node_that_becomes_another_chain_and_then_goes_away(tmp_path: Path) -> None:
    """Nothing is done on another chain; /health answers without a node."""
    asyncio.run(story(tmp_path))


def test_a_service_whose_work_ends_by_a_fault_is_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounds take care of their own faults; should one escape, the process goes on all the same."""
    monkeypatch.setattr(served, "BACKOFF_MOST_S", 0.01)
    runs: list[dict[str, str]] = []

    class Defective:
        health = loop_of("seller", WallClock(), FaultPolicy.RETRY).health

        async def run(self) -> None:
            runs.append(self.health.alarms())
            if len(runs) < 3:
                raise KeyError("status")
            raise asyncio.CancelledError

    seat: Any = served.LateBoundHandler("seller")
    seat.service = Defective()
    nobody: Any = None
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Served._supervise(nobody, seat))
    assert [[], ["rounds"], ["rounds"]] == [list(alarms) for alarms in runs]


# --- What refuses a start ---


async def start(folder: Path, body: Callable[[str], Any], tell: Callable[[str], None]) -> None:
    """Start a payout service on a node that answers so; `tell` gets its error."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        said = body(asked["method"])
        if isinstance(said, bytes):
            return web.Response(body=said)
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": said})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    environ = {
        "WEB3_PROVIDER_URL": f"http://127.0.0.1:{port}",
        "PAYOUT_PRIVATE_KEY": "0x" + "17" * 32,
        "DB_PATH": str(folder / "app.db"),
        "DATA_DIR": str(folder),
        "CHAIN_ID": "5",
        "PORT": "0",
    }
    try:
        async with await live_payouts(Settings.load(environ, folder, world={})):
            tell("")
    except WorkbenchError as why:
        tell(f"{why.code}: {why}")
    finally:
        await runner.cleanup()


def told_at_start(folder: Path, body: Callable[[str], Any]) -> str:
    said: list[str] = []
    asyncio.run(start(folder, body, said.append))
    return said[0]


ZERO = "0x" + "00" * 32
BLOCK = {
    "number": "0x7", "hash": "0x" + "aa" * 32, "parentHash": ZERO, "timestamp": "0x65000000",
    "gasLimit": "0x1c9c380", "gasUsed": "0x0", "logsBloom": "0x" + "00" * 256,
    "transactions": [], "miner": "0x" + "00" * 20, "stateRoot": ZERO, "receiptsRoot": ZERO,
    "transactionsRoot": ZERO, "sha3Uncles": ZERO, "difficulty": "0x0", "extraData": "0x",
    "mixHash": ZERO, "nonce": "0x0000000000000000", "size": "0x1", "uncles": [],
}  # fmt: skip


def sane(method: str) -> Any:
    """A chain 5 of one block."""
    return {
        "eth_chainId": "0x5",
        "eth_getCode": "0x",
        "eth_blockNumber": "0x7",
        "eth_getBlockByNumber": {**BLOCK, "baseFeePerGas": "0x7"},
        "eth_getTransactionCount": "0x0",
        "eth_getBalance": "0x0",
    }.get(method)


def test_a_sane_node_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """What the refusals below are compared with."""
    assert "" == told_at_start(tmp_path, sane)


def test_a_chain_without_eip1559_refuses_the_start(tmp_path: Path) -> None:
    told = told_at_start(tmp_path, lambda m: BLOCK if m == "eth_getBlockByNumber" else sane(m))
    assert told.startswith(f"{NoBaseFee.code}: the chain's newest block has no base fee")


@pytest.mark.parametrize(
    "nonsense", [b"", b"<html>", b"{}", b"[]", b"null", None, {}, [], "0x", "text", 5, True]
)
def test_nonsense_at_the_start_is_one_clear_error(nonsense: Any, tmp_path: Path) -> None:
    """Not a traceback: an error of ours, which names the method or the node."""
    told = told_at_start(tmp_path, lambda _: nonsense)
    assert told.startswith("rpc_")
    assert "eth_chainId" in told or "127.0.0.1" in told


def test_the_wrong_chain_refuses_the_start(tmp_path: Path) -> None:
    told = told_at_start(tmp_path, lambda m: "0x6" if m == "eth_chainId" else sane(m))
    assert told.startswith("wrong_chain: the node is on chain 6, CHAIN_ID says 5.")

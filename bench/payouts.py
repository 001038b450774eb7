"""Payouts per second: accepted over HTTP against the bare transaction, and mined against the node.

Accepted: a service in a process of its own, keep-alive connections, a database on disk that is
durable at every answer; against the accept-and-hold transaction alone, in one process, on the same
disk. Mined: from the first signature to the last block, against a fresh node that gets the same
blocks again (their hash must be equal). Pace: with the default settings and blocks of 12 s, on
virtual time, how much of what the limit of unmined transactions allows each block has
(`of_in_flight_per_block`, 1.0 is all).

    python -m bench.payouts [--payouts 1000] [--connections 16] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.common import ending, floor, timed_replay
from bench.settlements import miner
from workbench.core.errors import WorkbenchError
from workbench.core.payout import PayoutState
from workbench.core.pricing import Price
from workbench.evm.node.boot import boot
from workbench.evm.node.replay import recorded
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import HttpRpc
from workbench.scenario.model import ChainSettings
from workbench.services.payouts.input import PayoutInput
from workbench.services.payouts.rounds import Payouts
from workbench.settings import Settings
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.conditions import WorldConditions
from workbench.worlds.factories import LOCAL_FINALITY, addresses_of, local_keys
from workbench.worlds.rules import WorldRules
from workbench.worlds.served import Served, ServedChain, credits_of
from workbench.worlds.virtual import World

TO = 0xBE9C4 << 120
IN_FLIGHT = 1_000
BLOCK_MS, PACED_BLOCKS = 12_000, 20
"""Ethereum's blocks; and in how many of them the pace at the defaults is measured."""
POLL_S = 0.5


def asked(number: int) -> PayoutInput:
    return PayoutInput("bench", 1, f"key-{number}", f"0x{TO + number:040x}")


def service_of(served: Served) -> Payouts:
    return served.wiring.payouts().payouts


def place_on(url: str, where: Any) -> ServedChain:
    return ServedChain(
        rpc_url=url,
        chain_id=where.chain_id,
        addresses=addresses_of(where.addresses),
        start_block=where.deploy_block - 1,
        keys=local_keys(),
        finality=LOCAL_FINALITY,
    )


def settings_in(folder: Path, **more: str) -> Settings:
    return Settings.load(environ={"POLL_INTERVAL_MS": "20", **more}, folder=folder, world={})


async def bare(place: ServedChain, folder: Path, count: int) -> float:
    """Accept-and-hold transactions per second, and nothing around them."""
    served = Served(place, folder, settings_in(folder), names=("payouts",), auto_ports=True)
    served.wiring = served.wire()
    payouts = service_of(served)
    try:
        await payouts.check()
        await payouts.earn(PayoutInput("bench", 10**9, "credits"))
        start = time.perf_counter()
        for number in range(count):
            await payouts.request(asked(number))
        return count / (time.perf_counter() - start)
    finally:
        await served.close()


# --- Accepted, over HTTP ---


async def client(host: str, port: int, numbers: Any) -> None:
    """One connection, kept open: a request, its whole answer, the next."""
    reader, writer = await asyncio.open_connection(host, port)
    for number in numbers:
        body = json.dumps(
            {
                "user_id": "bench",
                "credits": 1,
                "address": f"0x{TO + number:040x}",
                "idempotency_key": f"key-{number}",
            }
        ).encode()
        head = (
            f"POST /v1/payouts HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
        )
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 202 " not in answer.split(b"\r\n")[0]:
            raise WorkbenchError(f"not accepted: {answer!r}.")
        lines = answer.lower().split(b"\r\n")
        length = next(line for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()


async def over_http(url: str, count: int, connections: int) -> float:
    """Accepted payouts per second."""
    host, port = url.removeprefix("http://").split(":")
    left = iter(range(count))
    start = time.perf_counter()
    await asyncio.gather(*(client(host, int(port), left) for _ in range(connections)))
    return count / (time.perf_counter() - start)


def accepted(node_url: str, where: Any, folder: Path, count: int, connections: int) -> float:
    """The same through a server in a process of its own; another one would be the sender."""
    own = {
        "WEB3_PROVIDER_URL": node_url,
        "PAYOUT_PRIVATE_KEY": str(local_keys().payer),
        "CHAIN_ID": str(where.chain_id),
        "PORT": "0",
        "DB_PATH": str(folder / "app.db"),
    }
    sender = LedgerStore(f"sqlite:///{folder / 'app.db'}")
    is_held = sender.lease()
    assert is_held
    command = [sys.executable, "-m", "tests.services.payouts.crashing_process", "after", "0"]
    with subprocess.Popen(
        command, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            asyncio.run(_earn(url))
            return asyncio.run(over_http(url, count, connections))
        finally:
            server.kill()
            sender.close()


async def _earn(url: str) -> None:
    from workbench.core.ports import Request
    from workbench.web.client import SocketHttp

    http = SocketHttp()
    body = json.dumps({"user_id": "bench", "credits": 10**9}).encode()
    headers = (("Content-Type", "application/json"),)
    await http.send(Request("POST", f"{url}/earn", headers=headers, body=body))
    await http.close()


# --- Mined ---


async def pay(place: ServedChain, folder: Path, count: int) -> float:
    """Seconds from the first signature until all are mined; they were accepted before."""
    settings = settings_in(folder, PAYOUTS_IN_FLIGHT=str(IN_FLIGHT))
    served = Served(place, folder, settings, names=("payouts",), auto_ports=True)
    served.wiring = served.wire()
    payouts, rpc, stop = service_of(served), HttpRpc(place.rpc_url), asyncio.Event()
    await payouts.check()
    await payouts.earn(PayoutInput("bench", 10**9, "credits"))
    for number in range(count):
        await payouts.request(asked(number))
    start = time.perf_counter()
    tasks = [asyncio.ensure_future(miner(rpc, stop)), asyncio.ensure_future(payouts.run())]
    try:
        clock = payouts.clock
        while await _nonce(rpc, payouts) < count:
            await clock.sleep(0.025)
        seconds = time.perf_counter() - start
        while len(await _paid(payouts)) < count:
            await clock.sleep(0.05)
        return seconds
    finally:
        stop.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await rpc.close()
        await served.close()


async def _nonce(rpc: HttpRpc, payouts: Payouts) -> int:
    address = payouts.payments.address
    return int(await rpc.call("eth_getTransactionCount", address, "latest"), 16)


async def _paid(payouts: Payouts) -> Any:
    async with payouts.store.unit() as unit:
        return await unit.payouts(PayoutState.PAID)


def mined(count: int, folder: Path) -> tuple[float, float]:
    """Payouts per second: ours, and the node's own with the same blocks."""
    node, where = boot()
    with node:
        rpc = BlockingRpc(node.url)
        first = int(rpc.now("eth_blockNumber"), 16) + 1
        seconds = asyncio.run(pay(place_on(node.url, where), folder, count))
        blocks, ended = recorded(rpc, first), ending(rpc)
    node, _ = boot()
    with node:
        rpc = BlockingRpc(node.url)
        again, same = timed_replay(rpc, blocks), ending(rpc)
    if same != ended:
        raise WorkbenchError(f"void: the replay ended in {same}, the run in {ended}.")
    return count / seconds, count / again


# --- Pace at the defaults ---


def paced(blocks: int) -> float:
    """Payouts in each block of 12 s, on virtual time and a real node, with default settings.

    More are accepted than can be paid. The first two blocks, in which the service starts, and the
    last are left out.
    """
    settings = Settings.load(environ={}, folder=Path("/nonexistent"), world={})
    limit = settings["PAYOUTS_IN_FLIGHT"]
    rules = WorldRules(price=Price.parse("1.10"), finality=settings.finality, poll_s=POLL_S)
    conditions = WorldConditions(
        chain=ChainSettings(block_time_ms=BLOCK_MS, finality_blocks=settings.finality.depth),
        services=("tracker", "payouts"),
        credits=replace(credits_of(settings), reconcile_s=settings["RECONCILE_EVERY_S"]),
    )
    node, where = boot()
    world = World(node, where, addresses_of(where.addresses), local_keys(), rules, 1, conditions)
    with world:
        payouts = world.payouts.payouts
        first = limit * (blocks + 4)
        world.do(payouts.earn(PayoutInput("bench", 10**9, "credits")))
        for number in range(first):
            world.do(payouts.request(asked(number)))
        start = int(node.call("eth_blockNumber"), 16)
        world.advance(blocks + 3)
        sizes = [
            len(node.call("eth_getBlockByNumber", hex(number), False)["transactions"])
            for number in range(start + 3, start + 3 + blocks)
        ]
    return sum(sizes) / len(sizes) / int(limit)


def main() -> int:
    """Best of the rounds of each side; 1 if the machine is too busy to tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payouts", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    machine, rows = floor(), []
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            node, where = boot(block_time=0.2)
            with node:
                place = place_on(node.url, where)
                alone = asyncio.run(bare(place, Path(folder) / "bare", chosen.payouts))
                served = accepted(node.url, where, Path(folder), chosen.payouts, chosen.connections)
            ours, nodes = mined(chosen.payouts, Path(folder) / "mined")
        rows.append((served, alone, ours, nodes))
    names = ("accepted_per_s", "bare_per_s", "mined_per_s", "node_per_s")
    best = {name: max(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    told = {
        "payouts": chosen.payouts,
        "floor": round(machine),
        **{n: round(v, 1) for n, v in best.items()},
    }
    told["of_in_flight_per_block"] = round(paced(PACED_BLOCKS), 3)
    told["accepted_ratio"] = round(best["accepted_per_s"] / best["bare_per_s"], 2)
    told["mined_ratio"] = round(best["mined_per_s"] / best["node_per_s"], 3)
    if chosen.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:16} {value}")
    return 0 if machine >= 1_000 else 1


if __name__ == "__main__":
    sys.exit(main())

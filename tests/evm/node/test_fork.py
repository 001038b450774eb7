"""Worlds on top of another chain: one local anvil is forked from another.

The upstream calls itself Sepolia, and has what a public chain has: people's tokens and ether,
Uniswap's PoolManager at its official address, and test accounts that strangers have let run code.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.test_cli import run, start, until
from tests.commands.amoy import mining
from workbench import World, fork
from workbench.core.errors import BlockMissing, InvalidSetting, RpcUnreachable, WorkbenchError
from workbench.evm.build.artifacts import load
from workbench.evm.codec import abi
from workbench.evm.deploy.addresses import CREATE2_DEPLOYER, SALT, create2_address, create_address
from workbench.evm.deploy.uniswap import POOL_MANAGERS, is_packaged_code
from workbench.evm.node.anvil import Anvil
from workbench.evm.node.boot import boot
from workbench.evm.node.fork import boot_fork, look_up
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.transactions.test_keys import TEST_KEYS, key_of

SEPOLIA = 11155111
SOMEBODY = "0x" + "5b" * 20
BEGAN = 1_780_000_000


@dataclass(frozen=True)
class Foreign:
    """Somebody else's chain, and a token on it."""

    node: Anvil
    token: str

    def head(self) -> dict[str, Any]:
        return dict(self.node.call("eth_getBlockByNumber", "latest", False))


def send(node: Anvil, to: str, data: bytes) -> None:
    """One transaction of somebody, mined and successful."""
    call = {"from": TEST_KEYS[9].address, "to": to, "data": abi.to_hex(data)}
    sent = node.call("eth_sendTransaction", call)
    receipt = until(lambda: node.call("eth_getTransactionReceipt", sent))
    assert receipt["status"] == "0x1"


def put_official_pool_manager(node: Anvil, at: str) -> None:
    """The package's code, with the one immutable it has: its own address."""
    owner = TEST_KEYS[9].address
    code = load("PoolManager").bytecode + bytes.fromhex(owner[2:]).rjust(32, b"\0")
    send(node, CREATE2_DEPLOYER, SALT + code)
    made = create2_address(code)
    runtime = node.call("eth_getCode", made, "latest")
    node.call("anvil_setCode", at, runtime.replace(made[2:].lower(), at[2:].lower()))


@pytest.fixture(scope="module")
def foreign() -> Iterator[Foreign]:
    with Anvil(chain_id=SEPOLIA, automine=True, genesis_time=BEGAN, prune=8) as node:
        node.call("anvil_setBlockTimestampInterval", 12)
        put_official_pool_manager(node, POOL_MANAGERS[SEPOLIA])
        mint = abi.encode_call("MockUSDC", "mint", SOMEBODY, 123_456_789)
        admin = bytes.fromhex(TEST_KEYS[9].address[2:]).rjust(32, b"\0")
        code = load("MockUSDC").bytecode + admin
        send(node, CREATE2_DEPLOYER, SALT + code)
        send(node, create2_address(code), mint)
        node.call("anvil_setBalance", SOMEBODY, hex(7 * 10**18))
        # As bots did on Sepolia: EIP-7702 lets an account name code to run.
        node.call("anvil_setCode", key_of("buyer").address, "0xef0100" + "12" * 20)
        node.mine(20)
        yield Foreign(node, create2_address(code))


@pytest.fixture(scope="module")
def world(foreign: Foreign) -> Iterator[World]:
    """Deployed on the fork through Ape, once for these tests."""
    with fork(foreign.node.url, seed=3) as world:
        yield world


def test_the_upstream_is_seen_through_the_fork(world: World, foreign: Foreign) -> None:
    """Ether, tokens, code and blocks of the other chain are visible; the chain is not changed."""
    web3 = world.web3
    assert (web3.eth.chain_id, world.deployment.chain_id) == (SEPOLIA, SEPOLIA)
    assert web3.eth.get_balance(web3.to_checksum_address(SOMEBODY)) == 7 * 10**18
    token = web3.eth.contract(foreign.token, abi=load("MockUSDC").abi)
    assert token.functions.balanceOf(web3.to_checksum_address(SOMEBODY)).call() == 123_456_789
    head = foreign.head()
    height = int(head["number"], 16)
    assert web3.eth.get_block(height)["hash"].to_0x_hex() == head["hash"]
    assert web3.eth.block_number > height
    vault = world.deployment["SettlementVault"]
    assert foreign.node.call("eth_getCode", vault, "latest") == "0x"
    assert world.now > int(head["timestamp"], 16)


def test_a_whole_settlement_on_a_fork(world: World) -> None:
    """Through Uniswap's own PoolManager, by a buyer whom strangers had let run code."""
    manager = world.deployment["PoolManager"]
    assert manager == POOL_MANAGERS[SEPOLIA]
    code = world.rpc.now("eth_getCode", manager, "latest")
    assert is_packaged_code(bytes.fromhex(code[2:]))
    assert not is_packaged_code(b"\xfe" + bytes.fromhex(code[4:]))
    before = world.snapshot()
    run = world.buy("100")
    assert run.settlement_id is not None
    assert world.settlement(run.settlement_id).status == "executed"
    world.audit()
    first = run.stages()
    before.restore()
    assert world.buy("100").stages() == first


def test_a_fork_is_a_node_of_ours(world: World) -> None:
    """Marked, so test keys are safe; each has gas, and no code."""
    assert world.rpc.now("eth_getCode", MARKER_ADDRESS, "latest") == MARKER_CODE
    for key in TEST_KEYS[5:]:
        assert int(world.rpc.now("eth_getBalance", key.address, "latest"), 16) == 10_000 * 10**18
    assert world.rpc.now("eth_getCode", key_of("buyer").address, "latest") == "0x"


def test_what_is_there_already_is_found(tmp_path: Path) -> None:
    """A fork of a world of ours: nothing is deployed again, whatever the fork's chain id."""
    upstream, where = boot()
    told: list[str] = []
    with upstream, fork(upstream.url, chain_id=777, progress=told.append) as world:
        assert world.deployment.addresses == where.addresses
        assert world.deployment.deploy_block == where.deploy_block
        assert world.web3.eth.chain_id == 777
        assert len([text for text in told if "already" in text]) == len(told) - 1
        assert world.now - world._epoch == 0
        assert world.get("http://seller/buy-asset?amount=1").status == 402


def test_up_on_a_fork_of_an_earlier_block(foreign: Foreign, tmp_path: Path) -> None:
    """`up --fork` says of what, hides what the URL may hide, and a purchase settles there."""
    upstream, where = boot()
    with upstream:
        height = int(upstream.call("eth_blockNumber"), 16)
        upstream.mine(3)
        url = upstream.url.replace("//", "//user:secretword@") + "/?key=apikey0123456789"
        arguments = ("--fork", url, "--fork-block", str(height), "--chain-id", "80002")
        running = start(tmp_path, *arguments)
        try:
            file = (tmp_path / ".workbench" / "world.json").read_text(encoding="utf-8")
            world = running.world
            assert world == json.loads(file)
            assert world["fork"] == {"url": upstream.url, "block": height, "chain_id": 31337}
            assert (world["chain_id"], world["addresses"]) == (80002, where.addresses)
            shown = (
                file
                + (tmp_path / "stderr.txt").read_text(encoding="utf-8")
                + _arguments(running.process.pid)
            )
            assert "secretword" not in shown
            assert "apikey0123456789" not in shown
            with mining(world["rpc_url"]):
                done = run("buy", "1yps", "--json", cwd=tmp_path)
            assert json.loads(done.stdout.splitlines()[-1])["status"] == "executed", done.stderr
            assert run("doctor", cwd=tmp_path).returncode == 0
        finally:
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(20) == 0


def _arguments(pid: int) -> str:
    """What the list of processes shows of those that a command has started."""
    return " ".join(" ".join(p.cmdline()) for p in psutil.Process(pid).children(recursive=True))


# --- Bad input ---


class _NoNode(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>nothing here</html>")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def web_page() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _NoNode)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refused(kind: type[WorkbenchError], url: str, block: int | None = None) -> str:
    """The message of the error, which has a remedy and quotes no secret."""
    with pytest.raises(kind) as caught:
        fork(url, block)
    assert caught.value.hint
    assert "secretword" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://x", "http://", "http://x:port"])
def test_what_is_no_url_is_refused(url: str) -> None:
    assert "not an http(s) URL" in refused(InvalidSetting, url)


def test_an_unreachable_upstream_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = refused(RpcUnreachable, f"http://127.0.0.1:{port}/secretword")
    assert f"http://127.0.0.1:{port}" in told
    assert "correct the URL" in told


def test_an_upstream_that_is_no_node_is_named(web_page: str) -> None:
    told = refused(RpcUnreachable, web_page)
    assert web_page in told
    assert "HTTP status 404" in told


def test_a_block_in_the_future_is_named(foreign: Foreign) -> None:
    height = int(foreign.head()["number"], 16)
    told = refused(BlockMissing, foreign.node.url, height + 1)
    assert f"block {height + 1} is in the future" in told
    assert f"up to {height}" in told


def test_a_block_whose_state_is_forgotten_is_named(foreign: Foreign) -> None:
    told = refused(BlockMissing, foreign.node.url, 2)
    assert "no state of block 2" in told
    assert "archive node" in told


def test_up_names_them_too(foreign: Foreign, tmp_path: Path) -> None:
    """As an error of the command, without a trace, and without leaving a world behind."""
    done = run("up", "--fork", foreign.node.url, "--fork-block", "99999", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], told["error"]) == (1, "failed", "block_missing")
    assert not (tmp_path / ".workbench").exists()
    done = run("up", "--fork-block", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "--fork-block needs --fork" in done.stderr


def test_a_fork_that_cannot_be_built_leaves_no_node(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RpcUnreachable("planted")

    monkeypatch.setattr("workbench.evm.node.fork.deploy", fail)
    before = len(psutil.Process().children())
    with pytest.raises(RpcUnreachable, match="planted"):
        boot_fork(foreign.node.url)
    assert len(psutil.Process().children()) == before
    assert look_up(foreign.node.url).chain_id == SEPOLIA


def test_the_first_contract_of_a_contract_is_where_create_puts_it() -> None:
    """A known creator, and the address of its nonce 1."""
    creator = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    assert create_address(creator).lower() == "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"

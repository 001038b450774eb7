"""The node: on a port of its own, the same each time, and gone with its program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from workbench.core.errors import PortTaken, RpcFault, RpcUnreachable, ToolMissing
from workbench.evm.build.toolchain import anvil_binary
from workbench.evm.node.anvil import GENESIS_TIME, HOST, Anvil
from workbench.evm.transactions.test_keys import key_of

BUYER = key_of("buyer").address

# A program that starts a node, tells its port and its leash, and does something.
PROGRAM = """
from workbench.evm.node.anvil import Anvil
node = Anvil()
print(node.port, node.pid, flush=True)
{then}
"""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def eventually(condition: Callable[[], bool], limit_s: float = 5.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def start_program(then: str) -> tuple[subprocess.Popen[str], int, int]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(then=then)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout
    with program.stdout:
        port, leash = map(int, program.stdout.readline().split())
    return program, port, leash


def number(text: str) -> int:
    return int(text, 16)


def test_it_boots_on_a_free_port_and_answers() -> None:
    with Anvil(chain_id=80002) as node:
        assert number(node.call("eth_chainId")) == 80002
        assert node.url == f"http://{HOST}:{node.port}"
        assert number(node.call("eth_getBalance", BUYER, "latest")) == 10_000 * 10**18
        port = node.port
    assert not answers(port)
    assert not node.alive


def test_many_at_once_have_ports_of_their_own() -> None:
    with ThreadPoolExecutor(6) as pool:
        nodes = list(pool.map(lambda _: Anvil(), range(6)))
    try:
        assert len({node.port for node in nodes}) == 6
    finally:
        for node in nodes:
            node.stop()


def test_two_nodes_make_the_same_chain() -> None:
    hashes = []
    for _ in range(2):
        with Anvil() as node:
            genesis = node.call("eth_getBlockByNumber", "0x0", False)
            assert number(genesis["timestamp"]) == GENESIS_TIME
            node.call("eth_sendTransaction", {"from": BUYER, "to": BUYER, "value": "0x1"})
            node.call("evm_mine", {"timestamp": GENESIS_TIME + 5})
            hashes.append(node.call("eth_getBlockByNumber", "latest", False)["hash"])
    assert hashes[0] == hashes[1]


def test_it_mines_only_when_told_or_by_itself_when_asked() -> None:
    with Anvil() as node:
        node.call("eth_sendTransaction", {"from": BUYER, "to": BUYER})
        assert number(node.call("eth_blockNumber")) == 0
        node.mine(3)
        assert number(node.call("eth_blockNumber")) == 3
    with Anvil(block_time=0.05, genesis_time=None) as node:
        assert eventually(lambda: number(node.call("eth_blockNumber")) >= 2)
        latest = node.call("eth_getBlockByNumber", "latest", False)
        assert abs(number(latest["timestamp"]) - time.time()) < 5


def test_receipts_and_logs_outlive_the_pruned_states() -> None:
    with Anvil() as node:
        transaction = node.call("eth_sendTransaction", {"from": BUYER, "to": BUYER})
        node.call("anvil_mine", hex(300))
        assert number(node.call("eth_getTransactionReceipt", transaction)["blockNumber"]) == 1


def test_a_node_can_fork_another() -> None:
    with Anvil() as template:
        template.mine(2)
        with Anvil(fork_url=template.url, fork_block=1) as node:
            assert number(node.call("eth_blockNumber")) == 1
            assert number(node.call("eth_getBalance", BUYER, "latest")) == 10_000 * 10**18


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)) as caught:
            Anvil(port=port)
    assert caught.value.hint


def test_a_port_lost_in_the_last_moment_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the other program came between our look and anvil's.
    monkeypatch.setattr("workbench.evm.node.anvil._require_free", lambda port: None)
    with Anvil() as other, pytest.raises(PortTaken, match=str(other.port)):
        Anvil(port=other.port)


def test_a_node_that_cannot_start_says_why() -> None:
    with pytest.raises(RpcUnreachable, match="unexpected argument '--no-such-option'"):
        Anvil(extra=("--no-such-option",))


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_ANVIL", "no-such-anvil")
    with pytest.raises(ToolMissing, match="no-such-anvil"):
        anvil_binary()


def test_a_wrong_call_and_a_dead_node_are_told_apart() -> None:
    with Anvil() as node, pytest.raises(RpcFault, match="eth_noSuchMethod"):
        node.call("eth_noSuchMethod")
    with pytest.raises(RpcUnreachable, match="has ended"):
        node.call("eth_chainId")


@pytest.mark.parametrize(
    "then",
    [
        "import time; time.sleep(60)",  # killed from outside, see below
        "",
        "raise SystemExit(3)",
        "import os; os._exit(1)",
    ],
)
def test_it_ends_with_its_program(then: str) -> None:
    program, port, leash = start_program(then)
    if then.startswith("import time"):
        (anvil,) = psutil.Process(leash).children()
        # In the same process group, so that whoever ends the group ends it.
        assert os.getpgid(anvil.pid) == os.getpgid(program.pid)
        program.send_signal(signal.SIGKILL)
    program.wait()
    assert eventually(lambda: not answers(port))
    assert eventually(
        lambda: not psutil.pid_exists(leash) or psutil.Process(leash).status() == "zombie"
    )


def test_a_terminated_leash_takes_the_node_along() -> None:
    with Anvil() as node:
        os.kill(node.pid, signal.SIGTERM)
        assert eventually(lambda: not node.alive)
        assert not answers(node.port)


def test_ctrl_c_leaves_the_end_to_the_program() -> None:
    with Anvil() as node:
        (anvil,) = psutil.Process(node.pid).children()
        for pid in (node.pid, anvil.pid):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.1)
        assert number(node.call("eth_chainId")) == 31337


def test_nothing_is_left_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Anvil() as node:
        node.call("anvil_mine", hex(200))
    assert not list(tmp_path.iterdir())


def test_the_environment_of_a_user_does_not_change_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_IP_ADDR", "0.0.0.1")
    with Anvil() as node:
        assert node.call("eth_chainId")

"""The commands as a person runs them: real processes, real HTTP, a real node."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from workbench.cli import worlds
from workbench.core.errors import NotebookFailed
from workbench.lab import execute

WORKBENCH = str(Path(sys.executable).with_name("workbench"))
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("SELLER_", "TRACKER_"))}


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Any:
    """One command to its end."""
    command = [WORKBENCH, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=CLEAN | (env or {}), capture_output=True, text=True, timeout=120
    )


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Await a condition of another process; its value."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if value := condition():
            return value
        time.sleep(0.02)  # Another process' doing cannot be awaited otherwise.
    raise AssertionError(f"not within {seconds} s")


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@dataclass
class Running:
    """A `workbench up --json --ports auto` that is ready."""

    process: subprocess.Popen[str]
    folder: Path
    world: dict[str, Any]

    def get(self, url: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON of one GET."""
        request = urllib.request.Request(url, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as why:
            return why.code, json.load(why)


def start(folder: Path, *more: str, env: dict[str, str] | None = None) -> Running:
    """Start a world in `folder`, and wait for its line."""
    command = [WORKBENCH, "up", "--json", "--ports", "auto", *more]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=CLEAN | (env or {}),
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr.txt").open("w", encoding="utf-8"),
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (folder / "stderr.txt").read_text(encoding="utf-8")
    return Running(process, folder, json.loads(line))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One served world for the tests that only talk to it."""
    running = start(tmp_path_factory.mktemp("up"))
    yield running
    running.process.terminate()
    running.process.wait(30)


def test_demo_settles_and_keeps_the_run(tmp_path: Path) -> None:
    """`demo --json` executes, says what it did in its last line, and leaves a run folder."""
    done = run("demo", "--json", "--ports", "auto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert (
        told["status"],
        told["asset_amount"],
        told["required_usdc"],
    ) == ("executed", 10**20, 110_000_000)
    assert 100_000_000 < told["eurc_spent"] <= 101_000_000
    names = [stage["name"] for stage in told["stages"]]
    assert [n for n in names if n in names[2:5]] == ["created", "funded", "swapped"]
    assert {"name", "block", "tx", "gas", "seconds"} == set(told["stages"][0])
    assert told["gas_total"] == sum(stage["gas"] or 0 for stage in told["stages"])
    folder = tmp_path / told["run_dir"]
    journal = [
        json.loads(line)
        for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    kinds = {fact["type"] for fact in journal}
    assert {"PaymentRequested", "SettlementExecuted", "AssetDelivered"} <= kinds
    page = (folder / "timeline.html").read_text(encoding="utf-8")
    assert told["settlement_id"] in page
    assert 'src="http' not in page
    paper = nbformat.read(tmp_path / told["notebook"], 4)  # type: ignore[no-untyped-call]
    assert (folder / "run.ipynb") == tmp_path / told["notebook"]
    assert {"run_dir": "."} == paper.metadata.papermill.parameters
    assert told["settlement_id"][:6] in str(paper.cells)
    assert str(tmp_path) not in str(paper)


class Failing:
    """A kernel that could not be."""

    def __init__(self, at: str) -> None:
        self.at, self.closed = at, False

    def begin(self, *_: Any, **__: Any) -> None:
        if self.at == "begin":
            raise NotebookFailed("the process is gone.")

    def finish(self) -> Path:
        raise NotebookFailed("cell 3 ended in ValueError: x.", hint="Open it.")

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("at", ["begin", "finish"])
def test_a_notebook_that_cannot_be_made_is_a_line(
    at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is there all the same: no error, no stack trace, and why."""
    kernel = Failing(at)
    monkeypatch.setattr(execute, "WarmKernel", lambda: kernel)
    with worlds.RunNotebook(wanted=True) as paper:
        paper.warm_up()
        paper.begin(Path("runs/x"))
    assert (None, True) == (paper.path, kernel.closed)
    told = capsys.readouterr().err
    assert told.startswith("     no notebook: ")
    assert 1 == told.count("\n")


def test_no_notebook_means_no_kernel() -> None:
    """`--no-notebook`, and a run that stopped before anything was served."""
    with worlds.RunNotebook(wanted=False) as paper:
        paper.warm_up()
        paper.begin(Path("runs/x"))
        assert paper._kernel is None
    with pytest.raises(ValueError), worlds.RunNotebook(wanted=True):
        raise ValueError


def test_up_describes_a_world_that_can_be_used(up: Running) -> None:
    """URLs, addresses and keys; the buyer holds EURC, USDC and ETH; the world file is private."""
    world = up.world
    for name in ("seller", "facilitator", "tracker"):
        assert _health(up, world[f"{name}_url"]) == (200, "ok")
    assert {"buyer", "seller", "facilitator"} <= set(world["keys"])
    assert all(key.startswith("0x") and len(key) == 66 for key in world["keys"].values())
    file = up.folder / ".workbench" / "world.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert world == json.loads(file.read_text(encoding="utf-8"))
    from web3 import HTTPProvider, Web3

    web3 = Web3(HTTPProvider(world["rpc_url"]))
    assert world["chain_id"] == web3.eth.chain_id
    buyer = web3.eth.account.from_key(world["keys"]["buyer"]).address
    assert web3.eth.get_balance(buyer) > 10**18
    for token in ("MockEURC", "MockUSDC"):
        abi = [_balance_of()]
        at = web3.eth.contract(world["addresses"][token], abi=abi)
        assert at.functions.balanceOf(buyer).call() >= 10**12


def _balance_of() -> Any:
    return {
        "type": "function",
        "name": "balanceOf",
        "stateMutability": "view",
        "inputs": [{"name": "", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }


def _health(up: Running, url: str) -> tuple[int, str]:
    status, body = up.get(f"{url}/health")
    return status, body["status"]


def test_buy_from_the_running_world(up: Running) -> None:
    """`buy` finds the world of its folder, and follows the settlement to its end."""
    done = run("buy", "100000000000000000000", "--json", cwd=up.folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["status"] == "executed"
    assert 100_000_000 < told["eurc_spent"] <= 101_000_000
    url = f"{up.world['seller_url']}/settlement/{told['settlement_id']}"
    final = until(lambda: (view := up.get(url)[1])["final"] and view)
    assert (final["status"], final["state"]) == ("executed", "executed")


def test_a_purchase_that_is_refunded_says_why_and_what_to_do(up: Running) -> None:
    """In the seeds' words; and the progress names no state that is none."""
    done = run("buy", "1yps", cwd=up.folder, env={"SLIPPAGE_BPS": "0"})
    assert done.returncode == 1
    assert "refunded: 1 YPS" in done.stdout
    told = "not executed: Swap failed: it would cost more than the buyer's budget (over_budget)."
    assert told in done.stderr
    assert "SLIPPAGE_BPS" in done.stderr
    assert "settlement is none" not in done.stderr


def test_an_interrupted_purchase_goes_on(up: Running) -> None:
    """Ctrl-C ends the looking, not the settlement, and says where to look."""
    process = subprocess.Popen(
        [WORKBENCH, "buy", "1yps"], cwd=up.folder, env=CLEAN, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    identity = ""
    for line in process.stderr:
        if line.startswith("settlement 0x"):
            identity = line.split()[1]
            process.send_signal(signal.SIGINT)
            break
    assert "goes on without us: workbench settlement show ID" in process.stderr.read()
    assert process.wait(20) == 130
    process.stderr.close()
    url = f"{up.world['seller_url']}/settlement/{identity}"
    until(lambda: up.get(url)[1].get("status") == "executed")


def test_a_second_world_in_a_folder_is_refused(up: Running) -> None:
    """Commands and notebooks there could not tell which one they were in."""
    file = up.folder / ".workbench" / "world.json"
    before = file.read_text(encoding="utf-8")
    done = run("up", "--ports", "auto", "--json", cwd=up.folder)
    assert (done.returncode, json.loads(done.stdout)["error"]) == (1, "world_runs")
    assert f"process {up.process.pid}" in done.stderr
    assert before == file.read_text(encoding="utf-8")


def test_a_settlement_in_a_browser_is_a_page(up: Running) -> None:
    """What programs get as JSON, people get on the tracker's page."""
    identity = "0x" + "ab" * 32
    url = f"{up.world['tracker_url']}/settlement/{identity}"
    assert 404 == up.get(url)[0]
    request = urllib.request.Request(url, headers={"Accept": "text/html,*/*"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert "text/html" in answer.headers["Content-Type"]
        assert answer.url.endswith(f"/#{identity}")


def test_raw_sockets_and_large_headers_get_answers(up: Running) -> None:
    """What no client library would send is answered, or refused, and the seller stays up."""
    url = up.world["seller_url"]
    amount = f"{url}/buy-asset?amount=1"
    big = {"X-PAYMENT": "A" * 20_000}
    status, body = up.get(amount, big)
    assert (status, body["error"]) == (431, "payment_too_large")
    at = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
    for raw in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000):
        # Tornado hangs up on what is no HTTP, and on headers above a megabyte.
        with contextlib.suppress(ConnectionError), socket.create_connection(at, 10) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    assert _health(up, url) == (200, "ok")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_parent_alone_ends_everything(tmp_path: Path, number: int) -> None:
    """No process and no port is left; after SIGINT and SIGTERM no world file either."""
    running = start(tmp_path)
    processes = family(running.process.pid)
    assert len(processes) > 1
    os.kill(running.process.pid, number)
    code = running.process.wait(20)
    psutil.wait_procs(processes, timeout=10)
    assert [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    if number != signal.SIGKILL:
        assert code == 0
        assert list((tmp_path / ".workbench").iterdir()) == []


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The error says which port, which service, and what to do; exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in (["demo"], ["up"]):
            done = run(*command, cwd=tmp_path, env={"SELLER_PORT": str(port)})
            assert done.returncode == 1
            assert f"port {port}, wanted by the seller, is taken." in done.stderr
            assert "--ports auto" in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (["buy", "0"], {}, "amount is 0"),
        (["buy", "1e18"], {}, "not a whole number"),
        (["buy", "-5"], {}, "No such option"),
        (["buy", "1.5"], {}, "or with the token's name (100yps)"),
        (["buy", "100yps"], {}, "workbench up"),
        (["demo", "--amount", "ten"], {}, "not a whole number"),
        (["demo", "--runs", "/dev/null/runs"], {}, "/dev/null/runs (--runs) cannot be made"),
        (["demo"], {"PRICE_PER_UNIT_USDC": "free"}, "PRICE_PER_UNIT_USDC"),
        (["demo"], {"SLIPPAGE_BPS": "100%"}, "SLIPPAGE_BPS"),
        (["up"], {"FINALITY_CONFIRMATIONS": "-1"}, "FINALITY_CONFIRMATIONS"),
        (["up", "--chain-id", "0"], {}, "--chain-id"),
        (["fly"], {}, "No such command"),
    ],
)
def test_wrong_words_get_a_clear_answer(
    tmp_path: Path, arguments: list[str], env: dict[str, str], says: str
) -> None:
    """No stack trace, the cause by name, a non-zero exit code."""
    done = run(*arguments, cwd=tmp_path, env=env)
    assert done.returncode in (1, 2)
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_buy_against_a_seller_that_is_not_there(up: Running) -> None:
    """The URL is named, and what to do; as JSON too."""
    done = run("buy", "1yps", "--json", "--seller-url", "http://127.0.0.1:9", cwd=up.folder)
    assert done.returncode == 1
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert (told["status"], told["error"]) == ("failed", "peer_unreachable")
    assert "http://127.0.0.1:9" in told["message"]


def test_help_teaches(tmp_path: Path) -> None:
    """Every command explains itself."""
    for command in ("", "demo", "up", "buy", "deploy", "env"):
        done = run(*command.split(), "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "Usage: workbench" in done.stdout


def test_help_lists_commands_by_whole_sentences(tmp_path: Path) -> None:
    for command in ("", "ledger", "scenario", "settlement"):
        told = run(*command.split(), "--help", cwd=tmp_path).stdout
        assert told.partition("Commands:")[2].strip()
        assert "..." not in told.partition("Commands:")[2], command

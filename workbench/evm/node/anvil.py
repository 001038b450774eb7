"""One anvil node as an object: started on a free port, ended with the program.

`with Anvil() as node:` boots in about 60 ms. All calls are synchronous and safe from any thread;
asynchronous code uses its own RPC adapter on `node.url`.
"""

from __future__ import annotations

import http.client
import itertools
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from workbench.core.errors import ChainError, PortTaken, RpcUnreachable
from workbench.evm.build.toolchain import anvil_binary, cache_dir, write_atomically
from workbench.evm.codec import jsonrpc
from workbench.evm.node import parent_guard
from workbench.evm.rpc.node_url import failure_text

# 2026-01-01T00:00:00Z. Every local world begins here, so that its blocks are the same everywhere.
GENESIS_TIME = 1_767_225_600
DEFAULT_CHAIN_ID = 31337
HOST = "127.0.0.1"
# anvil is up in 50 ms; a machine under full load was seen to take 2 s.
BOOT_LIMIT_S = 30.0
CALL_LIMIT_S = 60.0
LISTENING = "Listening on "
UPSTREAM = "upstream"
_TAIL_BYTES = 2000


class Anvil:
    """A running anvil.

    `port=0` takes a free one (anvil asks the kernel, so two nodes can never want the same).
    `block_time` is in seconds between blocks; None mines only when told. `genesis_time` is the
    Unix time of block 0; None follows the wall clock. `prune` is how many past states are kept.
    `keep_blocks` limits how many blocks keep transactions and receipts: None, all of them.
    `ground` is a node to fork that is needed for nothing else: it ends with this one.
    Raises PortTaken, ToolMissing, or RpcUnreachable with anvil's own words.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        chain_id: int = DEFAULT_CHAIN_ID,
        block_time: float | None = None,
        automine: bool = False,
        genesis_time: int | None = GENESIS_TIME,
        load_state: Path | None = None,
        fork_url: str | None = None,
        fork_block: int | None = None,
        ground: Anvil | None = None,
        prune: int = 64,
        keep_blocks: int | None = None,
        base_fee: int | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.chain_id = chain_id
        self.ground = ground
        if ground is not None:
            fork_url = ground.url
        self._ids = itertools.count(1)
        if port:
            _require_free(port)
        # With pruning anvil keeps its states in memory; without, it writes them to HOME.
        arguments = ["--host", HOST, "--port", str(port), "--prune-history", str(prune)]
        arguments += ["--hardfork", "cancun", "--chain-id", str(chain_id), "--order", "fifo"]
        if block_time is not None:
            arguments += ["--block-time", f"{block_time:g}"]
        elif not automine:
            arguments += ["--no-mining"]
        for option, value in (
            ("--timestamp", genesis_time if load_state is None and fork_url is None else None),
            ("--load-state", load_state),
            ("--fork-url", UPSTREAM if fork_url is not None else None),
            ("--fork-block-number", fork_block),
            ("--transaction-block-keeper", keep_blocks),
            ("--block-base-fee-per-gas", base_fee),
        ):
            if value is not None:
                arguments += [option, str(value)]
        if fork_url is not None:
            # Else it keeps what it read in HOME, and reads it back in a world that has moved on.
            arguments += ["--no-storage-caching"]
        # A file, not a pipe: nobody has to read along, and it is gone when the process is.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._upstream = fork_url or ""
        command = [str(anvil_binary()), *arguments, *extra]
        self._process = _start(command, self._errors, self._upstream)
        try:
            self.port = self._await_port(port)
            # The line above is all we want of anvil's log; without this it logs every call.
            self.call("anvil_setLoggingEnabled", False)
        except BaseException:
            self.stop()
            raise
        self.url: str = f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the node is still running, and the one beneath it."""
        return self._process.poll() is None and (self.ground is None or self.ground.alive)

    @property
    def pid(self) -> int:
        """Process id of the leash; the node is its only child."""
        return self._process.pid

    def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call. Raises RpcUnreachable, or RpcFault with the node's message."""
        number = next(self._ids)
        body = jsonrpc.request(number, method, params)
        connection = http.client.HTTPConnection(HOST, self.port, timeout=CALL_LIMIT_S)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            said = connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            state = "is running" if self.alive else f"has ended: {self._tail()}"
            raise RpcUnreachable(
                f"anvil on port {self.port} {state} ({failure_text(error)})."
            ) from error
        finally:
            connection.close()
        return jsonrpc.answer(f"port {self.port}", number, (method, *params), said)

    def mine(self, count: int = 1) -> None:
        """Mine `count` blocks now, timed by the wall clock unless an interval was set."""
        for _ in range(count):
            self.call("evm_mine")

    def stop(self) -> None:
        """End the node, at once and without asking it. May be called twice."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()
        if self.ground is not None:
            self.ground.stop()

    def _await_port(self, wanted: int) -> int:
        """The port from the line in which our own process says that it listens."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + BOOT_LIMIT_S
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise RpcUnreachable(f"anvil was not up after {BOOT_LIMIT_S:g} s. {self._tail()}")
            if not select.select([self._process.stdout], [], [], left)[0]:
                continue
            chunk = os.read(self._process.stdout.fileno(), 4096)
            if not chunk:
                raise self._failure(wanted)
            line += chunk
        return int(line.decode().rsplit(":", 1)[1])

    def _failure(self, wanted: int) -> ChainError | PortTaken:
        self._process.wait()
        tail = self._tail()
        if "in use" in tail and wanted:
            return _port_taken(wanted)
        return RpcUnreachable(
            f"anvil ended at its start with code {self._process.returncode}: {tail or '(silent)'}"
        )

    def _tail(self) -> str:
        """The end of what anvil wrote to its standard error."""
        if self._errors.closed:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        text = self._errors.read().decode("utf-8", "replace").strip()
        return text.replace(self._upstream, UPSTREAM) if self._upstream else text


def _start(command: list[str], errors: IO[bytes], upstream: str) -> subprocess.Popen[bytes]:
    """`upstream`: the URL to fork, which may hold a key. Arguments are in the list of processes;
    so anvil is given a name, and finds the URL in its environment."""
    folder = cache_dir("anvil")
    aliases = f'[rpc_endpoints]\n{UPSTREAM} = "${{WORKBENCH_UPSTREAM}}"\n'
    if upstream and not (folder / "foundry.toml").is_file():
        write_atomically(folder / "foundry.toml", aliases)
    return subprocess.Popen(
        # -I -S: no site-packages, no environment; a third of Python's start-up time.
        [sys.executable, "-I", "-S", parent_guard.__file__, LISTENING, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=folder if upstream else None,
        # RUST_LOG and ANVIL_* of a user's shell must not change what a world is.
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANVIL_", "FOUNDRY_", "RUST_LOG"))
        }
        | ({"WORKBENCH_UPSTREAM": upstream} if upstream else {}),
    )


def _require_free(port: int) -> None:
    """Raise PortTaken if something listens on `port`, before a process is spent on finding out."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _port_taken(port) from error


def _port_taken(port: int) -> PortTaken:
    return PortTaken(
        f"Port {port} is taken by another program.",
        hint="Stop that program, or let a free port be taken (--ports auto).",
        port=port,
    )

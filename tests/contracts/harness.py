"""The node, its transactions and their errors, as an outside client sees them.

Plain web3.py against a spawned anvil: nothing here knows the workbench, so that the
contracts are judged by their ABI alone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3
from web3.contract import Contract

REPO = Path(__file__).resolve().parents[2]
NODE_MODULES = REPO / "node_modules"

CHAIN_ID = 31337
GENESIS_TIME = 1_800_000_000
CREATE2_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
GAS_LIMIT = 8_000_000


# --------------------------------------------------------------------------- the node


class Anvil:
    """One anvil on a free port, blocks a second apart by its own clock."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        [binary] = NODE_MODULES.glob("@foundry-rs/anvil-*-*/bin/anvil*")
        self.process = subprocess.Popen(
            [
                str(binary),
                *("--port", str(port), "--hardfork", "cancun", "--silent"),
                *("--chain-id", str(CHAIN_ID), "--timestamp", str(GENESIS_TIME)),
                *("--prune-history", "64", "--accounts", "1", "--auto-impersonate"),
                # Gas is counted here, and free: whoever has a name can send.
                *("--block-base-fee-per-gas", "0", "--disable-min-priority-fee"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # No middleware: it would ask the node three things for each one we say.
        self.w3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"), middleware=[])
        deadline = time.monotonic() + 20
        while not self.w3.is_connected():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("anvil did not start")
            time.sleep(0.02)
        self.rpc("anvil_setBlockTimestampInterval", 1)

    def stop(self) -> None:
        """Ends the process that this object started, and only that."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def rpc(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC call; its error, if it has one, is ours."""
        answer: dict[str, Any] = dict(self.w3.provider.make_request(method, list(params)))  # type: ignore[arg-type]
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]


# ------------------------------------------------------------------- words of the tests


@dataclass(frozen=True)
class Party:
    """A name with a key. The node lets us send from any address; the key is for signing."""

    name: str

    @cached_property
    def account(self) -> LocalAccount:
        signer: LocalAccount = Account.from_key(keccak(text=self.name))
        return signer

    @cached_property
    def address(self) -> str:
        return str(self.account.address)


@dataclass(frozen=True)
class Event:
    """One decoded log."""

    emitter: str
    name: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Receipt:
    """What a transaction did."""

    block: int
    gas: int
    events: list[Event]

    def one(self, name: str) -> dict[str, Any]:
        """The arguments of the only event of that name."""
        [found] = [event.args for event in self.events if event.name == name]
        return found

    def names(self) -> list[str]:
        return [event.name for event in self.events]


class Reverted(Exception):
    """A mined transaction that failed, with its custom error decoded."""

    def __init__(self, name: str, args: tuple[Any, ...], receipt: Receipt) -> None:
        super().__init__(f"{name}{args}")
        self.name, self.values, self.receipt = name, args, receipt


@contextlib.contextmanager
def reverts(name: str, *args: Any) -> Iterator[pytest.ExceptionInfo[Reverted]]:
    """The block must fail with this custom error, and with these arguments if any are given."""
    with pytest.raises(Reverted) as caught:
        yield caught
    expected = (name, args or caught.value.values)
    assert expected == (caught.value.name, caught.value.values)


# ----------------------------------------------------------------------- the artifacts


@dataclass(frozen=True)
class Artifact:
    """ABI and deployment bytecode of one contract."""

    abi: list[dict[str, Any]]
    bytecode: str


def pool_manager_artifact() -> Artifact:
    """The official PoolManager, as its package ships it (BUSL-1.1: load, never commit)."""
    path = NODE_MODULES / "@uniswap/v4-core/out/PoolManager.sol/PoolManager.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    return Artifact(data["abi"], data["bytecode"]["object"])


def _canonical(parameter: dict[str, Any]) -> str:
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_canonical, parameter['components']))}){kind[5:]}"


class Errors:
    """Every custom error of every ABI, by selector."""

    # Solidity's own, and those of v4's libraries that PoolManager's ABI leaves out.
    OTHERS: tuple[dict[str, Any], ...] = (
        {"name": "Error", "inputs": [{"type": "string"}]},
        {"name": "Panic", "inputs": [{"type": "uint256"}]},
        {"name": "PoolAlreadyInitialized", "inputs": []},
        {"name": "TickMisaligned", "inputs": [{"type": "int24"}, {"type": "int24"}]},
    )

    def __init__(self, artifacts: dict[str, Artifact]) -> None:
        entries = [e for a in artifacts.values() for e in a.abi if e["type"] == "error"]
        self.known: dict[bytes, tuple[str, list[str]]] = {}
        for entry in itertools.chain(self.OTHERS, entries):
            kinds = [_canonical(parameter) for parameter in entry["inputs"]]
            selector = keccak(text=f"{entry['name']}({','.join(kinds)})")[:4]
            self.known[selector] = (entry["name"], kinds)
        # ERC-7751, which v4 puts round what a hook or a token said.
        self.wrapped = keccak(text="WrappedError(address,bytes4,bytes,bytes)")[:4]

    def decode(self, data: bytes) -> tuple[str, tuple[Any, ...]]:
        """Name and arguments; a wrapped error is unwrapped to what was said inside."""
        if data[:4] == self.wrapped:
            _, _, reason, _ = decode(["address", "bytes4", "bytes", "bytes"], data[4:])
            return self.decode(reason)
        if data[:4] not in self.known:
            return ("", (data,))
        name, kinds = self.known[data[:4]]
        values = decode(kinds, data[4:])
        return name, tuple(
            to_checksum_address(value) if kind == "address" else value
            for kind, value in zip(kinds, values, strict=True)
        )


# --------------------------------------------------------------------------- the chain

DEPLOYER = Party("admin")


class Chain:
    """Transactions, questions and deployments on one node."""

    def __init__(self, node: Anvil, artifacts: dict[str, Artifact]) -> None:
        self.node, self.artifacts = node, artifacts
        self.last_created = ""
        self.errors = Errors(artifacts)
        self.topics = {
            keccak(text=f"{e['name']}({','.join(map(_canonical, e['inputs']))})"): e
            for artifact in artifacts.values()
            for e in artifact.abi
            if e["type"] == "event"
        }

    def submit(
        self, to: str, data: str, sender: Party | str, gas: int = GAS_LIMIT, value: int = 0
    ) -> str:
        """Hands a transaction to the node, which mines it at once unless told otherwise."""
        origin = sender.address if isinstance(sender, Party) else sender
        message = {"from": origin, "data": data, "gas": hex(gas), "gasPrice": "0x0"}
        if to:
            message["to"] = to
        if value:
            message["value"] = hex(value)
        return str(self.node.rpc("eth_sendTransaction", message))

    def receipt(self, sent: str) -> Receipt:
        """What a transaction did, once it is mined; raises Reverted if it failed."""
        patience = time.monotonic() + 30
        while (raw := self.node.rpc("eth_getTransactionReceipt", sent)) is None:
            if time.monotonic() > patience:
                raise TimeoutError(f"{sent} is not mined")
            time.sleep(0.001)
        receipt = Receipt(
            block=int(raw["blockNumber"], 16),
            gas=int(raw["gasUsed"], 16),
            events=[self._event(log) for log in raw["logs"]],
        )
        if raw["status"] == "0x1":
            self.last_created = raw["contractAddress"]
            return receipt
        trace = self.node.rpc("debug_traceTransaction", sent, {"tracer": "callTracer"})
        output = bytes.fromhex(trace.get("output", "0x")[2:])
        raise Reverted(*self.errors.decode(output), receipt)

    def send(
        self,
        to: str,
        data: str,
        sender: Party | str = DEPLOYER,
        gas: int = GAS_LIMIT,
        value: int = 0,
    ) -> Receipt:
        """Mines one transaction; raises Reverted if it failed."""
        return self.receipt(self.submit(to, data, sender, gas, value))

    def send_in_one_block(
        self, contract: Contract, calls: list[str], sender: Party
    ) -> list[Receipt]:
        """Mines several calls together, in this order."""
        self.node.rpc("evm_setAutomine", False)
        try:
            sent = [self.submit(contract.address, data, sender) for data in calls]
            self.mine()
        finally:
            self.node.rpc("evm_setAutomine", True)
        return [self.receipt(each) for each in sent]

    def act(
        self,
        contract: Contract,
        function: str,
        *args: Any,
        sender: Party | str = DEPLOYER,
        gas: int = GAS_LIMIT,
        value: int = 0,
    ) -> Receipt:
        """One call to one contract, by name."""
        data = contract.encode_abi(function, args=list(args))
        return self.send(contract.address, data, sender, gas, value)

    def ask(self, contract: Contract, function: str, *args: Any) -> Any:
        """The answer of a view function."""
        return contract.get_function_by_name(function)(*args).call()

    def selector(self, contract: Contract, function: str) -> bytes:
        """The four bytes that a function is called by."""
        return keccak(text=str(contract.get_function_by_name(function).abi_element_identifier))[:4]

    def mine(self, blocks: int = 1) -> None:
        if blocks > 0:
            self.node.rpc("anvil_mine", hex(blocks), hex(1))

    def at(self, timestamp: int) -> None:
        """Sets the time of the next block."""
        self.node.rpc("evm_setNextBlockTimestamp", timestamp)

    def now(self) -> int:
        """The time of the last block."""
        return int(self.node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def block_hash(self, number: int) -> bytes:
        block = self.node.rpc("eth_getBlockByNumber", hex(number), False)
        return bytes.fromhex(block["hash"][2:])

    def _event(self, log: dict[str, Any]) -> Event:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        entry = self.topics[topics[0]]
        indexed = [i for i in entry["inputs"] if i["indexed"]]
        plain = [i for i in entry["inputs"] if not i["indexed"]]
        values = decode([_canonical(i) for i in plain], bytes.fromhex(log["data"][2:]))
        args = dict(zip((i["name"] for i in plain), values, strict=True))
        for parameter, topic in zip(indexed, topics[1:], strict=True):
            args[parameter["name"]] = decode([_canonical(parameter)], topic)[0]
        for parameter in entry["inputs"]:
            if parameter["type"] == "address":
                args[parameter["name"]] = to_checksum_address(args[parameter["name"]])
        return Event(to_checksum_address(log["address"]), entry["name"], args)

    # ---- putting contracts on the chain

    def initcode(self, name: str, *args: Any) -> str:
        artifact = self.artifacts[name]
        factory = self.node.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        return str(factory.constructor(*args).data_in_transaction)

    def bind(self, name: str, address: str) -> Contract:
        return self.node.w3.eth.contract(
            address=to_checksum_address(address), abi=self.artifacts[name].abi
        )

    def deploy(self, name: str, *args: Any) -> Contract:
        """A new contract, from the admin."""
        self.send("", self.initcode(name, *args))
        return self.bind(name, self.last_created)


def sign(
    party: Party,
    domain: dict[str, Any],
    name: str,
    types: list[dict[str, str]],
    message: dict[str, Any],
) -> bytes:
    """An EIP-712 signature, r ‖ s ‖ v."""
    data = encode_typed_data(domain, {name: types}, message)
    return bytes(party.account.sign_message(data).signature)


@cache
def mine_address(initcode: bytes, flags: int) -> tuple[bytes, str]:
    """The first CREATE2 salt whose address has these low 14 bits, and the address."""
    tail = keccak(initcode)
    head = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER[2:])
    for number in itertools.count():
        salt = number.to_bytes(32, "big")
        digest = keccak(head + salt + tail)
        if (digest[30] << 8 | digest[31]) & 0x3FFF == flags:
            return salt, to_checksum_address(digest[12:])
    raise AssertionError("unreachable")


def words_of(text: str) -> bytes:
    """A reason as the vault writes it: ASCII, left-aligned in 32 bytes."""
    assert re.fullmatch("[A-Z_]{0,32}", text)
    return text.encode().ljust(32, b"\0")

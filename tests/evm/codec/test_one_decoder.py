"""One border to every node: who may build requests and decode answers, and which methods there are.

Rules like those of `test_tidy`: held against the house, and against violations planted in it.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.source import PACKAGE, Module
from workbench.evm.codec.methods import RESULTS

CODEC = "workbench.evm.codec.jsonrpc"
METHOD = re.compile(r"(eth|net|web3|debug|txpool|anvil|evm|hardhat)_[A-Za-z0-9]+")
READ_FILES = {
    "workbench.evm.build.artifacts",
    "workbench.evm.node.boot",
    "workbench.evm.build.compile",
    "workbench.evm.deploy.__main__",
    "workbench.evm.deploy.process",
    "workbench.evm.transactions.keystore",
    "workbench.evm.build.toolchain",
    "workbench.evm.deploy.uniswap",
}
"""Modules of the chain's room that decode JSON from files, or from a process of ours."""
DECODING = re.compile(r"(\w+\.)*(loads|decode|Decoder|convert)")
JSON = re.compile(r"(json|msgspec|orjson|simplejson)\b")
ASKING = {"call", "now", "ask", "many", "all_now", "prefetch"}


def unknown_methods(module: Module) -> list[str]:
    """Names of JSON-RPC methods whose answers have no type; and names put together at run time."""
    problems = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if METHOD.fullmatch(node.value) and node.value not in RESULTS:
                problems.append(f"{module.name}:{node.lineno} {node.value} has no type")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_asked = node.func.attr in ASKING and node.args
            if is_asked and isinstance(node.args[0], ast.JoinedStr | ast.BinOp):
                problems.append(f"{module.name}:{node.lineno} makes up the name of a method")
    return problems


def foreign_decoding(module: Module) -> list[str]:
    """JSON-RPC outside of the codec: an envelope that is built, an answer that is decoded."""
    if module.name == CODEC:
        return []
    problems = []
    reads_files = module.name in READ_FILES or module.place not in ("chain", "evm")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and node.value == "jsonrpc":
            problems.append(f"{module.name}:{node.lineno} builds a JSON-RPC message")
        if reads_files:
            continue
        if isinstance(node, ast.ImportFrom) and node.module in ("json", "msgspec.json"):
            problems.append(f"{module.name}:{node.lineno} decodes JSON by a name of its own")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if DECODING.fullmatch(called) and JSON.match(called):
            problems.append(f"{module.name}:{node.lineno} decodes JSON with {called}()")
    return problems


def test_every_method_that_is_asked_has_a_type() -> None:
    """In every package: a new method must have the type of its answer in the table."""
    assert [] == [p for module in PACKAGE.values() for p in unknown_methods(module)]


def test_answers_are_decoded_in_one_place() -> None:
    assert [] == [p for module in PACKAGE.values() for p in foreign_decoding(module)]


PLANTED = [
    (
        "evm/payments/wallet.py",
        'x = self._rpc.call("eth_getProof", a, [])',
        "eth_getProof has no type",
    ),
    ("commands/doctor.py", 'PROBE = "web3_clientVersion"', "web3_clientVersion has no type"),
    ("sim/faults/miner.py", 'rpc.call(f"anvil_{name}")', "makes up the name"),
    ("evm/watcher.py", 'rpc.call("eth_" + name)', "makes up the name"),
    ("evm/rpc/client.py", "json.loads(raw)", "decodes JSON"),
    ("evm/rpc/blocking.py", "from msgspec import json\njson.decode(raw)", "decodes JSON"),
    ("evm/rpc/answers.py", "msgspec.json.Decoder(dict)", "decodes JSON"),
    ("evm/rpc/client.py", "from json import loads", "decodes JSON"),
    ("evm/codec/methods.py", "msgspec.convert(raw, Log)", "decodes JSON"),
    ("commands/demo.py", 'body = {"jsonrpc": "2.0", "method": "x"}', "builds a JSON-RPC message"),
]


@pytest.mark.parametrize(("path", "line", "told"), PLANTED)
def test_a_planted_breach_is_caught(path: str, line: str, told: str) -> None:
    house = PACKAGE[path]
    planted = Module(house.name, f"{house.text}\n\n{line}\n")
    problems = [*unknown_methods(planted), *foreign_decoding(planted)]
    assert [True] == [told in problem for problem in problems]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("evm/node/boot.py", "json.loads(path.read_text())"),
        ("evm/codec/abi.py", "decode(['uint256'], data)"),
        ("core/x402/wire.py", "json.loads(body)"),
        ("evm/payments/wallet.py", 'rpc.call("eth_getLogs", query)'),
        ("commands/play.py", 'told["trace_hash"]'),
    ],
)
def test_what_is_allowed_is_let_through(path: str, line: str) -> None:
    """Files, ABI values, other services' bodies."""
    house = PACKAGE[path]
    planted = Module(house.name, f"{house.text}\n\n{line}\n")
    assert [] == [*unknown_methods(planted), *foreign_decoding(planted)]

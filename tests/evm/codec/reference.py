"""Our contracts as web3 and eth_abi see them, and a node that answers reads of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from eth_abi.abi import encode
from eth_utils.abi import function_abi_to_4byte_selector
from hypothesis import strategies as st
from web3 import Web3
from web3.contract import Contract

from tests.strategies import addresses
from workbench.core.ports import Addresses
from workbench.evm.build.artifacts import load
from workbench.evm.codec.abi import abi_type, to_hex
from workbench.evm.rpc.client import Rpc

AT = Addresses(*("0x" + digit * 40 for digit in "123456"))


@cache
def outside(name: str) -> type[Contract]:
    """web3's own view of one of our contracts."""
    return Web3().eth.contract(abi=load(name).abi)


class StubRpc(Rpc):
    """A node that answers `eth_call` from a table by function name."""

    url = "http://stub"

    def __init__(self, contract: str = "", **answers: tuple[Any, ...]) -> None:
        self.answers = {
            encode_selector(contract, name): encode_outputs(contract, name, values)
            for name, values in answers.items()
        }
        self.asked: list[str] = []

    async def call(self, method: str, *params: Any) -> Any:
        assert "eth_call" == method
        self.asked.append(params[0]["to"])
        return self.answers[params[0]["data"][:10]]

    async def close(self) -> None: ...


def item(contract: str, kind: str, name: str) -> dict[str, Any]:
    """The one ABI entry of that kind and name."""
    (found,) = (i for i in load(contract).abi if i["type"] == kind and i["name"] == name)
    return found


def encode_selector(contract: str, name: str) -> str:
    """As eth_utils computes it."""
    return to_hex(function_abi_to_4byte_selector(item(contract, "function", name)))  # type: ignore[arg-type]


def encode_outputs(contract: str, name: str, values: tuple[Any, ...]) -> str:
    kinds = [abi_type(output) for output in item(contract, "function", name)["outputs"]]
    return to_hex(encode(kinds, values))


def values_of(kind: str, components: list[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """Values of an ABI type."""
    if kind == "tuple":
        return st.tuples(*(values_of(c["type"], c.get("components", [])) for c in components))
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:] or 256) - 1)
    fixed = {
        "address": addresses,
        "bool": st.booleans(),
        "bytes4": st.binary(min_size=4, max_size=4),
        "bytes32": st.binary(min_size=32, max_size=32),
        "bytes": st.binary(max_size=70),
        "string": st.text(max_size=40),
    }
    if kind.startswith("int"):
        half = 2 ** (int(kind[3:]) - 1)
        return st.integers(-half, half - 1)
    return fixed[kind]


def drawn(data: st.DataObject, inputs: list[dict[str, Any]]) -> list[Any]:
    return [data.draw(values_of(i["type"], i.get("components", []))) for i in inputs]

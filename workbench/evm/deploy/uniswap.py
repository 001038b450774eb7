"""Uniswap's own v4 PoolManager on public chains, and a check that code is that contract.

Addresses: https://docs.uniswap.org/contracts/v4/deployments (its source, docs/contracts/v4/
deployments.mdx in github.com/Uniswap/docs, read at commit 4606a6e6). Each chain has its own
address. Polygon Amoy (80002) has none: there we deploy our own from the npm package.
"""

from __future__ import annotations

import json
from functools import cache

from workbench.evm.build.artifacts import PACKAGED
from workbench.evm.build.toolchain import project_root

POOL_MANAGERS: dict[int, str] = {
    # Test networks
    11155111: "0xE03A1074c86CFeDd5C142C4F04F1a1536e203543",  # Sepolia
    1301: "0x00B036B58a818B1BC34d502D3fE730Db729e62AC",  # Unichain Sepolia
    84532: "0x05E73354cFDd6745C338b50BcFDfA3Aa6fA03408",  # Base Sepolia
    421614: "0xFB3e0C6F74eB1a21CC1Da29aeC80D2Dfe6C9a317",  # Arbitrum Sepolia
    # Main networks: for forks of them
    1: "0x000000000004444c5dc75cB358380D2e3dE08A90",  # Ethereum
    10: "0x9a13F98Cb987694C9F086b1F5eB990EeA8264Ec3",  # Optimism
    130: "0x1F98400000000000000000000000000000000004",  # Unichain
    137: "0x67366782805870060151383F4BbFF9daB53e5cD6",  # Polygon
    8453: "0x498581fF718922c3f8e6A244956aF099B2652b2b",  # Base
    42161: "0x360E68faCcca8cA495c1B759Fd9EEe466db9FB32",  # Arbitrum One
}


def is_packaged_code(code: bytes) -> bool:
    """Return whether this runtime code is the PoolManager of @uniswap/v4-core.

    The values of immutables are not compared.
    """
    ours, immutables = _packaged_runtime()
    if len(code) != len(ours):
        return False
    theirs = bytearray(code)
    for start, length in immutables:
        theirs[start : start + length] = bytes(length)
    return bytes(theirs) == ours


@cache
def _packaged_runtime() -> tuple[bytes, list[tuple[int, int]]]:
    """The package's runtime code with zero for immutables, and their places (start, length)."""
    path = project_root() / "node_modules" / PACKAGED["PoolManager"]
    data = json.loads(path.read_text(encoding="utf-8"))["deployedBytecode"]
    places = [place for group in data["immutableReferences"].values() for place in group]
    code = bytearray.fromhex(data["object"].removeprefix("0x"))
    for place in places:
        code[place["start"] : place["start"] + place["length"]] = bytes(place["length"])
    return bytes(code), [(place["start"], place["length"]) for place in places]

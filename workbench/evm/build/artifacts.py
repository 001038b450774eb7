"""Compiled contracts by name: ours from `make compile`, Uniswap's from their npm packages.

PoolManager is licensed BUSL-1.1: its bytecode is read from the installed package and never copied
into the repository.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from workbench.core.errors import NotCompiled, ToolMissing
from workbench.evm.build.toolchain import SETUP_HINT, project_root

__all__ = ["INTERFACES", "Artifact", "interface", "load", "names", "project_root"]

# Forge artifacts inside node_modules, by contract name.
PACKAGED = {
    "PoolManager": "@uniswap/v4-core/out/PoolManager.sol/PoolManager.json",
    "StateView": "@uniswap/v4-periphery/foundry-out/StateView.sol/StateView.json",
    "V4Quoter": "@uniswap/v4-periphery/foundry-out/V4Quoter.sol/V4Quoter.json",
}


INTERFACES = (
    "FacilitatorHook",
    "MockUSDC",
    "PayoutBatcher",
    "PermitPuller",
    "SettlementVault",
    "YieldPoolShare",
)
"""Contracts whose ABI is in the package, so that services run without a compiler (interfaces.json,
which `make compile` writes)."""


@dataclass(frozen=True)
class Artifact:
    """A compiled contract. `bytecode` is the creation code, empty for interfaces."""

    name: str
    abi: list[dict[str, Any]] = field(repr=False)
    bytecode: bytes = field(repr=False)


def names() -> list[str]:
    """Return the contracts that can be loaded, sorted."""
    folder = project_root() / ".cache" / "artifacts"
    ours = {path.stem for path in folder.glob("*.json") if path.name != "index.json"}
    return sorted(ours | set(PACKAGED))


def load(name: str) -> Artifact:
    """Return the contract `name`. Raises NotCompiled (ours) or ToolMissing (a package is
    missing)."""
    path = _path(name)
    try:
        return _read(name, path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        if name in PACKAGED:
            message = f"{name}: its npm package is not installed."
            raise ToolMissing(message, hint=SETUP_HINT) from error
        raise NotCompiled(
            f"No compiled contract {name}.", hint="Run `make compile` in the project's folder."
        ) from error


def interface(name: str) -> list[dict[str, Any]]:
    """Return the ABI of the contract `name`. Raises as `load`, except for `INTERFACES`."""
    return _interfaces()[name] if name in INTERFACES else load(name).abi


@cache
def _interfaces() -> dict[str, list[dict[str, Any]]]:
    text = files("workbench.evm.build").joinpath("interfaces.json").read_text(encoding="utf-8")
    found: dict[str, list[dict[str, Any]]] = json.loads(text)
    return found


def _path(name: str) -> Path:
    if name in PACKAGED:
        return project_root() / "node_modules" / PACKAGED[name]
    if not name.isidentifier():
        raise NotCompiled(f"{name!r} is not a contract's name.")
    return project_root() / ".cache" / "artifacts" / f"{name}.json"


# With the modification time in the key, a long-lived notebook sees a new compilation.
@cache
def _read(name: str, path: Path, modified_ns: int) -> Artifact:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        code = data["bytecode"]
        text = code["object"] if isinstance(code, dict) else code
        return Artifact(name, data["abi"], bytes.fromhex(text.removeprefix("0x")))
    except (ValueError, KeyError, TypeError) as error:
        message = f"The compiled contract {name} cannot be read: {error}."
        raise NotCompiled(message, hint="Run `make clean compile`.") from error

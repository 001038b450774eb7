"""Fixtures of the contract tests: one anvil, two worlds, a clean chain for every test."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.harness import (
    REPO,
    Anvil,
    Artifact,
    Chain,
    pool_manager_artifact,
)
from tests.contracts.till import FUNDS, MAX, PAYER, STRANGER, Till
from tests.contracts.vault_deployment import Side
from tests.contracts.vault_world import World


def load_artifacts() -> dict[str, Artifact]:
    """Our contracts as `make compile` left them (an EthPM manifest), and the PoolManager.

    CONTRACTS_MANIFEST names another compilation, such as a mutant, to be judged instead.
    """
    manifest = Path(os.environ.get("CONTRACTS_MANIFEST", REPO / ".build" / "__local__.json"))
    if not manifest.exists():
        pytest.fail("compile the contracts first: make compile", pytrace=False)
    types = json.loads(manifest.read_text(encoding="utf-8"))["contractTypes"]
    artifacts = {
        name: Artifact(t["abi"], t.get("deploymentBytecode", {}).get("bytecode", "0x"))
        for name, t in types.items()
    }
    return artifacts | {"PoolManager": pool_manager_artifact()}


@pytest.fixture(scope="session")
def artifacts() -> dict[str, Artifact]:
    return load_artifacts()


@pytest.fixture(scope="session")
def node() -> Iterator[Anvil]:
    """The node, ended with the session."""
    anvil = Anvil()
    try:
        yield anvil
    finally:
        anvil.stop()


@pytest.fixture(scope="session")
def worlds(node: Anvil, artifacts: dict[str, Artifact]) -> dict[Side, World]:
    """The whole machinery twice, once for each order of the pool's currencies."""
    sides: tuple[Side, Side] = ("usdc_first", "eurc_first")
    built = {side: World(node, artifacts, side) for side in sides}
    for world in built.values():
        world.build()
    return built


@pytest.fixture
def world(worlds: dict[Side, World], request: pytest.FixtureRequest) -> Iterator[World]:
    """A deployed world, and afterwards the chain as it was. Parametrise indirectly with a
    side to choose the order of currencies."""
    chosen = worlds[getattr(request, "param", "usdc_first")]
    chosen.deals.clear()
    contracts = dict(chosen.contracts)
    snapshot = chosen.node.rpc("evm_snapshot")
    yield chosen
    chosen.node.rpc("evm_revert", snapshot)
    chosen.contracts = contracts


@pytest.fixture(scope="session")
def deployed(node: Anvil, artifacts: dict[str, Artifact]) -> Till:
    chain = Chain(node, artifacts)
    made = []
    # Not by the admin: its nonces decide addresses, and these decide the gas of signatures.
    for name in ("PayoutBatcher", "PickyToken"):
        chain.send("", chain.initcode(name), STRANGER)
        made.append(chain.bind(name, chain.last_created))
    till = Till(chain, made[0], made[1])
    for party in (PAYER, STRANGER):
        node.rpc("anvil_setBalance", party.address, hex(FUNDS))
        chain.act(till.token, "mint", party.address, FUNDS, sender=STRANGER)
        chain.act(till.token, "approve", till.batcher.address, MAX, sender=party)
    return till


@pytest.fixture
def till(deployed: Till) -> Iterator[Till]:
    snapshot = deployed.chain.node.rpc("evm_snapshot")
    yield deployed
    deployed.chain.node.rpc("evm_revert", snapshot)

"""Settings to wired worlds. This module and what it is made of alone know every adapter."""

from __future__ import annotations

from collections.abc import Callable

from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses
from workbench.core.pricing import Price
from workbench.evm.deploy.plan import Deployment
from workbench.evm.node.anvil import Anvil
from workbench.worlds.rules import RoleKeys, WorldRules
from workbench.worlds.virtual import World

LOCAL_FINALITY = FinalityPolicy(2)
"""Confirmations in worlds that we boot (agreement 6)."""


def local_keys() -> RoleKeys:
    """The public test keys: only for nodes that we booted ourselves."""
    from workbench.evm.transactions.test_keys import key_of

    roles = ("buyer", "seller", "facilitator", "keeper", "payer")
    return RoleKeys(*(key_of(role).secret for role in roles))


def addresses_of(contracts: dict[str, str]) -> Addresses:
    """Addresses by contract name as the services know them."""
    names = {
        "usdc": "MockUSDC",
        "eurc": "MockEURC",
        "asset": "YieldPoolShare",
        "vault": "SettlementVault",
        "puller": "PermitPuller",
        "hook": "FacilitatorHook",
    }
    return Addresses(**{key: contracts[name].lower() for key, name in names.items()})


def simulated(
    *,
    seed: int = 1,
    chain_id: int = 31337,
    rules: WorldRules | None = None,
    progress: Callable[[str], None] = lambda _: None,
    state_root: bool = True,
) -> World:
    """A world on virtual time, on a node of its own. The same seed gives the same facts.

    Without `state_root` the blocks have none (it is zero), so that each costs the same however
    much has happened: for long worlds, where most blocks are nearly empty. It boots 0.1 s later.
    """
    from workbench.evm.node.boot import boot

    return _world(*boot(chain_id, progress=progress, state_root=state_root), rules, seed)


def fork(
    url: str,
    block: int | None = None,
    *,
    seed: int = 1,
    chain_id: int | None = None,
    rules: WorldRules | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> World:
    """The same world on top of the chain at `url`, as of `block` (default: its latest).

    Everything of that chain is there to be read, and it stays as it is. Virtual time goes on from
    the block's time. The chain id is the upstream's, unless another is given.
    """
    from workbench.evm.node.fork import boot_fork

    node, deployment, _ = boot_fork(url, block, chain_id, progress=progress)
    return _world(node, deployment, rules, seed)


def _world(node: Anvil, deployment: Deployment, rules: WorldRules | None, seed: int) -> World:
    """On virtual time; the node is the world's from now on."""
    try:
        return World(
            node,
            deployment,
            addresses_of(deployment.addresses),
            local_keys(),
            rules or WorldRules(price=Price.parse("1.10"), finality=LOCAL_FINALITY, poll_s=1.0),
            seed,
        )
    except BaseException:
        node.stop()
        raise

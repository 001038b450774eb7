"""Build worlds from settings or arguments: simulated, or on a fork of another chain."""

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
"""Confirmations in worlds that we boot."""


def local_keys() -> RoleKeys:
    """Return the public test keys, which are only for nodes that we booted."""
    from workbench.evm.transactions.test_keys import key_of

    roles = ("buyer", "seller", "facilitator", "keeper", "payer")
    return RoleKeys(*(key_of(role).secret for role in roles))


def addresses_of(contracts: dict[str, str]) -> Addresses:
    """Return the addresses of the services' contracts, from addresses by contract name."""
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
    """Return a world on virtual time with a node of its own. The same seed gives the same facts.

    Without `state_root` the state root of blocks is zero, so that a block costs the same however
    long the world runs. Booting takes 0.1 s longer then.
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
    """Return a world on top of the chain at `url`, at `block` (default: the latest).

    The state of that chain can be read and is never changed. Virtual time continues from the time
    of the block. The chain id is the upstream's, unless another is given.
    """
    from workbench.evm.node.fork import boot_fork

    node, deployment, _ = boot_fork(url, block, chain_id, progress=progress)
    return _world(node, deployment, rules, seed)


def _world(node: Anvil, deployment: Deployment, rules: WorldRules | None, seed: int) -> World:
    """Return a world on this node, which now belongs to the world."""
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

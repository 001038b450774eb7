"""The world file of `workbench up`: addresses, keys and URLs of a running local world."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.errors import UnknownWorld

WORLD_FILE = Path(".workbench") / "world.json"


def read_world(folder: Path | None = None) -> dict[str, Any]:
    """Return the world file of `workbench up`. Raises UnknownWorld if it is missing or damaged."""
    path = (folder or Path.cwd()) / WORLD_FILE
    try:
        world = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownWorld("no world runs in this folder.", hint="Run `workbench up`.") from None
    except OSError as why:
        raise UnknownWorld(
            f"{WORLD_FILE} cannot be read.", hint="Remove it, and run `workbench up` anew."
        ) from why
    except (ValueError, RecursionError) as why:
        raise _damaged() from why
    if not isinstance(world, dict):
        raise _damaged()
    return world


def _damaged() -> UnknownWorld:
    return UnknownWorld(f"{WORLD_FILE} is damaged.", hint="Run `workbench up` anew.")


def world_variables(world: Mapping[str, Any]) -> dict[str, str]:
    """Return the world file as environment variables. Raises UnknownWorld if it is damaged."""
    addresses, keys = world.get("addresses", {}), world.get("keys", {})
    if not isinstance(addresses, Mapping) or not isinstance(keys, Mapping):
        raise _damaged()
    contracts = {
        "MOCK_USDC_ADDRESS_POLYGON": "MockUSDC",
        "MOCK_EURC_ADDRESS_POLYGON": "MockEURC",
        "YIELD_POOL_SHARE_ADDRESS": "YieldPoolShare",
        "SETTLEMENT_VAULT_ADDRESS": "SettlementVault",
        "PERMIT_PULLER_ADDRESS": "PermitPuller",
        "FACILITATOR_HOOK_ADDRESS": "FacilitatorHook",
        "PAYOUT_BATCHER": "PayoutBatcher",
    }
    roles = {
        "PAYOUT_PRIVATE_KEY": "spare1",
        "SELLER_PRIVATE_KEY": "seller",
        "BUYER_PRIVATE_KEY": "buyer",
        "PRIVATE_KEY": "facilitator",
        "KEEPER_PRIVATE_KEY": "keeper",
        "DEPLOYER_PRIVATE_KEY": "deployer",
    }
    plain = {
        "POLYGON_AMOY_RPC_URL": "rpc_url",
        "WEB3_PROVIDER_URL": "rpc_url",
        "CHAIN_ID": "chain_id",
        "SELLER_URL": "seller_url",
        "SELLER_ADDRESS": "seller_address",
        "PRICE_PER_UNIT_USDC": "price_per_unit_usdc",
        "FACILITATOR_URL": "facilitator_url",
        "FINALITY_CONFIRMATIONS": "finality_confirmations",
        "DEPLOY_BLOCK": "deploy_block",
    }
    found = {name: addresses.get(contract) for name, contract in contracts.items()}
    found |= {name: keys.get(role) for name, role in roles.items()}
    found |= {name: world.get(key) for name, key in plain.items()}
    return {name: str(value) for name, value in found.items() if value is not None}

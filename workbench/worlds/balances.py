"""Balances of accounts, and the audit of what the contracts hold."""

from __future__ import annotations

from workbench.core import invariants
from workbench.core.settlement import Settlement
from workbench.evm.contracts.settlement import EvmChain

TOKEN_NAMES = {"EURC": "eurc", "USDC": "usdc", "YPS": "asset"}


async def balances(chain: EvmChain, accounts: dict[str, str]) -> dict[tuple[str, str], int]:
    """Balance by (account name, token symbol), in base units."""
    return {
        (name, symbol): await chain.balance(getattr(chain.addresses, token), at)
        for name, at in accounts.items()
        for symbol, token in TOKEN_NAMES.items()
    }


async def audit_world(chain: EvmChain, settlements: tuple[Settlement, ...]) -> None:
    """Raise ConservationBroken unless vault, puller and hook hold only what is owed."""
    addresses = chain.addresses
    tokens = {name: getattr(addresses, name) for name in invariants.TOKENS}
    holders = {"vault": addresses.vault, "puller": addresses.puller, "hook": addresses.hook}
    held = {
        holder: {name: await chain.balance(token, at) for name, token in tokens.items()}
        for holder, at in holders.items()
    }
    escrowed = {name: await chain.escrowed(token) for name, token in tokens.items()}
    parties = sorted({p for s in settlements for p in (s.buyer, s.seller)})
    parked = {
        name: sum(await chain.all_claimable(token, parties)) for name, token in tokens.items()
    }
    invariants.audit(invariants.SettlementView(settlements, held, escrowed, parked))

"""Ape connected to any node by its URL, and accounts whose keys are only in memory.

This module imports Ape: only `python -m workbench.evm.deploy` may import it.
"""

from __future__ import annotations

from typing import Any

from ape.api import ProviderAPI
from ape_accounts.accounts import ApeSigner
from ape_ethereum.provider import EthereumNodeProvider
from pydantic import PrivateAttr
from web3 import HTTPProvider, Web3
from web3.gas_strategies.rpc import rpc_gas_price_strategy
from web3.middleware import ExtraDataToPOAMiddleware

REQUEST_TIMEOUT_S = 30
GAS_MARGIN = 1.2
"""Factor on the node's gas estimate: other transactions may come before ours."""


class KeyAccount(ApeSigner):
    """An account made of a private key. Nothing of it is on disk, and its repr shows no key."""

    _next: int = PrivateAttr(default=0)

    @property
    def nonce(self) -> int:
        """The next nonce. It is never one that we signed: the node that answers may lag behind."""
        return max(int(super().nonce), self._next)

    def sign_transaction(self, txn: Any, **options: Any) -> Any:
        """Sign any transaction."""
        self._next = int(txn.nonce) + 1
        return super().sign_transaction(txn, **options)

    def __repr__(self) -> str:
        return f"<KeyAccount {self.address}>"

    __str__ = __repr__


class UrlProvider(EthereumNodeProvider):
    """Ape's provider for one URL.

    Ape's own provider would first look for a node on this machine and in the environment.
    """

    def connect(self) -> None:
        """Prepare the connection; no request is sent yet."""
        web3 = Web3(HTTPProvider(str(self.uri), request_kwargs={"timeout": REQUEST_TIMEOUT_S}))
        web3.eth.set_gas_price_strategy(rpc_gas_price_strategy)
        # Polygon's headers have more extra data than Ethereum allows. Harmless on other chains.
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self._web3 = web3

    def estimate_gas_cost(self, txn: Any, block_id: Any = None) -> int:
        """Return the node's estimate times GAS_MARGIN."""
        return int(super().estimate_gas_cost(txn, block_id=block_id) * GAS_MARGIN)


def live_node(url: str) -> ProviderAPI:
    """Return a provider that is not connected yet."""
    from ape import networks

    return networks.create_custom_provider(url, provider_cls=UrlProvider)

"""Ape on any node by its URL, and accounts that live in memory alone.

Imports Ape: only the process that `deploy.deploy()` starts may import this module.
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

REQUEST_LIMIT_S = 30
# The node estimates exactly, and other people's blocks come between estimate and execution.
GAS_MARGIN = 1.2


class KeyAccount(ApeSigner):
    """An account made of a private key. Nothing of it is on a disk, and its repr shows no key."""

    _next: int = PrivateAttr(default=0)

    @property
    def nonce(self) -> int:
        """Never one that was signed for: the node that is asked may be behind the one we told."""
        return max(int(super().nonce), self._next)

    def sign_transaction(self, txn: Any, **options: Any) -> Any:
        """Signs whatever it is given."""
        self._next = int(txn.nonce) + 1
        return super().sign_transaction(txn, **options)

    def __repr__(self) -> str:
        return f"<KeyAccount {self.address}>"

    __str__ = __repr__


class UrlProvider(EthereumNodeProvider):
    """Ape's provider for one URL. Ape's own would first look for a node on this machine, and for
    one in the environment."""

    def connect(self) -> None:
        """No question is asked yet."""
        web3 = Web3(HTTPProvider(str(self.uri), request_kwargs={"timeout": REQUEST_LIMIT_S}))
        web3.eth.set_gas_price_strategy(rpc_gas_price_strategy)
        # Polygon's headers carry more extra data than Ethereum's may; no harm where they do not.
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self._web3 = web3

    def estimate_gas_cost(self, txn: Any, block_id: Any = None) -> int:
        """With a margin."""
        return int(super().estimate_gas_cost(txn, block_id=block_id) * GAS_MARGIN)


def live_node(url: str) -> ProviderAPI:
    """A provider that is not connected yet."""
    from ape import networks

    return networks.create_custom_provider(url, provider_cls=UrlProvider)

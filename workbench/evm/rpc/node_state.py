"""A node's chain id and newest state: see `core.ports.Node`."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.errors import NoBaseFee, RpcFault
from workbench.core.ports import NodeState
from workbench.evm.rpc.client import BLOCK, Rpc


async def refuse_no_eip1559(rpc: Rpc) -> None:
    """Raise NoBaseFee on a chain without EIP-1559: it would refuse all our transactions."""
    if (await EvmNode(rpc).state(())).base_fee is None:
        raise NoBaseFee(
            "the chain's newest block has no base fee (EIP-1559), so no transaction can be sent.",
            hint="Use a chain with EIP-1559; or check the RPC URL.",
        )


class EvmNode:
    """See `core.ports.Node`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def chain_id(self) -> int:
        """See `core.ports.Node`. Raises RpcUnreachable or RpcFault."""
        return int(await self._rpc.call("eth_chainId"), 16)

    async def state(self, accounts: Sequence[str]) -> NodeState:
        """See `core.ports.Node`. Raises RpcUnreachable or RpcFault."""
        block = await self._rpc.call(BLOCK, "latest", False)
        if block is None:
            raise RpcFault("the node has no newest block.", method=BLOCK)
        balances = {
            account: int(await self._rpc.call("eth_getBalance", account, "latest"), 16)
            for account in accounts
        }
        fee = block.get("baseFeePerGas")
        return NodeState(
            number=int(block["number"], 16),
            timestamp=int(block["timestamp"], 16),
            base_fee=None if fee is None else int(fee, 16),
            balances=balances,
        )

"""Plain transactions by one key: what the people around the services do on the chain."""

from __future__ import annotations

from workbench.evm.codec.abi import hex_bytes
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.signer import KeySigner

FEE_WEI, TIP_WEI = 10**12, 10**9
"""Enough in most weathers, out of a buyer's gas money; only base fee and tip are paid."""
ANY_FEE_WEI = 2 * 10**14
"""Above the highest base fee that a scenario may order, in the highest spike."""


class SimWallet:
    """Signs and sends, each with the next nonce. Whoever wants certainty looks at receipts."""

    def __init__(self, rpc: Rpc, key: str, chain_id: int, fee_wei: int = FEE_WEI) -> None:
        self._rpc, self._signer, self._chain_id = rpc, KeySigner(key), chain_id
        self._fee_wei = fee_wei
        self.address = self._signer.address

    async def send(self, to: str, data: bytes = b"", value: int = 0, gas: int = 1_000_000) -> str:
        """The hash of a transaction that waits for a block."""
        nonce = await self._rpc.call("eth_getTransactionCount", self.address, "pending")
        raw, tx = self._signer.sign_transaction(
            {
                "chainId": self._chain_id,
                "type": 2,
                "to": bytes(hex_bytes(to)),
                "data": data,
                "value": value,
                "gas": gas,
                "maxFeePerGas": self._fee_wei,
                "maxPriorityFeePerGas": TIP_WEI,
                "nonce": int(nonce, 16),
            }
        )
        await self._rpc.call("eth_sendRawTransaction", raw)
        return tx

    async def ok(self, tx: str) -> bool | None:
        """Whether the transaction was executed; None while it is in no block."""
        receipt = await self._rpc.call("eth_getTransactionReceipt", tx)
        return None if receipt is None else int(receipt["status"], 16) == 1

"""A wallet of a simulated person: plain transactions by one key."""

from __future__ import annotations

from workbench.evm.codec.abi import hex_bytes
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.signer import KeySigner

FEE_WEI, TIP_WEI = 10**12, 10**9
"""Covers ordinary base fees. Only base fee and tip are paid."""
ANY_FEE_WEI = 2 * 10**14
"""Above the highest base fee that a scenario may order, in the highest spike."""


class SimWallet:
    """Signs and sends, each time with the next nonce. Callers check the receipts."""

    def __init__(self, rpc: Rpc, key: str, chain_id: int, fee_wei: int = FEE_WEI) -> None:
        self._rpc, self._signer, self._chain_id = rpc, KeySigner(key), chain_id
        self._fee_wei = fee_wei
        self.address = self._signer.address

    async def send(self, to: str, data: bytes = b"", value: int = 0, gas: int = 1_000_000) -> str:
        """Send a transaction. Return its hash."""
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
        """Return whether the transaction succeeded; None while it is in no block."""
        receipt = await self._rpc.call("eth_getTransactionReceipt", tx)
        return None if receipt is None else int(receipt["status"], 16) == 1

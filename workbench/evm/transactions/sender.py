"""The sender of one signer: submit intents, track them to finality, stop and release the signer."""

from __future__ import annotations

from workbench.evm.transactions.submit import SlotSubmitter


class SlotSender(SlotSubmitter):
    """The nonce slots of one signer in the store of one service. See `core.ports.Sender`.

    Arguments: see `SlotBroadcaster`. `chain_id` and `source` (the name of the service) are part of
    slots and facts. `nonces`: the policy for nonces that the signer did not use itself.
    `gather_s`: single intents are submitted at most once in this time, all together; an intent
    after a pause does not wait. `bump_after_s`: age at which a waiting transaction gets a higher
    fee; None: only when its fee is below the base fee. `is_thrifty`: read fewer receipts.
    """

    async def stop(self, nonce: int, reason: str) -> None:
        """See `core.ports.PayoutSender.stop`."""
        async with self._store.unit() as unit:
            await self._nonces.stop(unit, nonce, reason)

    async def release(self, by: str, why: str) -> None:
        """See `core.ports.PayoutSender.release`."""
        on_chain = await self._confirmed_nonce()
        async with self._store.unit() as unit:
            await self._nonces.release(unit, on_chain, by, why)

    def capped(self) -> list[str]:
        """See `core.ports.PayoutSender.capped`."""
        return self._fee_bumps.capped()

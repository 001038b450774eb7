"""Quarantine: a foreign use of a key that only this service uses stops the signer.

A foreign transaction with one of our nonces means that the key is used elsewhere, or has leaked. A
chain nonce ahead of the database means the same, or that an old database was restored, which does
not know later payments. No program can decide these cases.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench.core import facts as ev
from workbench.core.confirmed_readings import ConfirmedReadings
from workbench.core.ports import Clock, Ledger, SignerState, Slot
from workbench.evm.transactions.slots import SharedNonces


class Quarantine(SharedNonces):
    """See the module. The state is in the store; the fact is recorded once."""

    def __init__(self, clock: Clock, *, chain_id: int, address: str, source: str) -> None:
        self._clock, self._source = clock, source
        self._chain_id, self._address = chain_id, address
        self._readings, self._suspicion = ConfirmedReadings(), ""
        self.is_new = True

    async def choose(self, unit: Any, on_chain: int, counted: int) -> int | None:
        """Return the nonce of a new slot, or None and stop after a confirmed foreign use."""
        standing = await self._standing(unit, on_chain)
        nonce = max(counted, standing.first_nonce)
        self._suspicion = ""
        if standing.quarantine:
            return None
        if on_chain <= nonce:
            self._readings.forget("ahead")
            return nonce
        text = f"the chain has used nonce {on_chain - 1}, and our database ends below {nonce}"
        if self._readings.confirms("ahead", (on_chain, nonce), self._clock.now_ms()):
            await self._stop(unit, standing, on_chain - 1, text)
        else:
            self._suspicion = f"first reading: {text}; a second reading follows."
        return None

    def suspicion(self) -> str:
        return self._suspicion

    async def fills(self, unit: Any, nonce: int) -> bool:
        standing = await self._standing(unit, nonce)
        await self._stop(unit, standing, nonce, f"our database has lost nonce {nonce}")
        return False

    async def lost(self, unit: Any, slot: Slot) -> None:
        standing = await self._standing(unit, slot.nonce)
        text = f"nonce {slot.nonce}, taken for {slot.subject}, went to a foreign transaction"
        await self._stop(unit, standing, slot.nonce, text)

    async def stop(self, unit: Any, nonce: int, reason: str) -> None:
        """Stop, unless a person has released the signer for this very reason."""
        told = await unit.facts(subject="")
        if not any(isinstance(f, ev.SignerReleased) and f.reason == reason for _, f in told):
            await self._stop(unit, await self._standing(unit, nonce), nonce, reason)

    async def release(self, unit: Any, on_chain: int, by: str, why: str) -> None:
        """Release the signer: new slots start at the nonce of the chain or above."""
        standing = await self._standing(unit, on_chain)
        if not standing.quarantine:
            return
        first = max(standing.first_nonce, on_chain)
        await unit.put_signer(self._chain_id, self._address, SignerState(first))
        await unit.record(
            ev.SignerReleased(
                subject="",
                at_ms=self._clock.now_ms(),
                source=self._source,
                signer=self._address,
                reason=standing.quarantine,
                by=by,
                why=why,
            )
        )

    async def _standing(self, unit: Ledger, on_chain: int) -> SignerState:
        """Return the state of the signer. A new key starts at the nonce of the chain.

        Its row is locked, so that processes take nonces one after the other.
        """
        standing = await unit.signer(self._chain_id, self._address, locked=True)
        self.is_new = False
        if standing is None:
            standing = SignerState(on_chain)
            await unit.put_signer(self._chain_id, self._address, standing)
        return standing

    async def _stop(self, unit: Ledger, standing: SignerState, nonce: int, text: str) -> None:
        """Store the stop and its fact, once."""
        if standing.quarantine:
            return
        stopped = replace(standing, quarantine=text)
        await unit.put_signer(self._chain_id, self._address, stopped)
        await unit.record(
            ev.SignerQuarantined(
                subject="",
                at_ms=self._clock.now_ms(),
                source=self._source,
                signer=self._address,
                nonce=nonce,
                reason=text,
            )
        )

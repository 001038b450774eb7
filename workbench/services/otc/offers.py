"""Offers that prove themselves: what a 402 promised is in its salt, not in a database.

A 402 costs anybody one GET, so it must not cost us a row for ever. The salt of the offered terms
holds the time, random bits, and a keyed hash over both and over all that the seller chose. So a
payment proves by itself that its terms are an offer of ours, word for word; to a seller that was
restarted in between, too, since the key is made from the signer's. PaymentRequested is recorded
with the payment at the latest. Before that it is recorded for some unanswered offers a minute
only: what nobody took can be seen, and a flood is a trickle in the journal.
"""

from __future__ import annotations

import hmac
import json
from hashlib import sha256

from workbench.core import facts as ev
from workbench.core.errors import TermsMismatch
from workbench.core.ports import Signer
from workbench.core.records import replace
from workbench.core.x402 import Domain, Terms

NOTED_PER_MINUTE = 60
"""So many offers a minute are recorded before anybody answers them."""
MINUTE_MS = 60_000
TIME, RANDOM, PROOF = 6, 10, 16
"""Bytes of a salt: Unix milliseconds, random bits, keyed hash."""
OFFERED = (
    "seller",
    "asset",
    "asset_amount",
    "required_usdc",
    "fund_deadline",
    "swap_deadline",
    "resource_hash",
)
"""The terms that are the seller's to choose."""


class OfferIssuer:
    """Makes and recognises one seller's offers on one chain."""

    def __init__(self, signer: Signer, domain: Domain) -> None:
        name = f"settlement-workbench offers {domain.chain_id} {domain.vault}"
        # The signature of a text that is no transaction and no typed data; it never leaves us.
        self._key = signer.sign_digest(sha256(name.encode()).digest()).encode()
        self._minute, self._noted = 0, 0

    def sealed(self, terms: Terms, at_ms: int, token: str) -> Terms:
        """The terms with their salt. `token`: 32 random bytes as 0x hex."""
        body = at_ms.to_bytes(TIME, "big") + bytes.fromhex(token[2:])[:RANDOM]
        return replace(terms, salt="0x" + (body + self._proof(terms, body)).hex())

    def _proof(self, terms: Terms, body: bytes) -> bytes:
        chosen = json.dumps([getattr(terms, name) for name in OFFERED])
        return hmac.digest(self._key, chosen.encode() + body, "sha256")[:PROOF]

    def made_at_ms(self, terms: Terms) -> int:
        """When these terms were offered. Raises TermsMismatch for what we never offered so."""
        salt = bytes.fromhex(terms.salt[2:])
        body, proof = salt[: TIME + RANDOM], salt[TIME + RANDOM :]
        if not hmac.compare_digest(proof, self._proof(terms, body)):
            raise TermsMismatch(
                "no offer was made with this salt, or other terms than these were offered with it.",
                hint="Ask for a new offer, and sign its terms as they are.",
            )
        return int.from_bytes(body[:TIME], "big")

    def worth_noting(self, at_ms: int) -> bool:
        """Whether an offer nobody has answered yet is recorded already."""
        minute = at_ms // MINUTE_MS
        if minute != self._minute:
            self._minute, self._noted = minute, 0
        self._noted += 1
        return self._noted <= NOTED_PER_MINUTE


def requested(terms: Terms, at_ms: int, source: str) -> ev.PaymentRequested:
    """The fact that these terms were offered: the same whenever it is recorded."""
    chosen = {name: getattr(terms, name) for name in OFFERED}
    return ev.PaymentRequested(subject=terms.salt, at_ms=at_ms, source=source, **chosen)

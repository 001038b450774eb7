"""Offers that prove themselves: the content of a 402 is in its salt, not in a database.

A 402 costs a client one GET, so it must not cost us a permanent row. The salt of the offered terms
holds the time, random bits, and a keyed hash over both and over all terms that the seller chose. So
a payment proves that its terms are an offer of ours, also after a restart, because the key is
derived from the signer's. PaymentRequested is recorded with the payment at the latest. A few
unanswered offers a minute are recorded earlier, so that they are visible and a flood adds little to
the journal.
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
"""Number of unanswered offers that are recorded in one minute."""
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
"""The terms that the seller chooses."""


class OfferIssuer:
    """Make and recognise the offers of one seller on one chain."""

    def __init__(self, signer: Signer, domain: Domain) -> None:
        name = f"settlement-workbench offers {domain.chain_id} {domain.vault}"
        # A signature of a text that is neither a transaction nor typed data. It stays in this
        # process.
        self._key = signer.sign_digest(sha256(name.encode()).digest()).encode()
        self._minute, self._noted = 0, 0

    def sealed(self, terms: Terms, at_ms: int, token: str) -> Terms:
        """Return the terms with their salt. `token`: 32 random bytes as 0x hex."""
        body = at_ms.to_bytes(TIME, "big") + bytes.fromhex(token[2:])[:RANDOM]
        return replace(terms, salt="0x" + (body + self._proof(terms, body)).hex())

    def _proof(self, terms: Terms, body: bytes) -> bytes:
        chosen = json.dumps([getattr(terms, name) for name in OFFERED])
        return hmac.digest(self._key, chosen.encode() + body, "sha256")[:PROOF]

    def made_at_ms(self, terms: Terms) -> int:
        """Return when these terms were offered, in Unix milliseconds. Raises TermsMismatch if they
        were not."""
        salt = bytes.fromhex(terms.salt[2:])
        body, proof = salt[: TIME + RANDOM], salt[TIME + RANDOM :]
        if not hmac.compare_digest(proof, self._proof(terms, body)):
            raise TermsMismatch(
                "no offer was made with this salt, or other terms than these were offered with it.",
                hint="Ask for a new offer, and sign its terms as they are.",
            )
        return int.from_bytes(body[:TIME], "big")

    def worth_noting(self, at_ms: int) -> bool:
        """Return True if an unanswered offer of this moment is recorded."""
        minute = at_ms // MINUTE_MS
        if minute != self._minute:
            self._minute, self._noted = minute, 0
        self._noted += 1
        return self._noted <= NOTED_PER_MINUTE


def requested(terms: Terms, at_ms: int, source: str) -> ev.PaymentRequested:
    """Return the fact that these terms were offered. It is the same whenever it is recorded."""
    chosen = {name: getattr(terms, name) for name in OFFERED}
    return ev.PaymentRequested(subject=terms.salt, at_ms=at_ms, source=source, **chosen)

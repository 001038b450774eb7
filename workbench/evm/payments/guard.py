"""A signer that decodes what it signs: only authorized payments of one asset on one chain.

The fields of a transaction are decoded before signing, and the signed bytes after it. So a defect
above (wrong receiver, wrong chain, wrong amount) stops here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_hash.auto import keccak

from workbench.core.errors import SigningRefused
from workbench.evm.codec.abi import DECODING_ERRORS, hex_bytes, to_hex
from workbench.evm.payments import batch
from workbench.evm.transactions.signer import KeySigner

TRANSFER = keccak(b"transfer(address,uint256)")[:4]
AUTHORIZED_TYPES = ("address", "address", "uint256", "uint256", "uint256", "bytes32",
                    "uint8", "bytes32", "bytes32")  # fmt: skip
AUTHORIZED = keccak(f"transferWithAuthorization({','.join(AUTHORIZED_TYPES)})".encode())[:4]
"""ERC-3009."""


@dataclass(frozen=True, slots=True)
class DecodedPayment:
    """The effect of a transaction: pay `amount` of `token` (None: native) to `receiver`.

    `nonce` (0x hex) and `before` (Unix seconds): of an ERC-3009 authorization.
    """

    token: str | None
    receiver: str
    amount: int
    nonce: str = ""
    before: int = 0


def fields_of(raw: str) -> dict[str, Any]:
    """Return the fields of an EIP-1559 transaction from its signed bytes. Raises SigningRefused.

    The library's reader takes five times as long, and every payment is read twice.
    """
    import rlp

    signed = hex_bytes(raw)
    parts = rlp.decode(signed[1:]) if signed[:1] == b"\x02" else []
    if len(parts) != 12:
        raise SigningRefused("bytes that are no EIP-1559 transaction.")
    chain_id, _, _, _, _, to, value, data = parts[:8]
    number = int.from_bytes
    return {
        "chainId": number(chain_id, "big"),
        "to": to,
        "value": number(value, "big"),
        "data": data,
    }


def decoded(fields: dict[str, Any]) -> DecodedPayment:
    """Return the payment of a transaction. Raises SigningRefused for any other call."""
    to, data = to_hex(bytes(fields["to"])), bytes(fields["data"])
    if not data:
        return DecodedPayment(None, to, fields["value"])
    try:
        if data[:4] == TRANSFER:
            receiver, amount = decode(["address", "uint256"], data[4:])
            found = DecodedPayment(to, receiver, amount)
        elif data[:4] == AUTHORIZED:
            values = decode(AUTHORIZED_TYPES, data[4:])
            found = DecodedPayment(to, values[1], values[2], to_hex(values[5]), values[4])
        else:
            raise SigningRefused(f"a call of {to_hex(data[:4])} is no payment.")
    except DECODING_ERRORS as why:
        raise SigningRefused("a payment that cannot be decoded.") from why
    if fields["value"]:
        raise SigningRefused("a token's payment that also sends native currency.")
    return found


def authorization_nonce(payout_id: str) -> bytes:
    """Return the ERC-3009 nonce of a payout: the token refuses a second payment with it."""
    return keccak(payout_id.encode())


class PaymentSigner(KeySigner):
    """Signs authorized payments, and empty transfers to itself.

    `batcher`: address of the PayoutBatcher, or None. It may pay batches and receive the token's
    allowance.
    """

    def __init__(
        self, key: str, *, chain_id: int, token: str | None, batcher: str | None = None
    ) -> None:
        super().__init__(key)
        self._chain_id, self._token, self._batcher = chain_id, token, batcher
        self._expected: dict[str, tuple[str, int]] = {}
        # Indexed by the bytes that are signed: a thousand payments may be authorized together.
        self._owed = Counter[tuple[str, int]]()
        self._by_nonce: dict[str, tuple[str, int]] = {}

    def authorize_signing(self, payout_id: str, receiver: str, amount: int) -> None:
        """Allow this payment to be signed."""
        self.revoke_signing(payout_id)
        owed = self._expected[payout_id] = (receiver, amount)
        self._owed[owed] += 1
        if self._token is not None:
            self._by_nonce[to_hex(authorization_nonce(payout_id))] = owed

    def revoke_signing(self, payout_id: str) -> None:
        """Refuse to sign this payment from now on."""
        owed = self._expected.pop(payout_id, None)
        if owed is None:
            return
        self._owed[owed] -= 1
        if not self._owed[owed]:
            del self._owed[owed]
        if self._token is not None:
            self._by_nonce.pop(to_hex(authorization_nonce(payout_id)))

    def sign_digest(self, digest: bytes) -> str:
        raise SigningRefused("this key signs payments only, and no digest of unknown content.")

    def sign_authorization(self, payout_id: str, receiver: str, amount: int, digest: bytes) -> str:
        """Sign an ERC-3009 authorization. `digest` must be that of the authorized payment."""
        if self._expected.get(payout_id) != (receiver, amount):
            raise SigningRefused(f"payout {payout_id} was not announced like that.")
        return super().sign_digest(digest)

    def sign_transaction(self, fields: dict[str, Any]) -> tuple[str, str]:
        self._check(fields)
        raw, tx = super().sign_transaction(fields)
        self._check(fields_of(raw))
        return raw, tx

    def _check(self, fields: dict[str, Any]) -> None:
        """Raise SigningRefused unless the transaction is an authorized payment."""
        if fields["chainId"] != self._chain_id:
            raise SigningRefused(f"a transaction for chain {fields['chainId']}.")
        if self._batcher is not None and (self._is_batch(fields) or self._is_allowance(fields)):
            return
        paid = decoded(fields)
        if paid == DecodedPayment(None, self.address, 0):
            return  # An empty transfer uses a nonce and moves nothing.
        if paid.token != self._token:
            raise SigningRefused(f"a payment of {paid.token or 'native currency'}.")
        owed = (paid.receiver.lower(), paid.amount)
        if not (self._by_nonce.get(paid.nonce) == owed if paid.nonce else owed in self._owed):
            raise SigningRefused(f"a payment of {paid.amount} to {paid.receiver}: not announced.")

    def _is_batch(self, fields: dict[str, Any]) -> bool:
        """Return True for a call of a batch. Raises SigningRefused unless each payment is
        authorized."""
        asked = batch.read(fields)
        if asked is None:
            return False
        if asked.to != self._batcher:
            raise SigningRefused(f"a batch at {asked.to}, which is not our contract.")
        if asked.token != self._token:
            raise SigningRefused(f"a batch of {asked.token or 'native currency'}.")
        if asked.value != (0 if self._token else sum(item.amount for item in asked.items)):
            raise SigningRefused(f"a batch that comes with {asked.value}.")
        known = {batch.payment_id(i): owed for i, owed in self._expected.items()}
        for item in asked.items:
            if known.pop(item.id, None) != (item.to, item.amount):
                text = f"a batch with a payment of {item.amount} to {item.to}: not announced"
                raise SigningRefused(f"{text}, or there twice.")
        return True

    def _is_allowance(self, fields: dict[str, Any]) -> bool:
        """Return True if the call allows the PayoutBatcher, and nobody else, to move the token."""
        assert self._batcher is not None
        plain = to_hex(bytes(fields["to"])) == self._token and not fields["value"]
        return plain and bytes(fields["data"]) == batch.allowing(self._batcher)

"""Keys stay in this module. Signing uses coincurve, on digests that we compute."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from coincurve import PrivateKey, PublicKey

from workbench.core.errors import InvalidSetting
from workbench.core.x402 import Permit
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.codec.fast_abi import keccak, rlp, rlp_list

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half of secp256k1's order. A signature with a larger s is malleable (EIP-2)."""

EIP1559 = b"\x02"
TRANSACTION = (
    "chainId",
    "nonce",
    "maxPriorityFeePerGas",
    "maxFeePerGas",
    "gas",
    "to",
    "value",
    "data",
)
"""The fields of an EIP-1559 transaction, in order, before its access list."""


class KeySigner:
    """Signs with one private key (32 bytes as hex). Its repr shows the address, never the key.

    Raises InvalidSetting for anything but a private key, without the value.
    """

    def __init__(self, key: str) -> None:
        try:
            secret = hex_bytes(key.strip())
            if len(secret) != 32:
                raise ValueError
            self._key = PrivateKey(secret)
        except ValueError:
            raise InvalidSetting(
                "a private key is not 32 bytes of hex.",
                hint="Give 0x and 64 hex digits; the value is not shown here on purpose.",
            ) from None
        self.address = address_of(self._key.public_key)

    def __repr__(self) -> str:
        return f"KeySigner({self.address})"

    def sign_digest(self, digest: bytes) -> str:
        """Return r ‖ s ‖ v, 65 bytes as 0x hex."""
        signed = self._key.sign_recoverable(digest, hasher=None)
        signature = to_hex(signed[:64] + bytes([signed[64] + 27]))
        if len(_SIGNED_HERE) >= KEPT:
            _SIGNED_HERE.clear()
        _SIGNED_HERE[digest, signature] = self.address
        return signature

    def sign_permit(self, digest: bytes, value: int, deadline: int) -> Permit:
        signed = hex_bytes(self.sign_digest(digest))
        return Permit(value, deadline, signed[64], to_hex(signed[:32]), to_hex(signed[32:64]))

    def sign_transaction(self, fields: dict[str, Any]) -> tuple[str, str]:
        """Sign an EIP-1559 transaction without an access list (EIP-2718 type 2)."""
        unsigned = b"".join([rlp(fields[name]) for name in TRANSACTION] + [rlp(())])
        digest = keccak(EIP1559 + rlp_list(unsigned))
        signed = self._key.sign_recoverable(digest, hasher=None)
        r, s = signed[:32].lstrip(b"\0"), signed[32:64].lstrip(b"\0")
        raw = EIP1559 + rlp_list(b"".join([unsigned, rlp(signed[64]), rlp(r), rlp(s)]))
        return to_hex(raw), to_hex(keccak(raw))


def address_of(key: PublicKey) -> str:
    return to_hex(keccak(key.format(compressed=False)[1:])[12:])


KEPT = 4_096
_SIGNED_HERE: dict[tuple[bytes, str], str] = {}
"""The signer of digests that were signed in this process, so that they need no recovery."""


def recover(digest: bytes, signature: str) -> str | None:
    """Return the account that signed `digest`, or None for a signature that is not canonical."""
    return _SIGNED_HERE.get((digest, signature)) or _recovered(digest, signature)


@lru_cache(KEPT)
def _recovered(digest: bytes, signature: str) -> str | None:
    """Return the signer of a digest, or None."""
    try:
        raw = hex_bytes(signature)
    except ValueError:
        return None
    if len(raw) != 65 or raw[64] not in (27, 28) or int.from_bytes(raw[32:64]) > HALF_ORDER:
        return None
    try:
        key = PublicKey.from_signature_and_message(
            raw[:64] + bytes([raw[64] - 27]), digest, hasher=None
        )
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception
        return None
    return address_of(key)

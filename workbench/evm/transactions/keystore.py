"""Encrypted key files (Web3 Secret Storage, version 3)."""

from __future__ import annotations

import json
from typing import Any

from workbench.core.errors import InvalidSetting
from workbench.evm.codec.abi import to_hex
from workbench.evm.transactions.signer import KeySigner

SCRYPT_BLOCKS = 1 << 23
"""Largest n × r of scrypt: 128 bytes each, so at most 1 GiB. The default of geth is 2^21."""
SCRYPT_P = 16
PBKDF2_ROUNDS = 10_000_000
HINT = "PAYOUT_KEYSTORE must name a keystore file of version 3, as geth and `cast wallet` write it."


def key_of_keystore(text: str, password: str) -> str:
    """Return the private key as 0x hex. Raises InvalidSetting with the reason, without content or
    password."""
    kept = _read(text)
    _check_crypto(kept["crypto"])
    key = _opened(kept, password)
    _check_address(kept.get("address"), KeySigner(key).address)
    return key


def _read(text: str) -> dict[str, Any]:
    """Return the content of a key file. Raises InvalidSetting."""
    if text.startswith("\ufeff"):
        raise _refused("it begins with a byte order mark (BOM). Save it as plain UTF-8.")
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError) as why:
        raise _refused("it is not JSON.") from why
    if not isinstance(kept, dict):
        raise _refused("it is not a JSON object.")
    version = kept.get("version")
    if type(version) is not int:
        found = (
            "text" if isinstance(version, str) else "missing" if version is None else "no number"
        )
        raise _refused(f"its version is {found}; it must be the number 3.")
    if version != 3:
        raise _refused(f"it is of version {version}; only version 3 can be read.")
    # Old versions of geth wrote `Crypto`; the library reads both.
    crypto = kept.get("crypto", kept.get("Crypto"))
    if not isinstance(crypto, dict):
        raise _refused("it has no crypto section.")
    return {**kept, "crypto": crypto}


def _check_crypto(crypto: dict[str, Any]) -> None:
    """Raise InvalidSetting for a key derivation outside of bounds: it decides memory and time."""
    if crypto.get("cipher") != "aes-128-ctr":  # The library does not check this.
        raise _refused("its cipher is not aes-128-ctr.")
    kdf, numbers = crypto.get("kdf"), crypto.get("kdfparams")
    if not isinstance(numbers, dict):
        raise _refused("it has no kdfparams.")
    if kdf == "scrypt":
        n, r, p = (_number(numbers, name) for name in ("n", "r", "p"))
        if n & (n - 1) or n < 2 or n * r > SCRYPT_BLOCKS or p > SCRYPT_P:
            raise _refused(f"its scrypt parameters (n={n}, r={r}, p={p}) are out of bounds.")
    elif kdf == "pbkdf2":
        if (rounds := _number(numbers, "c")) > PBKDF2_ROUNDS:
            raise _refused(f"its pbkdf2 takes {rounds} rounds, more than {PBKDF2_ROUNDS}.")
    else:
        raise _refused("its key derivation is neither scrypt nor pbkdf2.")
    if not 32 <= _number(numbers, "dklen") <= 64:
        raise _refused("its dklen is not 32.")


def _number(numbers: dict[str, Any], name: str) -> int:
    value = numbers.get(name)
    if type(value) is not int or not 0 < value < 1 << 31:
        raise _refused(f"kdfparams.{name} is not a whole number above 0.")
    return value


def _opened(kept: dict[str, Any], password: str) -> str:
    """Return the decrypted key. Raises InvalidSetting for a wrong password."""
    from eth_account import Account

    try:
        return to_hex(bytes(Account.decrypt(kept, password)))
    except ValueError as why:
        if "MAC" in str(why):
            raise _refused("the password is wrong.", "Correct PAYOUT_KEYSTORE_PASSWORD.") from why
        raise _refused("its content is damaged.") from why
    except (TypeError, LookupError, AttributeError, NotImplementedError) as why:
        raise _refused("its content is damaged.") from why


def _check_address(said: object, address: str) -> None:
    """Raise InvalidSetting if the file names another account. Some files name none."""
    if said is None:
        return
    plain = str(said).lower().removeprefix("0x")
    if plain != address[2:].lower():
        raise _refused("the address that it names is not that of the key in it.")


def _refused(reason: str, hint: str = HINT) -> InvalidSetting:
    return InvalidSetting(
        f"the keystore cannot be used: {reason}", hint=hint, setting="PAYOUT_KEYSTORE"
    )

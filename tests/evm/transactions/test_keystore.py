"""Keystores are opened, or refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_account import Account

from workbench.core.errors import InvalidSetting
from workbench.evm.transactions.keystore import key_of_keystore
from workbench.evm.transactions.test_keys import key_of

KEY = key_of("payer")
PASSWORD = "a-good-password"
KEPT: dict[str, Any] = Account.encrypt(
    bytes.fromhex(KEY.secret[2:]), PASSWORD, kdf="pbkdf2", iterations=2
)
SCRYPT: dict[str, Any] = Account.encrypt(
    bytes.fromhex(KEY.secret[2:]), PASSWORD, kdf="scrypt", iterations=2
)


def crypto(kept: dict[str, Any] = KEPT, **changes: Any) -> dict[str, Any]:
    """A keystore with other parameters of its key derivation."""
    section = kept["crypto"]
    return {**kept, "crypto": {**section, "kdfparams": {**section["kdfparams"], **changes}}}


def test_as_wallets_write_it() -> None:
    """pbkdf2 and scrypt, with an address, without one, and with one in mixed case."""
    plain = {name: value for name, value in KEPT.items() if name != "address"}
    for kept in (KEPT, SCRYPT, plain, {**KEPT, "address": KEY.address}):
        assert KEY.secret == key_of_keystore(json.dumps(kept), PASSWORD)


REFUSED: list[tuple[str, str]] = [
    ("x", "it is not JSON"),
    ("[" * 100_000, "it is not JSON"),
    ("[]", "it is not a JSON object"),
    ("{}", "its version is missing"),
    ("\ufeff" + json.dumps(KEPT), "begins with a byte order mark"),
    (json.dumps({**KEPT, "version": 1}), "it is of version 1"),
    (json.dumps({**KEPT, "version": 4}), "it is of version 4"),
    (json.dumps({**KEPT, "version": "3"}), "its version is text"),
    (json.dumps({**KEPT, "version": True}), "its version is no number"),
    (json.dumps({**KEPT, "crypto": None}), "it has no crypto section"),
    (json.dumps({**KEPT, "address": "ab" * 20}), "is not that of the key in it"),
    (json.dumps({**KEPT, "address": 5}), "is not that of the key in it"),
    (json.dumps(crypto(c=10**9)), "more than 10000000"),
    (json.dumps(crypto(c="2")), "kdfparams.c is not a whole number"),
    (json.dumps(crypto(dklen=10**6)), "its dklen"),
    (json.dumps(crypto(SCRYPT, n=2**30)), "out of bounds"),
    (json.dumps(crypto(SCRYPT, n=3)), "out of bounds"),
    (json.dumps(crypto(SCRYPT, p=10**6)), "out of bounds"),
    (json.dumps(crypto(SCRYPT, r=2**25)), "out of bounds"),
    (json.dumps({**KEPT, "crypto": {**KEPT["crypto"], "kdf": "md5"}}), "neither scrypt nor"),
    (json.dumps({**KEPT, "crypto": {**KEPT["crypto"], "cipher": "rot13"}}), "aes-128-ctr"),
    (json.dumps({**KEPT, "crypto": {**KEPT["crypto"], "ciphertext": "zz"}}), "damaged"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_used_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidSetting, match="the keystore cannot be used") as wrong:
        key_of_keystore(text, PASSWORD)
    assert reason in wrong.value.message
    assert KEY.secret[2:] not in str(wrong.value.to_json())


def test_a_wrong_password_is_told_as_one() -> None:
    with pytest.raises(InvalidSetting, match="the password is wrong") as wrong:
        key_of_keystore(json.dumps(KEPT), "another-password")
    assert "another-password" not in str(wrong.value.to_json())

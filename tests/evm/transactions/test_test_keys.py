"""The test keys are the public ones, all of them, and are known when seen."""

from __future__ import annotations

import pytest
from eth_account import Account

from workbench.evm.transactions.test_keys import (
    BY_ROLE,
    DERIVATION_PATH,
    TEST_KEYS,
    TEST_MNEMONIC,
    TestKey,
    is_test_key,
    key_of,
)


@pytest.mark.parametrize("key", TEST_KEYS, ids=lambda key: key.role)
def test_it_is_the_mnemonics_key(key: TestKey) -> None:
    Account.enable_unaudited_hdwallet_features()
    path = DERIVATION_PATH.format(index=key.index)
    derived = Account.from_mnemonic(TEST_MNEMONIC, account_path=path)
    assert (key.address, key.secret) == (derived.address, "0x" + bytes(derived.key).hex())


def test_roles_are_distinct_and_complete() -> None:
    assert [key.index for key in TEST_KEYS] == list(range(10))
    assert len(BY_ROLE) == 10
    assert {"deployer", "buyer", "seller", "facilitator", "keeper", "payer"} <= BY_ROLE.keys()


def test_a_test_key_is_known_in_every_form() -> None:
    secret = key_of("buyer").secret
    assert is_test_key(secret)
    assert is_test_key(secret[2:].upper())
    assert is_test_key(f" {secret}\n")
    assert is_test_key(bytes.fromhex(secret[2:]))
    assert is_test_key(int(secret, 16))


def test_other_keys_are_not_test_keys() -> None:
    secret = key_of("buyer").secret
    assert not is_test_key(secret[:-1] + "e")
    assert not is_test_key("")
    assert not is_test_key("no key at all")


def test_a_key_does_not_print_itself() -> None:
    assert key_of("buyer").secret not in repr(key_of("buyer"))

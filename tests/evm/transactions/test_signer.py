"""Keys sign as eth_account does, verify only canonical signatures, and never show themselves."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from eth_account import Account
from eth_account._utils.signing import sign_message_hash
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak
from hypothesis import example, given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.strategies import addresses, uint64, uint256
from workbench.core.errors import InvalidSetting
from workbench.core.x402 import Permit
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.transactions.signer import HALF_ORDER, KeySigner, recover

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRET = "0x" + "11" * 31 + "ab"
digests = st.binary(min_size=32, max_size=32)
secrets = st.integers(1, ORDER - 1).map(lambda n: f"0x{n:064x}")


def test_half_the_order_is_half_the_order() -> None:
    """The constant of EIP-2."""
    assert ORDER // 2 == HALF_ORDER


@given(secrets, digests)
@example(f"0x{1:064x}", bytes(32))
@example(f"0x{ORDER - 1:064x}", b"\xff" * 32)
def test_signatures_are_eth_accounts(secret: str, digest: bytes) -> None:
    """To the byte (RFC 6979), by the same address, and they recover in eth_account's library."""
    signer = KeySigner(secret)
    account = Account.from_key(secret)
    signature = signer.sign_digest(digest)
    *_, expected = sign_message_hash(PrivateKey(hex_bytes(secret)), digest)
    assert to_hex(expected) == signature
    assert account.address.lower() == signer.address
    assert account.address == Account._recover_hash(digest, signature=hex_bytes(signature))
    assert signer.address == recover(digest, signature)


@given(secrets, digests, uint256, uint256)
def test_a_permit_is_the_same_signature_in_parts(
    secret: str, digest: bytes, value: int, deadline: int
) -> None:
    """r, s and v as EIP-2612 takes them."""
    signer = KeySigner(secret)
    signature = signer.sign_digest(digest)
    r, s, v = signature[:66], "0x" + signature[66:130], int(signature[130:], 16)
    assert Permit(value, deadline, v, r, s) == signer.sign_permit(digest, value, deadline)
    assert v in (27, 28)


@examples(25)
@given(
    secrets,
    st.fixed_dictionaries(
        {
            "chainId": st.integers(1, 2**53),
            "nonce": st.integers(0, 2**64 - 2),
            "to": addresses.map(hex_bytes),
            "data": st.binary(max_size=400),
            "value": st.integers(0, 2**128),
            "gas": st.integers(21_000, 2**40),
            "maxFeePerGas": uint64,
            "maxPriorityFeePerGas": uint64,
        }
    ),
)
def test_transactions_are_eth_accounts(secret: str, fields: dict[str, Any]) -> None:
    """Equal bytes and hash; the hash is keccak of the bytes; the sender recovers from them."""
    fields = {**fields, "type": 2}
    signer = KeySigner(secret)
    raw, tx = signer.sign_transaction(fields)
    theirs = Account.from_key(secret).sign_transaction(fields)
    assert (bytes(theirs.raw_transaction), bytes(theirs.hash)) == (hex_bytes(raw), hex_bytes(tx))
    assert to_hex(keccak(hex_bytes(raw))) == tx
    assert signer.address == Account.recover_transaction(raw).lower()
    assert raw.startswith("0x02")


@given(secrets, digests)
def test_the_malleable_twin_is_refused(secret: str, digest: bytes) -> None:
    """The same signature with a high s recovers elsewhere, and counts for nothing here."""
    signature = hex_bytes(KeySigner(secret).sign_digest(digest))
    s = ORDER - int.from_bytes(signature[32:64])
    twin = signature[:32] + s.to_bytes(32) + bytes([27 + 28 - signature[64]])
    assert KeySigner(secret).address == Account._recover_hash(digest, signature=twin).lower()
    assert recover(digest, to_hex(twin)) is None


@given(secrets, digests, digests)
def test_another_digest_is_another_signer(secret: str, digest: bytes, other: bytes) -> None:
    """A signature is about one digest."""
    signer = KeySigner(secret)
    assert (digest == other) == (signer.address == recover(other, signer.sign_digest(digest)))


@given(digests, st.binary(max_size=80) | st.binary(min_size=65, max_size=65))
@example(bytes(32), bytes(64) + b"\x1b")
@example(bytes(32), b"\xff" * 64 + b"\x1c")
@example(bytes(32), b"\x01" * 64 + b"\x00")
def test_garbage_bytes_recover_nobody_or_somebody_but_never_raise(
    digest: bytes, garbage: bytes
) -> None:
    """And where eth_account's library recovers a low-s signature, so do we, and the same."""
    found = recover(digest, to_hex(garbage))
    try:
        expected = Account._recover_hash(digest, signature=garbage).lower()
    except Exception:  # noqa: BLE001 - theirs raises many kinds
        expected = None
    canonical = len(garbage) == 65 and garbage[64] in (27, 28)
    canonical = canonical and int.from_bytes(garbage[32:64]) <= HALF_ORDER
    assert (expected if canonical else None) == found


@given(st.text(max_size=140))
@example("")
@example("0x")
@example("0x" + "zz" * 65)
@example("0x" + "1" * 129)
@example("0x" + "١" * 130)
@example("ключ")
def test_garbage_text_recovers_nobody(garbage: str) -> None:
    """Not hex, odd, or of another alphabet."""
    assert recover(bytes(32), garbage) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_of_another_length_recovers_nobody(size: int) -> None:
    """Digests are 32 bytes."""
    signature = KeySigner(SECRET).sign_digest(bytes(32))
    assert recover(bytes(size), signature) is None


# --- Keeping the key ---


def test_a_signer_shows_its_address_and_never_its_key() -> None:
    """Not in repr, str or a formatted text."""
    signer = KeySigner(SECRET)
    for shown in (repr(signer), str(signer), f"{signer!r:>80}"):
        assert signer.address in shown
        assert SECRET[2:] not in shown.lower()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "0x",
        SECRET[:-1],
        SECRET[:-2],
        SECRET + "ab",
        "0x" + "zz" * 32,
        "0x" + "00" * 32,
        f"0x{ORDER:064x}",
        f"0x{2**256 - 1:064x}",
        "my secret pass phrase",
        "0x" + "１" * 64,
    ],
    ids=lambda key: f"{len(key)} characters {key[:6]}",
)
def test_what_is_no_key_is_refused_without_being_repeated(key: str) -> None:
    """Neither in the error, nor in the traceback that a log would keep."""
    with pytest.raises(InvalidSetting, match="a private key is not 32 bytes of hex") as refused:
        KeySigner(key)
    error = refused.value
    told = f"{error} {error!r} {error.to_json()} {error.__cause__}"
    told += "".join(traceback.format_exception_only(error))
    assert len(key) < 3 or key.removeprefix("0x") not in told
    assert error.__suppress_context__
    assert error.__cause__ is None


def test_a_key_is_taken_with_and_without_prefix_and_spaces() -> None:
    """As people paste it."""
    forms = (SECRET, SECRET[2:], f" {SECRET}\n", SECRET[:2] + SECRET[2:].upper())
    assert 1 == len({KeySigner(form).address for form in forms})

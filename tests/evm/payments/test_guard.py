"""The payer's signer reads what it signs, and signs nothing that was not announced."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from rlp.exceptions import RLPException

from tests.strategies import hexes
from workbench.core.errors import SigningRefused
from workbench.evm.payments import batch
from workbench.evm.payments.guard import (
    AUTHORIZED,
    AUTHORIZED_TYPES,
    TRANSFER,
    PaymentSigner,
    authorization_nonce,
    fields_of,
)
from workbench.evm.transactions.broadcast import signed_fields
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of

KEY = key_of("payer")
TO, OTHER, TOKEN = "0x" + "ab" * 20, "0x" + "cd" * 20, "0x" + "ef" * 20
OWN = KEY.address.lower()


def signer(token: str | None = None) -> PaymentSigner:
    made = PaymentSigner(KEY.secret, chain_id=31337, token=token)
    made.authorize_signing("p", TO, 5)
    return made


def fields(
    to: str = TO, value: int = 5, data: bytes = b"", chain_id: int = 31337
) -> dict[str, Any]:
    return {
        "chainId": chain_id, "type": 2, "nonce": 0, "to": bytes.fromhex(to[2:]), "value": value,
        "data": data, "gas": 21_000, "maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1,
    }  # fmt: skip


def transfer(to: str = TO, amount: int = 5) -> bytes:
    return TRANSFER + encode(["address", "uint256"], [to, amount])


def authorized(to: str = TO, amount: int = 5, payout: str = "p") -> bytes:
    values = [OWN, to, amount, 0, 9, authorization_nonce(payout), 27, b"\0" * 32, b"\0" * 32]
    return AUTHORIZED + encode(AUTHORIZED_TYPES, values)


def test_what_was_announced_is_signed() -> None:
    """By the key's own account; and a no-op, which moves nothing."""
    raw, tx = signer().sign_transaction(fields())
    assert OWN == Account.recover_transaction(raw).lower()
    assert tx.startswith("0x")
    signer().sign_transaction(fields(OWN, 0))
    signer(TOKEN).sign_transaction(fields(TOKEN, 0, transfer()))
    signer(TOKEN).sign_transaction(fields(TOKEN, 0, authorized()))


@given(st.integers(0, 2**256 - 1), st.binary(max_size=200), st.integers(1, 2**63), hexes(20))
def test_bytes_are_read_as_the_library_reads_them(
    value: int, data: bytes, chain_id: int, to: str
) -> None:
    """Also zeros, which RLP writes as nothing; and nothing else than such bytes is read."""
    raw, _ = KeySigner(KEY.secret).sign_transaction(fields(to, value, data, chain_id))
    known = signed_fields(raw)
    assert fields_of(raw) == {name: known[name] for name in ("chainId", "to", "value", "data")}


@pytest.mark.parametrize("raw", ["0x", "0x02", "0x02c0", "0x01c0", "0xf800"])
def test_other_bytes_are_refused(raw: str) -> None:
    with pytest.raises((SigningRefused, ValueError, RLPException)):
        fields_of(raw)


@pytest.mark.parametrize(
    ("token", "wrong"),
    [
        (None, fields(OTHER)),
        (None, fields(value=6)),
        (None, fields(value=50)),
        (None, fields(chain_id=1)),
        (None, fields(OWN, 1)),
        (None, fields(TOKEN, 0, transfer())),
        (None, fields(data=b"\x01")),
        (TOKEN, fields()),
        (TOKEN, fields(OTHER, 0, transfer())),
        (TOKEN, fields(TOKEN, 0, transfer(OTHER))),
        (TOKEN, fields(TOKEN, 0, transfer(amount=6))),
        (TOKEN, fields(TOKEN, 1, transfer())),
        (TOKEN, fields(TOKEN, 0, transfer()[:-1])),
        (TOKEN, fields(TOKEN, 0, bytes.fromhex("095ea7b3") + transfer()[4:])),
        (TOKEN, fields(TOKEN, 0, authorized(OTHER))),
        (TOKEN, fields(TOKEN, 0, authorized(amount=6))),
        (TOKEN, fields(TOKEN, 0, authorized(payout="q"))),
    ],
)
def test_anything_else_is_refused(token: str | None, wrong: dict[str, Any]) -> None:
    """Another receiver, amount, chain, asset, an approval, half a call."""
    with pytest.raises(SigningRefused):
        signer(token).sign_transaction(wrong)


BATCHER = "0x" + "ba" * 20


def batching(token: str | None = None) -> PaymentSigner:
    made = PaymentSigner(KEY.secret, chain_id=31337, token=token, batcher=BATCHER)
    for name in ("p", "q"):
        made.authorize_signing(name, TO, 5)
    return made


def together(
    *payments: tuple[str, str, int], token: str | None = None, to: str = BATCHER, value: int = -1
) -> dict[str, Any]:
    """A batch of (payout, receiver, amount)."""
    items = [(batch.payment_id(name), at, amount) for name, at, amount in payments]
    if token is None:
        data = batch.PAY_NATIVE + encode([batch.PAYMENTS], [items])
        value = sum(amount for _, _, amount in items) if value < 0 else value
    else:
        data = batch.PAY_TOKEN + encode(["address", batch.PAYMENTS], [token, items])
        value = max(0, value)
    return fields(to, value, data)


BOTH = (("p", TO, 5), ("q", TO, 5))


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_batch_of_what_was_announced_is_signed(token: str | None) -> None:
    """All, or some; and of a token also the allowance that it needs."""
    batching(token).sign_transaction(together(*BOTH, token=token))
    batching(token).sign_transaction(together(BOTH[1], token=token))
    batching(token).sign_transaction(fields(OWN, 0))
    if token is not None:
        batching(token).sign_transaction(fields(token, 0, batch.allowing(BATCHER)))


@pytest.mark.parametrize(
    ("token", "wrong"),
    [
        (None, together(("p", OTHER, 5))),
        (None, together(("p", TO, 6))),
        (None, together(("r", TO, 5))),
        (None, together(BOTH[0], BOTH[0])),
        (None, together(*BOTH, ("r", OWN, 1))),
        (None, together(*BOTH, value=11)),
        (None, together(*BOTH, value=9)),
        (None, together(*BOTH, to=OTHER)),
        (None, together(*BOTH, token=TOKEN)),
        (None, {**together(*BOTH), "chainId": 1}),
        (None, {**together(*BOTH), "data": together(*BOTH)["data"][:-1]}),
        (None, fields(TOKEN, 0, batch.allowing(BATCHER))),
        (TOKEN, together(*BOTH)),
        (TOKEN, together(*BOTH, token=OTHER)),
        (TOKEN, together(*BOTH, token=TOKEN, value=1)),
        (TOKEN, together(*BOTH, token=TOKEN, to=TOKEN)),
        (TOKEN, fields(TOKEN, 0, batch.allowing(OTHER))),
        (TOKEN, fields(OTHER, 0, batch.allowing(BATCHER))),
        (TOKEN, fields(TOKEN, 1, batch.allowing(BATCHER))),
        (TOKEN, fields(TOKEN, 0, batch.allowing(BATCHER) + b"\0")),
    ],
)
def test_no_other_batch_is_signed(token: str | None, wrong: dict[str, Any]) -> None:
    """One item that was not announced, one that is there twice, another sum, contract or token."""
    with pytest.raises(SigningRefused):
        batching(token).sign_transaction(wrong)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_without_a_batcher_there_are_no_batches(token: str | None) -> None:
    for wrong in (together(BOTH[0], token=token), fields(TOKEN, 0, batch.allowing(BATCHER))):
        with pytest.raises(SigningRefused):
            signer(token).sign_transaction(wrong)


def test_a_payout_that_has_ended_is_not_signed_again() -> None:
    made = signer()
    made.revoke_signing("p")
    with pytest.raises(SigningRefused, match="not announced"):
        made.sign_transaction(fields())


@pytest.mark.parametrize("token", [None, TOKEN])
@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from([TO, OTHER]), st.integers(0, 2))))
def test_exactly_what_is_announced_now_is_signed(
    token: str | None, steps: list[tuple[str, str, int]]
) -> None:
    """Announced, announced otherwise (amount 0: forgotten), two alike: against a plain list."""
    made, known = PaymentSigner(KEY.secret, chain_id=31337, token=token), dict[str, Any]()
    for name, to, amount in steps:
        if amount:
            made.authorize_signing(name, to, amount)
            known[name] = (to, amount)
        else:
            made.revoke_signing(name)
            known.pop(name, None)
    for to, amount in ((TO, 1), (TO, 2), (OTHER, 1), (OTHER, 2)):
        plain = fields(to, amount) if token is None else fields(TOKEN, 0, transfer(to, amount))
        assert _signs(made, plain) == ((to, amount) in known.values())
        for name in "pqr" if token else "":
            asked = fields(TOKEN, 0, authorized(to, amount, name))
            assert _signs(made, asked) == (known.get(name) == (to, amount))


def _signs(made: PaymentSigner, asked: dict[str, Any]) -> bool:
    try:
        made.sign_transaction(asked)
    except SigningRefused:
        return False
    return True


def test_no_digest_of_unknown_content() -> None:
    """A digest could be anything: a permit for everything the wallet has, say."""
    with pytest.raises(SigningRefused):
        signer().sign_digest(b"\1" * 32)
    with pytest.raises(SigningRefused, match="not announced like that"):
        signer().sign_authorization("p", TO, 6, b"\1" * 32)
    assert 132 == len(signer().sign_authorization("p", TO, 5, b"\1" * 32))


def test_the_key_is_never_shown() -> None:
    assert KEY.secret[2:] not in f"{signer()!r} {signer().__dict__}"

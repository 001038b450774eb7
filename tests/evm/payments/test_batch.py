"""What a receipt tells of a batch, and what of it is believed."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import hexes
from workbench.core.payout import Payout, PayoutOutcome, PayoutState
from workbench.evm.codec.abi import to_hex
from workbench.evm.payments import batch

PAYER, AT, TOKEN = "0x" + "aa" * 20, "0x" + "ba" * 20, "0x" + "ef" * 20
ZERO = "0x" + "00" * 20


def payout(number: int, units: int = 5) -> Payout:
    return Payout(f"p{number}", PayoutState.SENT, address=f"0x{number + 1:040x}", units=units)


def made(*payouts: Payout, token: str | None = None) -> batch.Batch:
    data = batch.encoded(payouts, token)
    value = 0 if token else sum(p.units for p in payouts)
    found = batch.read({"to": bytes.fromhex(AT[2:]), "data": data, "value": value})
    assert found is not None
    return found


def log(
    kind: str, who: Payout, token: str = ZERO, at: str = AT, payer: str = PAYER, **changes: Any
) -> dict[str, Any]:
    to, amount = changes.get("to", who.address), changes.get("amount", who.units)
    words = [payer, to_hex(batch.payment_id(who.id)), to]
    topics = [kind, *("0x" + word[2:].rjust(64, "0") for word in words)]
    kinds, values = ["address", "uint256"], [token, amount]
    if kind == batch.FAILED:
        kinds, values = [*kinds, "bytes"], [*values, b"\x01\x02"]
    skipped = kind == batch.SKIPPED
    data = "0x" if skipped else to_hex(encode(kinds, values))
    return {"address": at, "topics": topics[:3] if skipped else topics, "data": data}


def judged(
    together: batch.Batch, *logs: dict[str, Any], moved: Any = (), status: int = 1
) -> list[PayoutOutcome]:
    receipt = {"status": hex(status), "logs": list(logs)}
    found = batch.outcomes(together, PAYER, receipt, list(moved))
    return [found[item.id][0] for item in together.items]


A, B = payout(1), payout(2, 7)
PAID_B = log(batch.PAID, B)


def test_each_has_its_own_end() -> None:
    native = made(A, B)
    assert [PayoutOutcome.PAID, PayoutOutcome.PAID] == judged(native, log(batch.PAID, A), PAID_B)
    assert [PayoutOutcome.REFUSED, PayoutOutcome.PAID] == judged(
        native, log(batch.FAILED, A), PAID_B
    )
    assert [PayoutOutcome.PAID, PayoutOutcome.PAID] == judged(native, log(batch.SKIPPED, A), PAID_B)
    assert [PayoutOutcome.REFUSED, PayoutOutcome.REFUSED] == judged(native, status=0)


@pytest.mark.parametrize(
    "told",
    [
        [],
        [log(batch.PAID, A), log(batch.PAID, A)],
        [log(batch.PAID, A), log(batch.FAILED, A)],
        [log(batch.PAID, A, amount=6)],
        [log(batch.PAID, A, to=B.address)],
        [log(batch.PAID, A, TOKEN)],
        [log(batch.FAILED, A, amount=6)],
        [log(batch.PAID, A, at=TOKEN)],
        [log(batch.PAID, A, payer=TOKEN)],
    ],
)
def test_what_is_told_otherwise_is_for_a_person(told: list[dict[str, Any]]) -> None:
    """Nothing, twice, another amount, receiver, token; by another contract, of another payer."""
    assert [PayoutOutcome.WRONG, PayoutOutcome.PAID] == judged(made(A, B), *told, PAID_B)


def test_a_token_must_have_moved_too() -> None:
    """Exactly these payments left the wallet: no more, no less, nothing back."""
    together, right = made(A, B, token=TOKEN), [(PAYER, A.address, 5), (PAYER, B.address, 7)]
    told = [log(batch.PAID, A, TOKEN), log(batch.PAID, B, TOKEN)]
    assert [PayoutOutcome.PAID] * 2 == judged(together, *told, moved=right)
    for wrong in (
        [],
        right[:1],
        [*right, right[0]],
        [*right, (A.address, PAYER, 1)],
        [*right, (PAYER, TOKEN, 1)],
        [(PAYER, A.address, 4), right[1]],
    ):
        assert [PayoutOutcome.WRONG] * 2 == judged(together, *told, moved=wrong), wrong
    failed = [log(batch.FAILED, A, TOKEN), told[1]]
    assert [PayoutOutcome.REFUSED, PayoutOutcome.PAID] == judged(together, *failed, moved=right[1:])
    assert [PayoutOutcome.WRONG] * 2 == judged(together, *failed, moved=right)


@given(st.lists(st.tuples(hexes(20), st.integers(0, 2**256 - 1)), max_size=9), st.booleans())
def test_what_is_written_is_read(items: list[tuple[str, int]], is_token: bool) -> None:
    payouts = [
        Payout(str(n), PayoutState.SENT, address=to, units=u) for n, (to, u) in enumerate(items)
    ]
    token = TOKEN if is_token else None
    found = batch.read({"to": b"\xba" * 20, "data": batch.encoded(payouts, token), "value": 3})
    assert found is not None
    assert (AT, token, 3) == (found.to, found.token, found.value)
    expected = [batch.BatchItem(batch.payment_id(p.id), p.address, p.units) for p in payouts]
    assert expected == list(found.items)


@given(st.integers(1, 100), st.integers(0, 10**20))
def test_the_shares_are_the_whole(count: int, gas_wei: int) -> None:
    together = made(*(payout(n) for n in range(count)))
    shares = [together.share(item.id, gas_wei) for item in together.items]
    assert gas_wei == sum(shares)
    assert max(shares) - min(shares) <= 1


def test_a_batch_is_named_by_what_is_in_it() -> None:
    """And by its order; so the same name is the same bytes, but for the fees."""
    assert batch.batch_id([A, B]) == batch.batch_id([A, B])
    assert 3 == len({batch.batch_id(each) for each in ([A, B], [B, A], [A])})

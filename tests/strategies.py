"""What Hypothesis makes for our tests: values of the wire and of the chain, and any JSON at all."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from hypothesis import strategies as st

from workbench.core import facts as ev
from workbench.core.money import UINT256_MAX
from workbench.core.x402 import Payment, Permit, SettlementRequest, Terms, TransferAuthorization

uint64 = st.integers(0, 2**64 - 1)
uint256 = st.integers(0, UINT256_MAX)


def hexes(size: int) -> st.SearchStrategy[str]:
    """`size` bytes as 0x hex in lower case."""
    return st.binary(min_size=size, max_size=size).map(lambda raw: "0x" + raw.hex())


addresses, words, signatures = hexes(20), hexes(32), hexes(65)

terms = st.builds(
    Terms,
    buyer=addresses,
    seller=addresses,
    asset=addresses,
    asset_amount=uint256,
    required_usdc=uint256,
    max_eurc=uint256,
    fund_deadline=uint64,
    swap_deadline=uint64,
    resource_hash=words,
    salt=words,
)
permits = st.builds(
    Permit, value=uint256, deadline=uint256, v=st.integers(0, 255), r=words, s=words
)
transfer_authorizations = st.builds(
    TransferAuthorization, valid_after=uint256, valid_before=uint256, signature=signatures
)


def _payment(agreed: Terms, signed: str, funding: Permit | TransferAuthorization) -> Payment:
    if isinstance(funding, Permit):
        return Payment(agreed.buyer, agreed, signed, permit=funding)
    return Payment(agreed.buyer, agreed, signed, authorization=funding)


payments = st.builds(_payment, terms, signatures, permits | transfer_authorizations)
authorizations = st.builds(
    SettlementRequest,
    settlement_id=words,
    payment=payments,
    seller_signature=signatures,
    seller_permit=permits,
)

blocks = st.builds(
    ev.BlockRef,
    number=st.integers(0, 2**53),
    hash=words,
    tx=words,
    log_index=st.integers(-1, 10_000),
)
_BY_ANNOTATION: dict[str, st.SearchStrategy[Any]] = {
    "int": uint256,
    "str": st.text(max_size=40),
    "bool": st.booleans(),
}


def facts_of(kind: type[ev.Event]) -> st.SearchStrategy[ev.Event]:
    """Facts of one kind: any text, integers of any size, with and without a block."""
    own = {
        f.name: _BY_ANNOTATION[str(f.type)]
        for f in fields(kind)
        if f.default is MISSING and f.name not in ("subject", "at_ms", "source")
    }
    return st.builds(
        kind,
        subject=words | st.text(max_size=20),
        at_ms=st.integers(0, 2**53),
        source=st.text(max_size=12),
        block=st.none() | blocks,
        **own,
    )


facts = st.sampled_from(sorted(ev.Event.kinds.values(), key=lambda k: k.__name__)).flatmap(facts_of)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**256 - 2, 2**256 + 2)
    | st.floats()
    | st.text(max_size=80),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Anything that `json.loads` can return, NaN and the infinities among it."""

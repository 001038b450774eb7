"""EIP-712 digests, compared with eth_account."""

from __future__ import annotations

from typing import Any

from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.codec.reference import AT, StubRpc
from tests.immediate import finished
from tests.strategies import addresses, terms, uint256
from workbench.core.ports import Addresses
from workbench.core.x402 import DOMAIN_NAME, DOMAIN_VERSION, TYPES, Terms
from workbench.evm.codec.eip712 import domain_separator
from workbench.evm.contracts.settlement import EvmChain

chain_ids = st.integers(1, 2**53)
PERMIT_TYPES = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}
RECEIVE_TYPES = {
    "ReceiveWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


def outside_digest(domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any]) -> bytes:
    """EIP-712 as eth_account computes it."""
    signable = encode_typed_data(domain, types, message)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


@given(terms, chain_ids, addresses)
def test_the_settlement_id_is_the_eip712_digest(agreed: Terms, chain_id: int, vault: str) -> None:
    """As eth_account computes it, from what the 402 answer carries: domain, types and terms."""
    at = Addresses(AT.usdc, AT.eurc, AT.asset, vault, AT.puller, AT.hook)
    ours = EvmChain(StubRpc(), chain_id, at)
    expected = outside_digest(ours.domain.to_wire(), TYPES, agreed.to_wire())
    assert expected == ours.terms_digest(agreed)


@given(terms, st.sampled_from(list(Terms.__dataclass_fields__)), st.data())
def test_every_term_counts_for_the_id(agreed: Terms, name: str, data: st.DataObject) -> None:
    """No field can be changed under a signature."""
    other = data.draw(terms.map(lambda t: getattr(t, name)).filter(
        lambda value: value != getattr(agreed, name)))  # fmt: skip
    members = {n: getattr(agreed, n) for n in Terms.__dataclass_fields__}
    ours = EvmChain(StubRpc(), 31337, AT)
    changed = Terms(**{**members, name: other})
    assert ours.terms_digest(agreed) != ours.terms_digest(changed)


@given(
    st.text(max_size=30),
    st.text(max_size=10),
    chain_ids,
    st.tuples(addresses, uint256, uint256, uint256),
)
def test_a_permit_digest_is_that_of_the_token_itself(
    name: str, version: str, chain_id: int, signed: tuple[str, int, int, int]
) -> None:
    """Name, version, chain and nonce are what the token says of itself (EIP-5267)."""
    owner, value, nonce, deadline = signed
    domain = {"name": name, "version": version, "chainId": chain_id, "verifyingContract": AT.eurc}
    rpc = StubRpc(
        "MockUSDC",
        eip712Domain=(b"\x0f", name, version, chain_id, AT.eurc, bytes(32), []),
        nonces=(nonce,),
    )
    message = {
        "owner": owner,
        "spender": AT.puller,
        "value": value,
        "nonce": nonce,
        "deadline": deadline,
    }
    ours = EvmChain(rpc, 31337, AT)
    digest = finished(ours.permit_digest(AT.eurc, owner, value, deadline))
    assert outside_digest(domain, PERMIT_TYPES, message) == digest
    assert {AT.eurc} == set(rpc.asked)
    again = finished(ours.permit_digest(AT.eurc, owner, value, deadline))
    assert digest == again
    assert 3 == len(rpc.asked), "the domain is asked once, the nonce each time"


@given(terms, uint256, uint256, st.text(max_size=30), st.text(max_size=10), chain_ids)
def test_a_transfer_authorization_is_bound_to_its_settlement(
    agreed: Terms, after: int, before: int, name: str, version: str, chain_id: int
) -> None:
    """ERC-3009 in the token's own domain: the whole budget, to the vault, under the id as nonce."""
    domain = {"name": name, "version": version, "chainId": chain_id, "verifyingContract": AT.eurc}
    rpc = StubRpc(
        "MockUSDC", eip712Domain=(b"\x0f", name, version, chain_id, AT.eurc, bytes(32), [])
    )
    ours = EvmChain(rpc, 31337, AT)
    message = {
        "from": agreed.buyer,
        "to": AT.vault,
        "value": agreed.max_eurc,
        "validAfter": after,
        "validBefore": before,
        "nonce": ours.terms_digest(agreed),
    }
    expected = outside_digest(domain, RECEIVE_TYPES, message)
    assert expected == finished(ours.authorization_digest(agreed, after, before))
    assert [AT.eurc] == rpc.asked


def test_our_domain_is_the_one_that_is_signed() -> None:
    """Name and version as the contract was built with."""
    assert ("SettlementVault", "1") == (DOMAIN_NAME, DOMAIN_VERSION)
    separator = domain_separator("SettlementVault", "1", 31337, AT.vault)
    other = domain_separator("SettlementVault", "1", 31338, AT.vault)
    assert 32 == len(separator)
    assert separator != other

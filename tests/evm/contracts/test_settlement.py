"""Calls, reads and signatures of the settlement contracts, compared with web3 and eth_abi."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.codec.reference import AT, StubRpc, item, outside
from tests.hypothesis_profile import examples
from tests.immediate import finished
from tests.strategies import (
    addresses,
    permits,
    signatures,
    terms,
    transfer_authorizations,
    uint256,
    words,
)
from workbench.core import errors
from workbench.core.ports import Addresses, ContractCall, ReferenceRate
from workbench.core.x402 import Permit, Terms, TransferAuthorization
from workbench.evm.codec.abi import signature, to_hex
from workbench.evm.contracts.settlement import EvmChain, checksum
from workbench.evm.rpc.client import NodeRevert, Rpc
from workbench.evm.transactions.signer import KeySigner

# --- Calls ---


def outside_terms(agreed: Terms) -> tuple[Any, ...]:
    """Terms as web3 wants them: addresses in EIP-55, words as bytes."""
    return tuple(
        to_checksum_address(v) if isinstance(v, str) and len(v) == 42
        else HexBytes(v) if isinstance(v, str) else v
        for v in agreed.as_tuple()
    )  # fmt: skip


def outside_permit(permit: Permit) -> tuple[Any, ...]:
    return permit.value, permit.deadline, permit.v, HexBytes(permit.r), HexBytes(permit.s)


def same(call: ContractCall, act: str, function: str, *arguments: Any) -> None:
    """Whether our call is web3's calldata, sent to the vault under the act's name."""
    expected = outside("SettlementVault").encode_abi(function, args=list(arguments))
    assert (act, AT.vault, expected, 0) == (call.act, call.to, to_hex(call.data), call.value)


@examples(25)
@given(terms, permits, transfer_authorizations, permits, st.tuples(signatures, signatures), words)
def test_every_vault_call_is_web3s_calldata(
    agreed: Terms,
    buyer: Permit,
    transfer: TransferAuthorization,
    seller: Permit,
    consents: tuple[str, str],
    pin: str,
) -> None:
    """The whole life of a settlement, to the byte."""
    ours, theirs = EvmChain(StubRpc(), 31337, AT), outside_terms(agreed)
    same(ours.create_settlement(agreed, *consents), "create", "createSettlement",
         theirs, *map(HexBytes, consents))  # fmt: skip
    same(ours.fund(agreed, buyer, seller), "fund", "fund",
         theirs, outside_permit(buyer), outside_permit(seller))  # fmt: skip
    same(ours.fund_with_authorization(agreed, transfer, seller), "fund", "fundWithAuthorization",
         theirs, transfer.valid_after, transfer.valid_before, HexBytes(transfer.signature),
         outside_permit(seller))  # fmt: skip
    same(ours.execute_swap(agreed), "swap", "executeSwap", theirs)
    same(ours.execute_settlement(agreed, pin), "execute", "executeSettlement",
         theirs, HexBytes(pin))  # fmt: skip
    same(ours.refund(agreed, "outside_band"), "refund", "refund",
         theirs, b"outside_band".ljust(32, b"\0"))  # fmt: skip


@given(*[st.integers(0, 2**bits - 1) for bits in (64, 40, 32, 16, 24)])
def test_the_rate_goes_in_and_out_as_web3_says(
    e8: int, set_at: int, max_age: int, band: int, fee: int
) -> None:
    """Each number in its place: a band taken for an age would lock money."""
    rate = ReferenceRate(e8, set_at, max_age, band, fee)
    ours = EvmChain(StubRpc("FacilitatorHook", rate=((e8, set_at, band, max_age, fee),)), 1, AT)
    assert rate == finished(ours.rate())
    call = ours.set_rate(rate)
    _, arguments = outside("FacilitatorHook").decode_function_input(call.data)
    expected = {
        "usdcPerEurcE8": e8, "bandBps": band, "maxAgeSeconds": max_age, "lpFeePips": fee
    }  # fmt: skip
    assert ("set_rate", AT.hook, expected) == (call.act, call.to, dict(arguments))


@given(uint256)
def test_every_read_decodes_what_the_contract_returns(units: int) -> None:
    """Balances, allowances, escrow and claims, asked of the right contract."""
    token = EvmChain(rpc := StubRpc("MockUSDC", balanceOf=(units,), allowance=(units,)), 1, AT)
    vault = EvmChain(
        held := StubRpc(
            "SettlementVault", escrowed=(units,), claimable=(units,), finalityBlocks=(7,)
        ),
        1,
        AT,
    )
    asked = [
        token.balance(AT.eurc, AT.hook),
        token.allowance(AT.eurc, AT.hook),
        vault.escrowed(AT.eurc),
        vault.claimable(AT.eurc, AT.hook),
    ]
    assert [units] * 4 == [finished(each) for each in asked]
    assert 7 == finished(vault.finality_gate())
    assert ([AT.eurc] * 2, [AT.vault] * 3) == (rpc.asked, held.asked)


class StubNode(Rpc):
    """A node that gives one answer to each method, or raises it."""

    url = "http://stub"

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    async def call(self, method: str, *params: Any) -> Any:
        answer = self.answers[method]
        answer = answer(*params) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None: ...


@pytest.mark.parametrize("answer", ["0x", "0x12", "0x" + "00" * 31])
def test_an_answer_of_another_contract_is_named(answer: str) -> None:
    """Without code, or with other code, the error names the address and the function."""
    ours = EvmChain(StubNode(eth_call=answer), 1, AT)
    with pytest.raises(errors.ContractNotFound, match="Contract not found") as wrong:
        finished(ours.balance(AT.eurc, AT.hook))
    with pytest.raises(errors.ContractNotFound, match="Contract not found"):
        finished(ours.permit_digest(AT.eurc, AT.hook, 1, 1))
    assert AT.eurc in wrong.value.message
    assert "balanceOf()" in wrong.value.message
    assert ".env" in wrong.value.hint


def test_a_read_that_reverts_is_explained() -> None:
    """By the error's name, as a transaction's would be."""
    blocked = item("MockUSDC", "error", "Blocked")
    raw = to_hex(keccak(text=signature(blocked))[:4] + encode(["address"], [AT.hook]))
    ours = EvmChain(StubNode(eth_call=NodeRevert("execution reverted", raw)), 1, AT)
    with pytest.raises(errors.TokenRefused, match=AT.hook):
        finished(ours.balance(AT.eurc, AT.hook))


def test_the_chain_is_checked_before_anything_is_promised() -> None:
    """The chain's id, and code at every address: what is missing is named."""
    code = {getattr(AT, name): "0x6001" for name in Addresses.__dataclass_fields__}
    node = StubNode(eth_chainId="0x7a69", eth_getCode=lambda at, _: code[at])
    finished(EvmChain(node, 31337, AT).check())
    with pytest.raises(errors.WrongChain, match="chain 31337, the settings say 80002"):
        finished(EvmChain(node, 80002, AT).check())
    for name in Addresses.__dataclass_fields__:
        at = getattr(AT, name)
        code[at] = "0x"
        with pytest.raises(errors.ContractNotFound, match=rf"no code at {at} \({name}\)"):
            finished(EvmChain(node, 31337, AT).check())
        code[at] = "0x6001"


# --- Signatures ---

YES = "0x" + (b"\x16\x26\xba\x7e" + bytes(28)).hex()
WALLET_ANSWERS: dict[str, tuple[Any, bool]] = {
    "yes": (YES, True),
    "no": ("0x" + "ff" * 32, False),
    "nothing": ("0x", False),
    "yes cut short": (YES[:10], False),
    "a true": ("0x" + "00" * 31 + "01", False),
    "a revert": (NodeRevert("execution reverted", "0x"), False),
}


def test_an_accounts_signature_is_enough_by_itself() -> None:
    """Nobody is asked about a signature that recovers."""
    signer = KeySigner("0x" + "11" * 32)
    signed = signer.sign_digest(b"\7" * 32)
    ours = EvmChain(StubNode(), 1, AT)
    assert finished(ours.valid_signature(signer.address, b"\7" * 32, signed))


@pytest.mark.parametrize("code", ["0x", None])
def test_another_accounts_signature_is_none(code: str | None) -> None:
    """Of an account without code, whatever was signed."""
    signed = KeySigner("0x" + "11" * 32).sign_digest(b"\7" * 32)
    ours = EvmChain(StubNode(eth_getCode=code), 1, AT)
    for given_signature in (signed, "0x", "0x" + "00" * 65, "nonsense"):
        assert not finished(ours.valid_signature(AT.hook, b"\7" * 32, given_signature))


@pytest.mark.parametrize("answer", WALLET_ANSWERS.values(), ids=WALLET_ANSWERS)
def test_a_wallet_is_asked_about_its_signature(answer: tuple[Any, bool]) -> None:
    """ERC-1271 as eth_abi writes it; only the magic word is a yes."""
    asked: list[dict[str, Any]] = []

    def reply(call: dict[str, Any], _: str) -> Any:
        asked.append(call)
        return answer[0]

    ours = EvmChain(StubNode(eth_getCode="0x6001", eth_call=reply), 1, AT)
    assert answer[1] is finished(ours.valid_signature(AT.hook, b"\7" * 32, "0x1234"))
    expected = keccak(text="isValidSignature(bytes32,bytes)")[:4]
    expected += encode(["bytes32", "bytes"], [b"\7" * 32, b"\x12\x34"])
    assert [(AT.hook, to_hex(expected))] == [(call["to"], call["data"]) for call in asked]


# --- Addresses ---


@given(addresses)
def test_checksums_are_eip55(address: str) -> None:
    """From any case."""
    assert to_checksum_address(address) == checksum(address)
    assert checksum(address) == checksum(checksum(address))

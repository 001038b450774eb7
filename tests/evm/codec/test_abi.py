"""Our encoders against the libraries: eth_account for digests, web3 for calls and logs.

And reverts: every one is told with a name and a cause, and no data at all breaks the telling.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from hypothesis import example, given
from hypothesis import strategies as st
from web3 import Web3
from web3.contract import Contract

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
from workbench.core import facts as ev
from workbench.core.errors import WorkbenchError
from workbench.core.ports import Addresses, ContractCall, ReferenceRate
from workbench.core.x402 import (
    DOMAIN_NAME,
    DOMAIN_VERSION,
    TYPES,
    Permit,
    Terms,
    TransferAuthorization,
    snake,
)
from workbench.evm.build.artifacts import load
from workbench.evm.codec import abi
from workbench.evm.codec.abi import (
    ERROR_SOURCES,
    WRAPPED_ERROR,
    abi_type,
    decode_log,
    encode_call,
    explain_revert,
    hex_bytes,
    to_hex,
    unword,
    word,
)
from workbench.evm.contracts.settlement import EvmChain, checksum
from workbench.evm.rpc.client import NodeRevert, Rpc
from workbench.evm.transactions.signer import KeySigner

AT = Addresses(*("0x" + digit * 40 for digit in "123456"))
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


@cache
def outside(name: str) -> type[Contract]:
    """web3's own view of one of our contracts."""
    return Web3().eth.contract(abi=load(name).abi)


class StubRpc(Rpc):
    """A node that answers `eth_call` from a table by function name."""

    url = "http://stub"

    def __init__(self, contract: str = "", **answers: tuple[Any, ...]) -> None:
        self.answers = {
            encode_selector(contract, name): encode_outputs(contract, name, values)
            for name, values in answers.items()
        }
        self.asked: list[str] = []

    async def call(self, method: str, *params: Any) -> Any:
        assert "eth_call" == method
        self.asked.append(params[0]["to"])
        return self.answers[params[0]["data"][:10]]

    async def close(self) -> None: ...


def item(contract: str, kind: str, name: str) -> dict[str, Any]:
    """The one ABI entry of that kind and name."""
    (found,) = (i for i in load(contract).abi if i["type"] == kind and i["name"] == name)
    return found


def encode_selector(contract: str, name: str) -> str:
    """As eth_utils computes it."""
    return to_hex(function_abi_to_4byte_selector(item(contract, "function", name)))  # type: ignore[arg-type]


def encode_outputs(contract: str, name: str, values: tuple[Any, ...]) -> str:
    kinds = [abi_type(output) for output in item(contract, "function", name)["outputs"]]
    return to_hex(encode(kinds, values))


def outside_digest(domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any]) -> bytes:
    """EIP-712 as eth_account computes it."""
    signable = encode_typed_data(domain, types, message)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


# --- EIP-712 ---


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
    separator = abi.domain_separator("SettlementVault", "1", 31337, AT.vault)
    other = abi.domain_separator("SettlementVault", "1", 31338, AT.vault)
    assert 32 == len(separator)
    assert separator != other


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
    """No code, or code that is not what the settings say: the address and the function are told."""
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
    raw = to_hex(revert(ENTRIES["Blocked"], [AT.hook]))
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
    for signature in (signed, "0x", "0x" + "00" * 65, "nonsense"):
        assert not finished(ours.valid_signature(AT.hook, b"\7" * 32, signature))


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


@pytest.mark.parametrize("contract", abi.OURS)
def test_no_function_is_overloaded(contract: str) -> None:
    """`encode_call` goes by name alone; constants of the parents count too."""
    names = [i["name"] for i in load(contract).abi if i["type"] == "function"]
    used = {"eip712Domain", "nonces", "balanceOf", "allowance", "rate", "setRate", "fund"}
    assert [] == [name for name in names if name in used and names.count(name) > 1]
    for name in set(names) & used:
        assert encode_selector(contract, name) == to_hex(abi._functions(contract)[name].selector)


def test_vault_functions_of_the_plan_are_there() -> None:
    """The words of DESIGN are the words of the contract."""
    wanted = "createSettlement fund executeSwap executeSettlement refund cancel claim rescue"
    assert set(wanted.split()) <= set(abi._functions("SettlementVault"))


@given(addresses)
def test_checksums_are_eip55(address: str) -> None:
    """From any case."""
    assert to_checksum_address(address) == checksum(address)
    assert checksum(address) == checksum(checksum(address))


# --- Logs ---

CONTRACT_EVENTS = sorted(
    (kind for kind in ev.Event.kinds.values() if kind.contract), key=lambda kind: kind.__name__
)


def values_of(kind: str, components: list[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """Values of an ABI type."""
    if kind == "tuple":
        return st.tuples(*(values_of(c["type"], c.get("components", [])) for c in components))
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:] or 256) - 1)
    fixed = {
        "address": addresses,
        "bool": st.booleans(),
        "bytes4": st.binary(min_size=4, max_size=4),
        "bytes32": st.binary(min_size=32, max_size=32),
        "bytes": st.binary(max_size=70),
        "string": st.text(max_size=40),
    }
    if kind.startswith("int"):
        half = 2 ** (int(kind[3:]) - 1)
        return st.integers(-half, half - 1)
    return fixed[kind]


def drawn(data: st.DataObject, inputs: list[dict[str, Any]]) -> list[Any]:
    return [data.draw(values_of(i["type"], i.get("components", []))) for i in inputs]


def raw_log(entry: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """A log as a node gives it: topics and data by the ABI, numbers in hex."""
    pairs = list(zip(entry["inputs"], values, strict=True))
    topics = [to_hex(keccak(text=abi.signature(entry)))]
    topics += [to_hex(encode([abi_type(i)], [v])) for i, v in pairs if i["indexed"]]
    plain = [(abi_type(i), v) for i, v in pairs if not i["indexed"]]
    return {
        "address": AT.vault,
        "topics": topics,
        "data": to_hex(encode([k for k, _ in plain], [v for _, v in plain])),
        "blockNumber": "0x2a",
        "blockHash": "0x" + "bb" * 32,
        "transactionHash": "0x" + "cc" * 32,
        "transactionIndex": "0x1",
        "logIndex": "0x3",
        "removed": False,
    }


def as_web3_reads(name: str, entry: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    """What web3 makes of the log, flattened, in our spelling."""
    formatted = {
        **log,
        "topics": [HexBytes(topic) for topic in log["topics"]],
        "data": HexBytes(log["data"]),
        "blockHash": HexBytes(log["blockHash"]),
        "transactionHash": HexBytes(log["transactionHash"]),
        **{n: int(log[n], 16) for n in ("blockNumber", "transactionIndex", "logIndex")},
    }
    event = outside(name).events[entry["name"]]()
    flat: dict[str, Any] = {}
    for key, value in event.process_log(formatted)["args"].items():
        flat |= value if hasattr(value, "items") else {key: value}
    return {
        snake(key): (
            unword(value) if key == "reason"
            else to_hex(value) if isinstance(value, bytes)
            else value.lower() if isinstance(value, str) else value
        )
        for key, value in flat.items()
    }  # fmt: skip


@examples(15)
@given(st.data(), st.integers(0, 2**53))
@pytest.mark.parametrize("kind", CONTRACT_EVENTS, ids=lambda kind: kind.__name__)
def test_a_log_is_decoded_as_web3_does(
    kind: type[ev.Event], data: st.DataObject, at_ms: int
) -> None:
    """Every contract event that is a fact: arguments, structs and indexed ones, block and place."""
    entry = item(kind.contract, "event", kind.__name__)
    log = raw_log(entry, drawn(data, entry["inputs"]))
    fact = decode_log(log, at_ms)
    assert fact is not None
    expected = as_web3_reads(kind.contract, entry, log)
    assert (kind, kind.contract, at_ms) == (type(fact), fact.source, fact.at_ms)
    assert expected.pop("settlement_id", "") == fact.subject
    assert ev.BlockRef(42, log["blockHash"], log["transactionHash"], 3) == fact.block
    ours = {n: v for n, v in ev.to_dict(fact).items()
            if n not in ("type", "subject", "at_ms", "source", "block")}  # fmt: skip
    assert expected == ours
    assert fact == ev.from_json(ev.to_json(fact)), "and it is plain enough for the journal"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CONTRACT_EVENTS if kind is not ev.PoolBalanced],  # About none.
    ids=lambda kind: kind.__name__,
)
def test_every_settlement_event_is_indexed_by_its_settlement(kind: type[ev.Event]) -> None:
    """DESIGN: every settlement event carries `bytes32 indexed settlementId`, and comes first."""
    first = item(kind.contract, "event", kind.__name__)["inputs"][0]
    assert ("settlementId", "bytes32", True) == (first["name"], first["type"], first["indexed"])


def test_one_emitter_for_each_fact() -> None:
    """No other of our contracts has an event by the same name: a reader by topic counts once."""
    names = {kind.__name__: kind.contract for kind in CONTRACT_EVENTS}
    emitters = [
        (entry["name"], contract)
        for contract in abi.OURS
        for entry in load(contract).abi
        if entry["type"] == "event" and entry["name"] in names
    ]
    assert sorted(names.items()) == sorted(emitters)


def test_logs_of_others_are_no_facts() -> None:
    """A transfer, an anonymous event, and a topic that nobody knows."""
    log = raw_log(item("MockUSDC", "event", "Transfer"), [AT.hook, AT.vault, 7])
    assert decode_log(log, 0) is None
    assert decode_log({**log, "topics": []}, 0) is None
    assert decode_log({**log, "topics": ["0x" + "00" * 32]}, 0) is None


# --- Words ---


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=32))
def test_a_reason_survives_its_word(reason: str) -> None:
    """32 bytes on chain, and the same text (in lower case) when read back."""
    assert 32 == len(word(reason))
    assert reason.lower() == unword(word(reason))


@given(st.binary(min_size=32, max_size=32))
def test_any_word_can_be_read(data: bytes) -> None:
    """Whatever somebody wrote there."""
    assert len(unword(data)) <= 32


# --- Reverts ---


def error_entries() -> dict[str, dict[str, Any]]:
    """Every custom error that our contracts can give, by name."""
    return {
        entry["name"]: entry
        for contract in ERROR_SOURCES
        for entry in load(contract).abi
        if entry["type"] == "error"
    }


ENTRIES = error_entries()


def revert(entry: dict[str, Any], values: list[Any]) -> bytes:
    kinds = [abi_type(i) for i in entry["inputs"]]
    return keccak(text=abi.signature(entry))[:4] + encode(kinds, values)


def wrap(inner: bytes) -> bytes:
    """How PoolManager passes a hook's revert on."""
    return WRAPPED_ERROR + encode(
        ["address", "bytes4", "bytes", "bytes"], [AT.hook, b"swap", inner, b"detail"]
    )


def test_wrapped_error_is_uniswaps() -> None:
    """The selector is that of CustomRevert.WrappedError."""
    assert keccak(text="WrappedError(address,bytes4,bytes,bytes)")[:4] == WRAPPED_ERROR


def test_every_meaning_belongs_to_an_error_that_exists() -> None:
    """A renamed error would silently lose its meaning."""
    assert set() == set(abi._MEANING) - set(ENTRIES)


def test_no_two_errors_share_a_selector() -> None:
    """Four bytes are few."""
    selectors = {keccak(text=abi.signature(entry))[:4] for entry in ENTRIES.values()}
    assert len(ENTRIES) == len(selectors)


@examples(4)
@given(st.data(), st.integers(0, 5))
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_error_is_explained(name: str, data: st.DataObject, depth: int) -> None:
    """By meaning where it has one, else by name; always with its arguments; also when wrapped."""
    entry = ENTRIES[name]
    values = drawn(data, entry["inputs"])
    raw = revert(entry, values)
    for _ in range(depth):
        raw = wrap(raw)
    error = explain_revert(raw)
    kind, text = abi._MEANING.get(name, (errors.Reverted, f"the contract refused with {name}"))
    assert (kind, name) == (type(error), error.details["revert"])
    assert error.message.startswith(text)
    shown = [to_hex(v) if isinstance(v, bytes) else str(v) for v in values]
    assert [] == [v for v in shown if v[:80] not in error.message]


@pytest.mark.parametrize(
    ("name", "kind", "seed"),
    [
        ("AllowanceTooLow", errors.InsufficientAllowance,
         "Settlement failed: insufficient allowance"),
        ("ERC20InsufficientAllowance", errors.InsufficientAllowance,
         "Settlement failed: insufficient allowance"),
        ("PartialFill", errors.InsufficientOutput, "Swap failed: insufficient output"),
        ("OutsideBand", errors.OutsideBand, "Swap failed: "),
        ("StaleRate", errors.StaleRate, "Swap failed: "),
        ("NotFinal", errors.NotFinal, ""),
        ("BadStatus", errors.StateMoved, ""),
    ],
)  # fmt: skip
def test_the_seeds_words_are_said(name: str, kind: type[WorkbenchError], seed: str) -> None:
    """What the seed's troubleshooting lists is what people read, and whether to wait is right."""
    entry = ENTRIES[name]
    values = [b"\1" * 32 if i["type"] == "bytes32" else AT.eurc if i["type"] == "address" else 1
              for i in entry["inputs"]]  # fmt: skip
    error = explain_revert(revert(entry, values))
    assert type(error) is kind
    assert error.message.startswith(seed)
    transient = {"StaleRate", "NotFinal", "BadStatus"}
    assert (name in transient) == error.transient


@given(st.text(max_size=300))
def test_a_reason_in_text_is_told(reason: str) -> None:
    """`require(…, "text")`, as long as one can read it."""
    error = explain_revert(bytes.fromhex("08c379a0") + encode(["string"], [reason]))
    assert errors.Reverted is type(error)
    assert f"the contract refused: {reason[:100]}" in error.message


@given(uint256)
def test_a_panic_is_told_with_its_code(code: int) -> None:
    """Overflow is 17, and so on."""
    error = explain_revert(bytes.fromhex("4e487b71") + encode(["uint256"], [code]))
    assert f"the contract panicked with code {code}." == error.message


SELECTORS = [
    b"",
    WRAPPED_ERROR,
    bytes.fromhex("08c379a0"),
    bytes.fromhex("4e487b71"),
    *(keccak(text=abi.signature(entry))[:4] for entry in ENTRIES.values()),
]


@examples(400)
@given(st.sampled_from(SELECTORS), st.binary(max_size=260) | st.lists(
    st.sampled_from([bytes(32), b"\xff" * 32, b"\x20".rjust(32, b"\0"), b"\x80".rjust(32, b"\0"),
                     b"\x80" + bytes(31)]), max_size=8).map(b"".join))  # fmt: skip
@example(b"", b"")
@example(b"", b"\x01")
@example(bytes.fromhex("08c379a0"), encode(["bytes"], [b"\xff\xfe"]))
@example(bytes.fromhex("08c379a0"), encode(["uint256", "uint256"], [32, 2**255]))
@example(keccak(text="StringTooLong(string)")[:4], encode(["bytes"], [b"\xff\xfe"]))
def test_no_revert_data_breaks_the_telling(selector: bytes, body: bytes) -> None:
    """Empty, cut short, not UTF-8, offsets into nowhere: still an error of ours with a message."""
    error = explain_revert(selector + body)
    assert isinstance(error, WorkbenchError)
    assert error.message
    assert not error.transient or error.details["revert"]


@pytest.mark.parametrize("name", sorted(n for n, entry in ENTRIES.items() if entry["inputs"]))
def test_a_known_error_cut_short_keeps_its_name(name: str) -> None:
    """The selector alone already says what happened."""
    error = explain_revert(keccak(text=abi.signature(ENTRIES[name]))[:4])
    kind, _ = abi._MEANING.get(name, (errors.Reverted, ""))
    assert (kind, name) == (type(error), error.details["revert"])


def test_no_depth_of_wrapping_breaks_the_telling() -> None:
    """A contract may wrap as often as its gas allows."""
    raw = revert(ENTRIES["StaleRate"], [1, 2])
    for _ in range(300):
        raw = wrap(raw)
    assert isinstance(explain_revert(raw), WorkbenchError)


def test_a_long_reason_is_cut() -> None:
    """It goes into the journal, and a contract may say anything."""
    error = explain_revert(bytes.fromhex("08c379a0") + encode(["string"], ["x" * 10**5]))
    assert len(error.message) < 1_000
    error = explain_revert(revert(ENTRIES["StringTooLong"], ["y" * 10**5]))
    assert len(error.message) < 1_000


def test_hex_of_bytes_and_back() -> None:
    """With and without the prefix."""
    assert b"\x01\xff" == hex_bytes(to_hex(b"\x01\xff")) == hex_bytes("01ff")
    assert b"" == hex_bytes("0x")
    assert encode_call("SettlementVault", "finalityBlocks") == keccak(text="finalityBlocks()")[:4]


def test_reverts_are_explained_where_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the payouts' container there is no contract of ours; tokens speak ERC-6093 there, too."""

    def missing(name: str) -> Any:
        raise errors.NotCompiled(f"No compiled contract {name}.")

    monkeypatch.setattr(abi, "interface", missing)
    abi._error_table.cache_clear()
    try:
        short = keccak(b"ERC20InsufficientBalance(address,uint256,uint256)")[:4]
        told = explain_revert(
            short + encode(["address", "uint256", "uint256"], ["0x" + "ab" * 20, 1, 2])
        )
        assert "needed 2" in told.message
        assert "without a reason that we know" in explain_revert(b"\x01\x02\x03\x04").message
    finally:
        abi._error_table.cache_clear()

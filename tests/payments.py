"""A buyer's payment as an outside client would build it: eth_account signs, we do not."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

from eth_account import Account
from web3 import Web3

from workbench import World
from workbench.core.ports import Response
from workbench.evm.transactions.test_keys import key_of

AMOUNT = 100 * 10**18
SELLER = "http://seller"
PERMIT_TYPES = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}
ERC20_ABI = [
    {
        "type": "function",
        "name": name,
        "stateMutability": "view",
        "inputs": [{"name": "owner", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
    for name in ("nonces", "balanceOf")
]
Change = Callable[[dict[str, Any]], None]


def offer(world: World, amount: int = AMOUNT) -> dict[str, Any]:
    """What the seller's 402 says."""
    answer = world.get(f"{SELLER}/buy-asset?amount={amount}")
    assert answer.status == 402
    requirement: dict[str, Any] = answer.data()["payment_requirement"]
    return requirement


def payment(
    world: World,
    requirement: dict[str, Any],
    *,
    max_eurc: int = 101_000_000,
    key: str | None = None,
    domain: Change = lambda _: None,
    terms: Change = lambda _: None,
    permit: Change = lambda _: None,
    permit_value: int | None = None,
) -> dict[str, Any]:
    """A signed payment. `domain` and `terms` alter what is signed, `permit` what is permitted."""
    secret = key or key_of("buyer").secret
    account = Account.from_key(secret)
    signed_domain = copy.deepcopy(requirement["domain"])
    domain(signed_domain)
    signed = {**requirement["terms"], "buyer": account.address, "maxEurc": max_eurc}
    terms(signed)
    message = Account.sign_typed_data(secret, signed_domain, requirement["types"], signed)
    value = max_eurc if permit_value is None else permit_value
    permitted = _permit(world, account.address, secret, value, signed["fundDeadline"])
    permit(permitted)
    return {
        "client": account.address,
        "terms": signed,
        "terms_signature": "0x" + message.signature.hex().removeprefix("0x"),
        "permit": permitted,
    }


def _permit(world: World, owner: str, secret: str, value: int, deadline: int) -> dict[str, Any]:
    eurc = world.deployment["MockEURC"]
    token = world.web3.eth.contract(Web3.to_checksum_address(eurc), abi=ERC20_ABI)
    domain = {
        "name": "Mock EURC",
        "version": "1",
        "chainId": world.deployment.chain_id,
        "verifyingContract": eurc,
    }
    message = {
        "owner": owner,
        "spender": world.deployment["PermitPuller"],
        "value": value,
        "nonce": token.functions.nonces(owner).call(),
        "deadline": deadline,
    }
    signed = Account.sign_typed_data(secret, domain, PERMIT_TYPES, message)
    word = "0x{:064x}"
    return {
        "value": value,
        "deadline": deadline,
        "v": signed.v,
        "r": word.format(signed.r),
        "s": word.format(signed.s),
    }


def header(content: Any) -> str:
    """The X-PAYMENT header's value."""
    return base64.b64encode(json.dumps(content).encode()).decode()


def pay(world: World, content: Any, amount: int = AMOUNT) -> Response:
    """Send a payment (or, as text, whatever one likes) to the seller."""
    value = content if isinstance(content, str) else header(content)
    return world.get(f"{SELLER}/buy-asset?amount={amount}", X_PAYMENT=value)


def follow(world: World, settlement_id: str, blocks: int = 60) -> dict[str, Any]:
    """The seller's view once the settlement has ended and is final."""
    for _ in range(blocks):
        view: dict[str, Any] = world.get(f"{SELLER}/settlement/{settlement_id}").data()
        if view["final"]:
            return view
        world.advance()
    raise AssertionError(f"no end after {blocks} blocks: {view}")

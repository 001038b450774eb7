"""A buyer whose JSON goes through JavaScript, which rounds numbers above 2^53 (RFC 8259, 6)."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.payments import follow, pay, payment
from workbench import World
from workbench.core.money import UINT256_MAX
from workbench.core.x402 import TERMS_TYPE, Payment, Permit, Terms, TransferAuthorization
from workbench.evm.build.toolchain import node_binary

AMOUNT = 100 * 10**18 + 1  # Above 2^53, and no multiple of what a double keeps.
TAKEN = """
const asked = JSON.parse(require('fs').readFileSync(0, 'utf8')).payment_requirement;
asked.terms = asked.terms_text;
process.stdout.write(JSON.stringify(asked));
"""
AGAIN = "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(0, 'utf8'))));"


def javascript(script: str, data: bytes) -> Any:
    """What the script writes when it is given these bytes."""
    done = subprocess.run(
        [str(node_binary()), "-e", script], input=data, capture_output=True, check=True
    )
    return json.loads(done.stdout)


def signed(world: World) -> Any:
    """A payment, signed over what JavaScript read in the 402; big numbers are written as text."""
    offer = world.get(f"http://seller/buy-asset?amount={AMOUNT}")
    asked = javascript(TAKEN, offer.body)
    asked["terms"] = {k: int(v) if v.isdecimal() else v for k, v in asked["terms"].items()}
    content = payment(world, asked)
    for part in ("terms", "permit"):
        content[part] = {k: str(v) for k, v in content[part].items()}
    return javascript(AGAIN, json.dumps(content).encode())


def test_a_buyer_in_javascript_buys_by_the_text(world: World) -> None:
    answer = pay(world, signed(world), AMOUNT)
    assert answer.status == 200, answer.data()
    assert answer.data()["asset_amount"] == AMOUNT
    assert follow(world, answer.data()["settlement_id"])["status"] == "executed"


numbers = st.integers(0, UINT256_MAX)
words = st.integers(0, UINT256_MAX).map("0x{:064x}".format)


@given(st.data(), numbers, numbers, st.integers(0, 255), words, st.booleans())
def test_each_number_may_be_a_number_or_its_text(
    data: st.DataObject, value: int, deadline: int, v: int, word: str, by_permit: bool
) -> None:
    """In every part of a payment, in any mixture."""
    who = "0x" + "11" * 20
    members = {"address": who, "uint256": value, "uint64": deadline % 2**64, "bytes32": word}
    terms = Terms.from_wire({name: members[kind] for kind, name in TERMS_TYPE})
    permit = Permit(value, deadline, v, word, word) if by_permit else None
    other = None if by_permit else TransferAuthorization(value, deadline, "0x" + "22" * 65)
    sent = Payment(who, terms, "0x" + "33" * 65, permit, other)

    def mixed(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: mixed(each) for key, each in item.items()}
        return str(item) if type(item) is int and data.draw(st.booleans()) else item

    assert Payment.from_wire(mixed(sent.to_wire())) == sent

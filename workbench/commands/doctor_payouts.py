"""The checks of `workbench doctor` for payouts: node, paying account, token and batcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from workbench.commands.doctor_findings import (
    GAS_FOR_A_DAY_WEI,
    Diagnosis,
    Finding,
    base_fee_finding,
)
from workbench.core.errors import InvalidSetting, WorkbenchError
from workbench.core.money import format_units
from workbench.core.payout import batch_gas
from workbench.core.x402 import ZERO_ADDRESS
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.payments.batch import EvmBatchContract
from workbench.evm.payments.tokens import token_decimals
from workbench.evm.rpc.client import NodeRevert, Rpc
from workbench.evm.rpc.local_marker import is_local
from workbench.evm.rpc.node_state import EvmNode
from workbench.evm.transactions.test_keys import is_test_key
from workbench.settings import Settings
from workbench.worlds.remote import payout_key
from workbench.worlds.rules import PayoutConfig


@dataclass(frozen=True)
class DiagnosedWallet:
    """The paying wallet. `account`: None if nothing is paid out here, and only the PayoutBatcher is
    checked."""

    settings: Settings
    credits: PayoutConfig
    rpc: Rpc
    chain_id: int
    account: str | None


async def payouts_node_answers(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The node answers, and is on the chain where credits are paid."""
    chain_id = int(await wallet.rpc.call("eth_chainId"), 16)
    same = chain_id == wallet.chain_id
    yield Finding(
        "payouts' chain id",
        same,
        str(chain_id)
        if same
        else f"the node is on chain {chain_id}, CHAIN_ID says {wallet.chain_id}.",
        "Correct CHAIN_ID or WEB3_PROVIDER_URL.",
    )


async def payouts_can_be_sent(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The chain has a base fee, as the service requires at its start."""
    state = await EvmNode(wallet.rpc).state(())
    yield base_fee_finding(state)


async def payer_is_safe(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The key is no public test key, except where we booted the node."""
    if wallet.account is None:
        return
    safe = not is_test_key(payout_key(wallet.settings)) or await is_local(wallet.rpc)
    yield Finding(
        "the paying account's key",
        safe,
        wallet.account
        if safe
        else "is a public test key, and this chain is not a local world of ours.",
        "Everybody can empty its account: use a key of your own.",
    )


async def token_is_there(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """There is code at TOKEN_ADDRESS, if credits are paid in a token."""
    if (token := wallet.credits.token) is None:
        return
    found = await wallet.rpc.call("eth_getCode", token, "latest") not in ("0x", None)
    yield Finding(
        "TOKEN_ADDRESS",
        found,
        "" if found else f"Contract not found: no code at {token}.",
        "Correct TOKEN_ADDRESS, or leave it empty to pay native currency.",
    )
    if found:
        try:
            known = await token_decimals(wallet.rpc, token, wallet.credits.decimals)
        except InvalidSetting as why:
            yield Finding("TOKEN_DECIMALS", False, why.message, why.hint)
        else:
            yield Finding("TOKEN_DECIMALS", True, str(known))


async def payer_can_pay_gas(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The wallet holds the highest cost of one transaction, at twice the base fee."""
    if wallet.account is None:
        return
    block = await wallet.rpc.call("eth_getBlockByNumber", "latest", False)
    held = int(await wallet.rpc.call("eth_getBalance", wallet.account, "latest"), 16)
    gas = batch_gas(wallet.credits.batch, is_token=wallet.credits.token is not None)
    needed = max(2 * gas * int(block.get("baseFeePerGas", "0x0"), 16), GAS_FOR_A_DAY_WEI)
    enough = held >= needed
    has = f"{format_units(held, 18)} of the native currency"
    yield Finding(
        "the paying account's gas",
        enough,
        has
        if enough
        else f"{wallet.account} holds {has}; with PAYOUT_BATCH={wallet.credits.batch} it should "
        f"hold {format_units(needed, 18)}.",
        "Send it some." if wallet.credits.batch == 1 else "Send it some, or lower PAYOUT_BATCH.",
    )


async def batcher_is_ours(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The batcher has our code, and a block can hold a batch, as the service requires at its
    start."""
    if wallet.credits.batcher is None:
        return
    try:
        await _batcher(wallet).check()
    except WorkbenchError as why:
        yield Finding("PAYOUT_BATCHER", False, why.message, why.hint)
    else:
        yield Finding("PAYOUT_BATCHER", True, wallet.credits.batcher)


async def batcher_may_move_the_token(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The batcher has an allowance, or the token would give it one. The service sends that
    transaction."""
    token, account = wallet.credits.token, wallet.account
    if wallet.credits.batch == 1 or token is None or account is None:
        return
    batcher, subject = _batcher(wallet), "PAYOUT_BATCHER's allowance"
    if await batcher.may_move(1):
        yield Finding(subject, True)
        return
    request = {"from": account, "to": token, "data": to_hex(batcher.allow().data)}
    try:
        said = hex_bytes(await wallet.rpc.call("eth_call", request, "latest"))
    except NodeRevert:
        said = bytes(32)
    would = said == b"" or any(said)  # Some tokens return nothing for success.
    yield Finding(
        subject,
        would,
        "none yet; the service gives it before its first batch, in a transaction of its own."
        if would
        else "the token would not let it be moved by the contract.",
        "This token cannot be paid in batches: set PAYOUT_BATCH=1.",
    )


def _batcher(wallet: DiagnosedWallet) -> EvmBatchContract:
    credits_ = wallet.credits
    assert credits_.batcher is not None
    return EvmBatchContract(
        wallet.rpc,
        payer=wallet.account or ZERO_ADDRESS,
        token=credits_.token,
        address=credits_.batcher,
        most=credits_.batch,
    )


PAYOUT_CHECKS: tuple[Diagnosis[DiagnosedWallet], ...] = (
    payouts_node_answers,
    payouts_can_be_sent,
    payer_is_safe,
    token_is_there,
    payer_can_pay_gas,
    batcher_is_ours,
    batcher_may_move_the_token,
)

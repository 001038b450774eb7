"""The checks of `workbench doctor` for settlements: node, contracts, roles, keys, money, pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from workbench.commands.doctor_findings import (
    GAS_FOR_A_DAY_WEI,
    Diagnosis,
    Finding,
    base_fee_finding,
)
from workbench.core.money import EURC, YPS, Amount, format_units
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.rpc.client import Rpc
from workbench.evm.rpc.local_marker import is_local
from workbench.evm.rpc.node_state import EvmNode
from workbench.evm.transactions.test_keys import is_test_key
from workbench.settings import ADDRESS_NAMES, Settings
from workbench.worlds.rules import address_of_key


@dataclass(frozen=True)
class DiagnosedChain:
    """Settings, and the chain they name."""

    settings: Settings
    rpc: Rpc
    chain: EvmChain


async def node_answers(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """The node answers, and is on the chain of the settings."""
    chain_id = int(await patient.rpc.call("eth_chainId"), 16)
    wanted = patient.settings["CHAIN_ID"]
    same = chain_id == wanted
    yield Finding(
        "chain id",
        same,
        str(chain_id) if same else f"the node is on chain {chain_id}, CHAIN_ID says {wanted}.",
        "Correct CHAIN_ID or POLYGON_AMOY_RPC_URL.",
    )


async def transactions_can_be_sent(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """The chain has a base fee, as the services require at their start."""
    yield base_fee_finding(await EvmNode(patient.rpc).state(()))


async def contracts_are_there(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """There is code at every address, and the vault agrees about the others."""
    for key, name in ADDRESS_NAMES.items():
        at = getattr(patient.chain.addresses, key)
        code = await patient.rpc.call("eth_getCode", at, "latest")
        found = code not in ("0x", None)
        yield Finding(
            name,
            found,
            "" if found else f"Contract not found: no code at {at}.",
            "Ensure that all contract addresses are set in .env and deployed to this chain.",
        )
    for key in ("usdc", "eurc", "puller", "hook"):
        told = str(await patient.chain.vault_word(key)).lower()
        ours = getattr(patient.chain.addresses, key)
        yield Finding(
            f"the vault's {key}",
            told == ours,
            "" if told == ours else f"the vault uses {told}, the settings say {ours}.",
            f"Correct {ADDRESS_NAMES[key]}.",
        )


async def roles_are_given(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """The facilitator may act on the vault; the keeper may set the rate."""
    roles = (
        ("PRIVATE_KEY", "SettlementVault", "vault", "FACILITATOR_ROLE"),
        ("KEEPER_PRIVATE_KEY", "FacilitatorHook", "hook", "RATE_ROLE"),
    )
    for name, contract, key, role in roles:
        if patient.settings[name] is None:
            continue
        account = address_of_key(patient.settings[name])
        at = getattr(patient.chain.addresses, key)
        has = await patient.chain.has_role(contract, at, role, account)
        yield Finding(
            f"{role} of {name}",
            has,
            "" if has else f"{account} does not have {role} on {contract}.",
            f"Let the admin of {contract} grant it, or use the key that has it.",
        )


async def keys_are_safe(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """Public test keys are used only where we booted the node."""
    local = await is_local(patient.rpc)
    for name in ("BUYER_PRIVATE_KEY", "SELLER_PRIVATE_KEY", "PRIVATE_KEY", "KEEPER_PRIVATE_KEY"):
        key = patient.settings[name]
        if key is None:
            continue
        safe = local or not is_test_key(key)
        yield Finding(
            name,
            safe,
            "" if safe else "is a public test key, and this chain is not a local world of ours.",
            "Everybody can empty its account: use a key of your own.",
        )


async def signers_can_pay_gas(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """Seller, facilitator and keeper hold native currency."""
    for name in ("SELLER_PRIVATE_KEY", "PRIVATE_KEY", "KEEPER_PRIVATE_KEY"):
        if patient.settings[name] is None:
            continue
        account = address_of_key(patient.settings[name])
        wei = int(await patient.rpc.call("eth_getBalance", account, "latest"), 16)
        enough = wei >= GAS_FOR_A_DAY_WEI
        yield Finding(
            f"gas of {name}",
            enough,
            "" if enough else f"{account} holds {format_units(wei, 18)} of the native currency.",
            "Send it some.",
        )


async def parties_hold_tokens(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """The buyer holds EURC, the seller the asset, and PermitPuller may pull the asset."""
    addresses = patient.chain.addresses
    if patient.settings["BUYER_PRIVATE_KEY"]:
        buyer = address_of_key(patient.settings["BUYER_PRIVATE_KEY"])
        held = await patient.chain.balance(addresses.eurc, buyer)
        yield Finding(
            "the buyer's EURC",
            held > 0,
            str(Amount(held, EURC)) if held else "the buyer holds no MockEURC.",
            "Mint or send it some.",
        )
    if patient.settings["SELLER_PRIVATE_KEY"]:
        seller = address_of_key(patient.settings["SELLER_PRIVATE_KEY"])
        held = await patient.chain.balance(addresses.asset, seller)
        yield Finding(
            "the seller's asset",
            held > 0,
            str(Amount(held, YPS)) if held else "the seller holds no YieldPoolShare.",
            "Deposit MockUSDC for shares, or send it some.",
        )
        allowed = await patient.chain.allowance(addresses.asset, seller)
        yield Finding(
            "the seller's allowance",
            allowed > 0,
            ""
            if allowed
            else "Settlement failed: insufficient allowance is what sales without a "
            "permit would end in: PermitPuller may pull nothing.",
            "Let the seller approve PermitPuller for YieldPoolShare; our seller signs permits.",
        )


async def pool_can_swap(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """The pool has liquidity, and the reference rate is fresh."""
    liquidity = await patient.chain.pool_liquidity()
    yield Finding(
        "pool liquidity",
        liquidity > 0,
        ""
        if liquidity
        else "Swap failed: insufficient output is what purchases would end in: the "
        "EURC/USDC pool is empty.",
        "Add liquidity to the pool.",
    )
    rate, head = await patient.chain.rate(), await patient.chain.head()
    left = rate.set_at + rate.max_age_s - head.timestamp
    yield Finding(
        "reference rate",
        left > 0,
        f"{format_units(rate.usdc_per_eurc_e8, 8)} USDC per EURC, good for {left} s"
        if left > 0
        else f"it is {-left} s too old; swaps are refused.",
        "Run the facilitator with KEEPER_PRIVATE_KEY, or set the rate.",
    )


async def finality_fits(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """Our confirmations are not below the vault's gate."""
    gate, ours = await patient.chain.finality_gate(), patient.settings["FINALITY_CONFIRMATIONS"]
    yield Finding(
        "FINALITY_CONFIRMATIONS",
        ours >= gate,
        f"{ours} blocks"
        if ours >= gate
        else f"{ours} is below the vault's gate of {gate} blocks, which rules.",
        f"Set at least {gate}.",
    )


CHECKS: tuple[Diagnosis[DiagnosedChain], ...] = (
    node_answers,
    transactions_can_be_sent,
    contracts_are_there,
    roles_are_given,
    keys_are_safe,
    signers_can_pay_gas,
    parties_hold_tokens,
    pool_can_swap,
    finality_fits,
)

"""`workbench doctor`: looks at all that settlements and payouts need; each fault has its remedy.

Each check is a function on a `DiagnosedChain`, or on a `DiagnosedWallet` that pays out. It yields
one finding for each item that it inspects. A check that cannot run (the node is unavailable) is
itself a fault, and later checks still run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from workbench.core.errors import InvalidSetting, WorkbenchError
from workbench.core.money import EURC, YPS, Amount, format_units
from workbench.core.payout import batch_gas
from workbench.core.ports import NodeState
from workbench.core.x402 import ZERO_ADDRESS
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.payments.batch import EvmBatchContract
from workbench.evm.payments.wallet import token_decimals
from workbench.evm.rpc.client import HttpRpc, NodeRevert, Rpc
from workbench.evm.rpc.local_marker import is_local
from workbench.evm.rpc.node_state import EvmNode
from workbench.evm.transactions.test_keys import is_test_key
from workbench.settings import ADDRESS_NAMES, BY_NAME, Settings
from workbench.worlds.remote import SEPOLIA, payout_key
from workbench.worlds.rules import PayoutConfig, address_of_key
from workbench.worlds.served import credits_of

GAS_FOR_A_DAY_WEI = 10**16
"""0.01 of the native currency: below it a signer will soon be stuck."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, what is wrong and why, and what to do."""

    subject: str
    ok: bool
    cause: str = ""
    remedy: str = ""

    def line(self) -> str:
        """One line for people."""
        if self.ok:
            return f"ok     {self.subject}" + (f": {self.cause}" if self.cause else "")
        return f"fault  {self.subject}: {self.cause} {self.remedy}"


@dataclass(frozen=True)
class DiagnosedChain:
    """Settings and the chain they name."""

    settings: Settings
    rpc: Rpc
    chain: EvmChain


@dataclass(frozen=True)
class DiagnosedWallet:
    """What pays credits out. `account`: None where nothing is paid out here, and only the
    PayoutBatcher is looked at."""

    settings: Settings
    credits: PayoutConfig
    rpc: Rpc
    chain_id: int
    account: str | None


SETTLING = ("POLYGON_AMOY_RPC_URL", *ADDRESS_NAMES.values())
"""Without these there are no settlements; who has none of them may pay out credits alone."""
P = TypeVar("P")
Diagnosis = Callable[[P], AsyncIterator[Finding]]


async def examine(settings: Settings) -> list[Finding]:
    """Every check in order. Never raises for a fault: faults are what it finds."""
    pays = any(settings[name] is not None for name in ("WEB3_PROVIDER_URL", "PAYOUT_BATCHER"))
    settles = not pays or any(settings[name] is not None for name in SETTLING)
    findings = await _settlements(settings) if settles else []
    return findings + (await _payouts(settings) if pays else [])


async def _settlements(settings: Settings) -> list[Finding]:
    missing = [name for name in SETTLING if settings[name] is None]
    remedy = "Set it in .env, or run `workbench up` in this folder."
    findings = [
        Finding(name, False, f"is not set ({BY_NAME[name].meaning}).", remedy) for name in missing
    ]
    if missing:
        return findings
    rpc = HttpRpc(settings["POLYGON_AMOY_RPC_URL"])
    try:
        patient = DiagnosedChain(
            settings, rpc, EvmChain(rpc, settings["CHAIN_ID"], settings.addresses)
        )
        for check in CHECKS:
            findings += await _run(check, patient)
            if check is node_answers and not findings[-1].ok:
                break  # Nothing else can be seen.
    finally:
        await rpc.close()
    return findings


async def _payouts(settings: Settings) -> list[Finding]:
    """Where WEB3_PROVIDER_URL is not set, the batcher is one that `workbench deploy` has named."""
    is_served = settings["WEB3_PROVIDER_URL"] is not None
    url = settings["WEB3_PROVIDER_URL"] or settings["POLYGON_AMOY_RPC_URL"]
    if url is None:
        meaning = BY_NAME["WEB3_PROVIDER_URL"].meaning
        return [Finding("WEB3_PROVIDER_URL", False, f"is not set ({meaning}).", "Set it in .env.")]
    try:
        account = address_of_key(payout_key(settings)) if is_served else None
        credits_ = (
            credits_of(settings) if is_served else PayoutConfig(batcher=settings["PAYOUT_BATCHER"])
        )
    except WorkbenchError as why:
        return [Finding("payouts' settings", False, why.message, why.hint)]
    rpc, is_given = HttpRpc(url), "CHAIN_ID" in settings.given or not is_served
    chain_id = settings["CHAIN_ID"] if is_given else SEPOLIA
    findings: list[Finding] = []
    try:
        wallet = DiagnosedWallet(settings, credits_, rpc, chain_id, account)
        for check in PAYOUT_CHECKS:
            findings += await _run(check, wallet)
            if not findings[0].ok:
                break  # It is the node, and nothing else can be seen.
    finally:
        await rpc.close()
    return findings


async def _run(check: Diagnosis[P], patient: P) -> list[Finding]:
    found: list[Finding] = []
    try:
        async for finding in check(patient):
            found.append(finding)
    except WorkbenchError as why:
        subject = check.__name__.replace("_", " ")
        found.append(Finding(subject, False, why.message, why.hint))
    return found


async def node_answers(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """The RPC answers, and is on the chain that the settings say."""
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
    """The chain has a base fee: as the services look at it when they start."""
    yield _has_base_fee(await EvmNode(patient.rpc).state(()))


async def contracts_are_there(patient: DiagnosedChain) -> AsyncIterator[Finding]:
    """Code at every address, and the vault agrees about the others."""
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
    """Public test keys only where we booted the node."""
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
    """Seller, facilitator and keeper hold some native currency."""
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
    """Our confirmations are not below the vault's gate, and fit into the alarm's time."""
    gate, ours = await patient.chain.finality_gate(), patient.settings["FINALITY_CONFIRMATIONS"]
    yield Finding(
        "FINALITY_CONFIRMATIONS",
        ours >= gate,
        f"{ours} blocks"
        if ours >= gate
        else f"{ours} is below the vault's gate of {gate} blocks, which rules.",
        f"Set at least {gate}.",
    )


# --- Payouts ---


async def payouts_node_answers(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """The RPC answers, and is on the chain where credits are paid out."""
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
    """The chain has a base fee: as the service looks at it when it starts."""
    state = await EvmNode(wallet.rpc).state(())
    yield _has_base_fee(state)


def _has_base_fee(state: NodeState) -> Finding:
    has = state.base_fee is not None
    cause = f"block {state.number} has no base fee, so nothing can be sent."
    return Finding("EIP-1559", has, "" if has else cause, "Use a chain with EIP-1559.")


async def payer_is_safe(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """Not everybody's account, except where we booted the node."""
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
    """Code at TOKEN_ADDRESS, where credits are paid in a token."""
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
    """The wallet holds what one transaction may cost at most, at twice the base fee."""
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
    """As the service looks at it when it starts: our code, and blocks that hold a batch."""
    if wallet.credits.batcher is None:
        return
    try:
        await _batcher(wallet).check()
    except WorkbenchError as why:
        yield Finding("PAYOUT_BATCHER", False, why.message, why.hint)
    else:
        yield Finding("PAYOUT_BATCHER", True, wallet.credits.batcher)


async def batcher_may_move_the_token(wallet: DiagnosedWallet) -> AsyncIterator[Finding]:
    """It has an allowance, or the token would give it one: the service sees to that by itself."""
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
    would = said == b"" or any(said)  # Some tokens say nothing where they agree.
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
PAYOUT_CHECKS: tuple[Diagnosis[DiagnosedWallet], ...] = (
    payouts_node_answers,
    payouts_can_be_sent,
    payer_is_safe,
    token_is_there,
    payer_can_pay_gas,
    batcher_is_ours,
    batcher_may_move_the_token,
)


def report(findings: list[Finding]) -> dict[str, Any]:
    """For machines."""
    faults = [f for f in findings if not f.ok]
    return {
        "status": "faults" if faults else "ok",
        "faults": [{"subject": f.subject, "cause": f.cause, "remedy": f.remedy} for f in faults],
        "checked": len(findings),
    }

"""`workbench deploy`: from settings to a deployment on any chain.

Chain, keys, plan, existing contracts and gas are checked before anything is sent. Then
`evm.deploy.deployment.carry_out` deploys what is missing, through Ape, and verifies.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from workbench.config.world_file import read_world, world_variables
from workbench.core.errors import (
    DeployFailed,
    InvalidSetting,
    RpcAnswerInvalid,
    RpcUnreachable,
    SignerShort,
    TestKeyRefused,
    TransactionTimeout,
    WrongChain,
)
from workbench.core.money import format_units
from workbench.core.ports import ReportProgress
from workbench.evm.build.toolchain import write_atomically
from workbench.evm.contracts.settlement import checksum
from workbench.evm.deploy.addresses import CREATE2_DEPLOYER
from workbench.evm.deploy.deployment import carry_out
from workbench.evm.deploy.inspection import DEPLOYER, DeploymentState
from workbench.evm.deploy.plan import DeploymentPlan, DeploymentResult
from workbench.evm.deploy.uniswap import POOL_MANAGERS
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.local_marker import is_local
from workbench.evm.rpc.node_url import public_url
from workbench.evm.transactions.test_keys import TEST_KEYS
from workbench.settings import BY_NAME, Settings
from workbench.worlds.remote import refuse_test_keys
from workbench.worlds.rules import address_of_key

NETWORKS = {"amoy": 80002, "sepolia": 11155111}
"""Public networks by name. The endpoint is POLYGON_AMOY_RPC_URL for every chain, or --rpc."""
LOCAL = "local"
"""The world that `workbench up` runs in this folder: its node and its keys."""
RPC = "POLYGON_AMOY_RPC_URL"
KEY_OF = {
    "deployer": "DEPLOYER_PRIVATE_KEY",
    "seller": "SELLER_PRIVATE_KEY",
    "buyer": "BUYER_PRIVATE_KEY",
    "facilitator": "PRIVATE_KEY",
    "keeper": "KEEPER_PRIVATE_KEY",
}
"""The parties of a plan, and the settings that hold their keys."""
BOUNDS = {
    "finality_blocks": (0, 10_000),
    "grace_blocks": (0, 10_000),
    # As FacilitatorHook has them.
    "rate_e8": (10_000_000, 1_000_000_000),
    "band_bps": (0, 5_000),
    "rate_max_age_s": (1, 30 * 86_400),
    "lp_fee_pips": (0, 100_000),
    "pool_usdc": (10**6, 10**24),
    "buyer_eurc": (0, 10**24),
    "buyer_usdc": (0, 10**24),
    "seller_yps": (0, 10**36),
}
"""Bounds of a plan's numbers, checked before a contract would revert."""
EARLIER_LIMIT_S = 180.0
LOOK_AGAIN_S = 0.5


@dataclass(frozen=True)
class Target:
    """One chain, and the settings for a deployment there. `source`: what named the endpoint."""

    url: str = field(repr=False)
    chain_id: int
    source: str
    settings: Settings

    @property
    def rpc(self) -> BlockingRpc:
        return BlockingRpc(self.url)


def target(network: str | None, rpc: str | None, chain_id: int | None) -> Target:
    """Return the chain that options and settings name, after reading its chain id.

    Raises InvalidSetting, UnknownWorld, RpcUnreachable or WrongChain.
    """
    named = NETWORKS.get(network or "")
    if named and chain_id and named != chain_id:
        raise InvalidSetting(f"--network {network} is chain {named}, --chain-id says {chain_id}.")
    if network == LOCAL:
        # Only the world: a `.env` for a public chain does not apply.
        settings = Settings.load({}, Path(os.devnull), world=read_world())
    else:
        # On a public network, the test keys of a world in this folder do not apply.
        settings = Settings.load(world={} if named else None)
    url = _url_option(rpc) if rpc else settings.need(RPC)
    source = "--rpc" if rpc else ".workbench/world.json" if network == LOCAL else RPC
    wanted = chain_id or named or settings["CHAIN_ID"]
    _require_chain(url, wanted, source, network)
    values = settings.values | {RPC: url, "CHAIN_ID": wanted}
    return Target(url, wanted, source, replace(settings, values=values))


def _url_option(rpc: str) -> str:
    try:
        return str(BY_NAME[RPC].read(rpc.strip()))
    except InvalidSetting as why:  # The value is not repeated, because it may contain a key.
        raise InvalidSetting(f"--rpc {why.message}.", hint=why.hint) from why


def _require_chain(url: str, wanted: int, source: str, network: str | None) -> None:
    """Raise unless the node at `url` answers and is on the wanted chain."""
    shown = f"{source} ({public_url(url)})"
    try:
        found = int(BlockingRpc(url).now("eth_chainId"), 16)
    except RpcUnreachable as why:
        raise RpcUnreachable(f"{source}: {why.message}", hint=f"Correct {source}.") from why
    except RpcAnswerInvalid as why:
        raise RpcUnreachable(f"{shown} is not an EVM node.", hint=f"Correct {source}.") from why
    if found != wanted:
        meant = f"--network {network} is" if network in NETWORKS else "wanted is"
        raise WrongChain(
            f"{shown} is a node of chain {found}; {meant} chain {wanted}.",
            hint=f"Correct {source}, or say which chain is meant (--network or --chain-id).",
        )


# --- The plan -------------------------------------------------------------------------------------


def plan_for(where: Target, file: Path | None = None) -> DeploymentPlan:
    """Return the default plan, with the values of the file and the parties of the settings.

    Raises InvalidSetting, or TestKeyRefused for public test accounts on a chain that we did not
    boot.
    """
    given = _read_plan(file) if file else {}
    for role in KEY_OF:
        given[role] = _party(role, given, where.settings)
    given["balancer"] = checksum(given.get("balancer") or _balancer(given["deployer"]))
    if not given.get("pool_manager"):
        given["pool_manager"] = official_pool_manager(where.chain_id, where.rpc)
    plan = DeploymentPlan.from_json(given)
    names = [name for name in KEY_OF.values() if where.settings[name]]
    asyncio.run(refuse_test_keys(where.settings, names))
    known = {key.address: key.role for key in TEST_KEYS}
    public = [role for role in (*KEY_OF, "balancer") if given[role] in known]
    if public and not asyncio.run(is_local(where.rpc)):
        raise TestKeyRefused(
            f"the plan's {public[0]} {given[public[0]]} is a public test account, "
            "and this chain is not a local world of ours.",
            hint="Everybody can act as it: name an account of your own.",
        )
    return plan


def official_pool_manager(chain_id: int, rpc: BlockingRpc) -> str:
    """Return Uniswap's own PoolManager if the chain has it, else ""."""
    at = POOL_MANAGERS.get(chain_id, "")
    return at if at and rpc.now("eth_getCode", at, "latest") not in ("0x", None) else ""


def _party(role: str, given: Mapping[str, Any], settings: Settings) -> str:
    """Return the address of a role, from its key or from the plan. Both must agree."""
    name, planned = KEY_OF[role], given.get(role)
    key = settings.need(name) if role == "deployer" else settings[name]
    if key is None:
        if planned:
            return checksum(planned)
        if role == "keeper":  # The deployer may set the rate as well.
            return checksum(address_of_key(settings.need(KEY_OF["deployer"])))
        raise InvalidSetting(
            f"{name} is not set ({BY_NAME[name].meaning}).",
            hint=f'Set it in .env, or give the address as "{role}" in a --plan file.',
            setting=name,
        )
    address = checksum(address_of_key(key))
    if planned and checksum(planned) != address:
        raise InvalidSetting(
            f"the plan's {role} is {checksum(planned)}, but {name} is the key of {address}.",
            hint="Correct one of them, or leave the role out of the plan.",
            setting=name,
        )
    return address


def _balancer(deployer: str) -> str:
    """Return the account that may balance the pool: the deployer, because no service does. Local
    worlds have a key for it."""
    ours = DeploymentPlan()
    return ours.balancer if deployer == ours.deployer else deployer


def _read_plan(file: Path) -> dict[str, Any]:
    """Return the values of a plan file. Raises InvalidSetting with the name that is wrong."""
    example = 'A JSON object such as {"pool_usdc": 1000000000000, "finality_blocks": 5}.'
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as why:
        told = why.strerror if isinstance(why, OSError) else "not JSON"
        raise InvalidSetting(f"--plan {file} cannot be read: {told}.", hint=example) from why
    if not isinstance(given, dict):
        raise InvalidSetting(f"--plan {file} is not a plan.", hint=example)
    known = [item.name for item in fields(DeploymentPlan)]
    for name, value in given.items():
        if name not in known:
            raise InvalidSetting(
                f"--plan {file}: nothing is called {name!r}.", hint=f"There are {', '.join(known)}."
            )
        _check_value(file, name, value)
    return given


def _check_value(file: Path, name: str, value: Any) -> None:
    """Raise InvalidSetting for a value outside of its bounds."""
    if name in BOUNDS:
        low, high = BOUNDS[name]
        if type(value) is not int or not low <= value <= high:
            raise InvalidSetting(
                f"--plan {file}: {name} is out of bounds.",
                hint=f"A whole number from {low} to {high}, in base units.",
            )
    elif name == "payout_batcher":
        if type(value) is not bool:
            raise InvalidSetting(f"--plan {file}: {name} is not true or false.")
    elif not re.fullmatch(r"0x[0-9a-fA-F]{40}", str(value), re.ASCII):
        raise InvalidSetting(
            f"--plan {file}: {name} is not an address.", hint="0x and 40 hex digits."
        )


# --- The deployment -------------------------------------------------------------------------------


def deploy(where: Target, plan: DeploymentPlan, progress: ReportProgress) -> DeploymentResult:
    """Check, then deploy what is missing. Raises SignerShort, DeployFailed, TransactionTimeout."""
    keys = {
        getattr(plan, role): "0x" + where.settings[KEY_OF[role]].removeprefix("0x")
        for role in ("deployer", "seller")
        if where.settings[KEY_OF[role]]
    }
    progress(f"chain {where.chain_id} at {public_url(where.url)}, deployer {plan.deployer}")
    if plan.pool_manager:
        progress(f"PoolManager: Uniswap's own, at {plan.pool_manager}")
    if where.rpc.now("eth_getCode", CREATE2_DEPLOYER, "latest") in ("0x", None):
        raise DeployFailed(
            f"This chain has no CREATE2 deployer at {CREATE2_DEPLOYER}.",
            hint="github.com/Arachnid/deterministic-deployment-proxy says how to bring it there.",
        )
    for address in keys:
        await_earlier(where.rpc, address, progress)
    require_gas(DeploymentState(where.rpc, plan, seller_signs=plan.seller in keys), progress)
    outcome = carry_out(where.url, where.chain_id, plan, progress, keys)
    if plan.seller not in keys:
        progress("note: SELLER_PRIVATE_KEY is not set, so PermitPuller was not allowed to pull")
    for role in ("seller", "facilitator", "keeper"):
        if int(where.rpc.now("eth_getBalance", getattr(plan, role), "latest"), 16) == 0:
            progress(f"note: the {role} {getattr(plan, role)} has nothing to pay gas with yet")
    return outcome


def await_earlier(rpc: BlockingRpc, address: str, progress: ReportProgress) -> None:
    """Wait for the transactions of an interrupted run, which would be sent twice otherwise."""
    limit = time.monotonic() + EARLIER_LIMIT_S
    told = False
    while True:
        sent, mined = (
            int(rpc.now("eth_getTransactionCount", address, tag), 16)
            for tag in ("pending", "latest")
        )
        if sent <= mined:
            return
        if not told:
            progress(f"waiting for {sent - mined} earlier transaction(s) of {address}")
            told = True
        if time.monotonic() > limit:
            raise TransactionTimeout(
                f"{address} has {sent - mined} transaction(s) that nobody mines.",
                hint="Replace them with a higher fee, or wait, and run it again.",
            )
        time.sleep(LOOK_AGAIN_S)


def require_gas(site: DeploymentState, progress: ReportProgress) -> None:
    """Raise SignerShort unless deployer and seller have 1.5 times the gas of what is missing."""
    missing, price = site.missing(), int(site.rpc.now("eth_gasPrice"), 16)
    for payer in (DEPLOYER, "seller"):
        gas = sum(step.gas for step in missing if step.payer == payer)
        if not gas:
            continue
        address, wei = getattr(site.plan, payer), gas * price * 3 // 2
        held = int(site.rpc.now("eth_getBalance", address, "latest"), 16)
        need = f"{gas:,} gas at {price / 10**9:.3g} gwei, times 1.5: {_coins(wei)}"
        if held < wei:
            raise SignerShort(
                f"The {payer} {address} holds {format_units(held, 18)} of the native currency; "
                f"what is missing takes up to {need}.",
                hint=f"Send it {_coins(wei - held)} or more (test networks have faucets).",
            )
        progress(f"gas of the {payer}: {need} at most; it holds {format_units(held, 18)}")


def _coins(wei: int) -> str:
    """Return an amount with six decimals, rounded up."""
    return format_units(-(-wei // 10**12), 6)


# --- Output ---


def summary(outcome: DeploymentResult) -> dict[str, Any]:
    """Return the result for machines."""
    found = outcome.deployment
    return {
        "status": "deployed",
        "chain_id": found.chain_id,
        "addresses": dict(found.addresses),
        "pool_id": found.pool_id,
        "deploy_block": found.deploy_block,
        "created": list(outcome.created),
        "found": list(outcome.found),
        "transactions": outcome.transactions,
    }


def variables(outcome: DeploymentResult) -> dict[str, str]:
    """Return the deployment as settings. Without keys and RPC URL, which often contains one."""
    keep = ("addresses", "chain_id", "deploy_block")
    return world_variables({key: summary(outcome)[key] for key in keep})


class EnvFile:
    """A file of KEY=value lines. It is read before the deployment, so that its errors come
    first."""

    def __init__(self, path: Path) -> None:
        # The target of a link is written, not the link.
        self.given, self.path = path, path.resolve()
        self._read()
        if not self.path.parent.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise InvalidSetting(
                f"--env-out {path} cannot be written.", hint="Name a file in a folder of yours."
            )

    def _read(self) -> list[str]:
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        except (OSError, ValueError) as why:
            raise InvalidSetting(
                f"--env-out {self.given} cannot be read as text.", hint="Name another file."
            ) from why
        return text.splitlines()

    def write(self, found: Mapping[str, str]) -> None:
        """Write these values atomically; every other line is unchanged."""
        left, lines = dict(found), []
        for line in self._read():
            name = re.match(r"\s*(?:export\s+)?(\w+)\s*=", line)
            if name is None or name[1] not in found:
                lines.append(line)
            elif name[1] in left:
                lines.append(f"{name[1]}={left.pop(name[1])}")
        lines += [f"{name}={value}" for name, value in left.items()]
        write_atomically(self.path, "\n".join(lines) + "\n")

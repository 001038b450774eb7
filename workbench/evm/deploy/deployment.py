"""Deploys the settlement world onto a running node: what (plan), where (addresses), the command.

Everything is created by the CREATE2 deployer with fixed salts, so an address is a function of the
code and the plan alone: the same on every machine and chain, whoever sends the transactions. Each
step first looks whether it is done, so an interrupted deployment is finished by running it again.

Ape does the work (`ape_steps`) in a process of its own, because it is slow to import and keeps
global state. `deploy()` starts that process: `python -m workbench.evm.deploy.deployment`. The
module `inspection` reads what exists and what is missing, before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from workbench.core.errors import DeployFailed, RpcFault, RpcUnreachable, WorkbenchError
from workbench.core.ports import ReportProgress
from workbench.evm.build.toolchain import ape_environment, project_root, write_atomically
from workbench.evm.transactions.test_keys import key_of

# There on every chain that matters, and on anvil from genesis (Arachnid's proxy).
CREATE2_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
SALT = bytes(32)
# BEFORE_INITIALIZE, BEFORE_SWAP and AFTER_SWAP: v4 reads them from a hook's address.
HOOK_FLAGS = 0x20C0
HOOK_MASK = 0x3FFF
DYNAMIC_FEE = 0x800000
TICK_SPACING = 10
# The widest range v4 has at this spacing.
TICK_LIMIT = 887_270
Q96 = 1 << 96
RATE_SCALE = 10**8
# 12 digits more than USDC: YieldPoolShare's offset.
SHARES_PER_USDC_UNIT = 10**12
# Longest silence of the deploying process. A public chain mines a step's transactions in a minute.
TIME_LIMIT_S = 300
# How long a public chain's nodes may disagree, and how often we look.
PATIENCE_S = 30.0
LOOK_AGAIN_S = 0.5
RESUME = "Run it again: what is there is found, and the rest is done."

BATCHER = "PayoutBatcher"
"""Of the credits side; the last, so that a plan without it is the same up to there."""
CONTRACTS = (
    "PoolManager",
    "MockUSDC",
    "MockEURC",
    "YieldPoolShare",
    "SettlementVault",
    "PermitPuller",
    "FacilitatorHook",
    "LiquiditySeeder",
    "PoolBalancer",
    BATCHER,
)

PoolKey = tuple[str, str, int, int, str]


@dataclass(frozen=True)
class DeploymentPlan:
    """What a world is made of. Amounts are base units (USDC and EURC 6 decimals, YPS 18).

    `rate_e8` is USDC per EURC times 10**8. `pool_usdc` is the depth of the pool on its USDC side,
    over the full range: a swap of x USDC moves the price by about 2x / pool_usdc.
    `payout_batcher`: whether a PayoutBatcher is wanted, too.
    """

    deployer: str = key_of("deployer").address
    buyer: str = key_of("buyer").address
    seller: str = key_of("seller").address
    facilitator: str = key_of("facilitator").address
    keeper: str = key_of("keeper").address
    balancer: str = key_of("balancer").address
    finality_blocks: int = 2
    grace_blocks: int = 20
    rate_e8: int = 110_000_000
    band_bps: int = 100
    rate_max_age_s: int = 86_400
    lp_fee_pips: int = 500
    pool_usdc: int = 10**9 * 10**6
    buyer_eurc: int = 10**7 * 10**6
    buyer_usdc: int = 10**7 * 10**6
    seller_yps: int = 10**7 * 10**18
    payout_batcher: bool = True
    pool_manager: str = ""
    """Address of a v4 PoolManager that is there already; empty: we create our own."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; large integers stay integers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`. TypeError for unknown fields."""
        return cls(**data)


@dataclass(frozen=True)
class Deployment:
    """Where everything is. Immutable facts of the chain, so it can be kept in a file.

    `hook_salt` and `pool_id` are 0x strings of 32 bytes; `deploy_block` is the first block that
    can hold a log of the vault.
    """

    chain_id: int
    addresses: dict[str, str]
    pool_id: str
    hook_salt: str
    deploy_block: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`. TypeError or KeyError for anything else."""
        deployment = cls(**data)
        needed = [name for name in CONTRACTS if name != BATCHER]
        missing = [name for name in needed if name not in deployment.addresses]
        if missing:
            raise KeyError(f"no address of {', '.join(missing)}")
        return deployment

    def __getitem__(self, name: str) -> str:
        return self.addresses[name]

    @property
    def pool_key(self) -> PoolKey:
        """(currency0, currency1, fee, tickSpacing, hooks), as v4 wants it."""
        return pool_key(self["MockUSDC"], self["MockEURC"], self["FacilitatorHook"])


# --- pure: addresses and prices ----------------------------------------------------------------


def keccak(data: bytes) -> bytes:
    """Keccak-256."""
    from sha3 import keccak_256  # the C one; a tenth of the time of pycryptodome's

    return bytes(keccak_256(data).digest())


def checksum(address: bytes) -> str:
    """20 bytes in the mixed case of EIP-55."""
    plain = address.hex()
    digest = keccak(plain.encode()).hex()
    pairs = zip(plain, digest, strict=False)
    return "0x" + "".join(char.upper() if int(nibble, 16) > 7 else char for char, nibble in pairs)


def create2_address(init_code: bytes, salt: bytes = SALT) -> str:
    """Where the CREATE2 deployer puts `init_code`."""
    origin = bytes.fromhex(CREATE2_DEPLOYER[2:])
    return checksum(keccak(b"\xff" + origin + salt + keccak(init_code))[12:])


def mine_hook_salt(init_code: bytes, flags: int = HOOK_FLAGS) -> bytes:
    """The first salt whose address ends in `flags` (14 bits): about 16,000 tries, 50 ms."""
    from sha3 import keccak_256

    prefix = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER[2:])
    suffix = keccak(init_code)
    wanted = flags.to_bytes(2, "big")
    low, high = wanted[1], wanted[0]
    for number in range(1 << 24):
        salt = number.to_bytes(32, "big")
        digest = keccak_256(prefix + salt + suffix).digest()
        if digest[31] == low and digest[30] & (HOOK_MASK >> 8) == high:
            return salt
    raise DeployFailed("No salt gives the hook its flags; this is as good as impossible.")


def pool_key(usdc: str, eurc: str, hook: str) -> PoolKey:
    """The settlement pool's key; v4 wants the currencies sorted by address."""
    first, second = sorted((usdc, eurc), key=lambda address: int(address, 16))
    return (first, second, DYNAMIC_FEE, TICK_SPACING, hook)


def pool_id(key: PoolKey) -> bytes:
    """v4's PoolId: the digest of the five words of the key."""
    words = [int(key[0], 16), int(key[1], 16), key[2], key[3], int(key[4], 16)]
    return keccak(b"".join(word.to_bytes(32, "big") for word in words))


def sqrt_price_x96(rate_e8: int, *, eurc_first: bool) -> int:
    """v4's price, sqrt(currency1 / currency0) * 2**96 rounded down, for USDC per EURC * 10**8.

    Both tokens have 6 decimals, so whole units and base units have the same ratio.
    """
    over, under = (rate_e8, RATE_SCALE) if eurc_first else (RATE_SCALE, rate_e8)
    return isqrt((over << 192) // under)


def full_range_liquidity(pool_usdc: int, price_x96: int, *, eurc_first: bool) -> int:
    """v4 liquidity that `pool_usdc` base units make over the full range, rounded down."""
    return pool_usdc * Q96 // price_x96 if eurc_first else pool_usdc * price_x96 // Q96


def full_range_amounts(liquidity: int, price_x96: int) -> tuple[int, int]:
    """Upper bounds of the base units of currency0 and currency1 that `liquidity` takes."""
    return liquidity * Q96 // price_x96 + 1, liquidity * price_x96 // Q96 + 1


# --- the deployment -----------------------------------------------------------------------------


@dataclass(frozen=True)
class DeploymentResult:
    """A deployment, and what it took: contracts made now, contracts found, transactions sent."""

    deployment: Deployment
    created: tuple[str, ...]
    found: tuple[str, ...]
    transactions: int


def deploy(
    rpc_url: str,
    chain_id: int,
    plan: DeploymentPlan | None = None,
    progress: ReportProgress = lambda text: None,
) -> Deployment:
    """Deploy `plan` onto the anvil at `rpc_url`, or finish doing so. Takes 5 to 6 s.

    The node must mine by itself (at each transaction, or at an interval). Signs with the test
    keys. Raises DeployFailed with the cause, or RpcUnreachable.
    """
    return carry_out(rpc_url, chain_id, plan or DeploymentPlan(), progress).deployment


def carry_out(
    rpc_url: str,
    chain_id: int,
    plan: DeploymentPlan,
    progress: ReportProgress = lambda text: None,
    keys: Mapping[str, str] | None = None,
) -> DeploymentResult:
    """Look, do what is missing through Ape, and verify. Where nothing is missing, nothing starts.

    `keys`: private keys by address, on any chain; None: the test keys, on an anvil.
    """
    from workbench.evm.deploy.inspection import DeploymentState
    from workbench.evm.rpc.blocking import BlockingRpc

    _require_chain(rpc_url, chain_id)
    site = DeploymentState(
        BlockingRpc(rpc_url), plan, seller_signs=keys is None or plan.seller in keys
    )
    missing = site.missing()
    if problems := site.problems(missing):
        raise DeployFailed(
            f"This chain cannot be built upon: {'; '.join(problems)}.",
            hint="Another DEPLOYER_PRIVATE_KEY makes everything anew, at other addresses.",
        )
    if missing:
        outcome = _in_a_process(rpc_url, chain_id, plan, progress, keys)
    else:
        for step in site.steps():
            progress(step.told_done)
        outcome = DeploymentResult(site.deployment(site.first_block()), (), tuple(site.at), 0)
    # Behind a public URL are many nodes, and the next one may be behind the last one.
    limit = time.monotonic() + (PATIENCE_S if missing and keys else 0.0)
    while True:
        try:
            site.verify()
            return outcome
        except DeployFailed:
            if time.monotonic() >= limit:
                raise
        time.sleep(LOOK_AGAIN_S)


def _in_a_process(
    rpc_url: str,
    chain_id: int,
    plan: DeploymentPlan,
    progress: ReportProgress,
    keys: Mapping[str, str] | None,
) -> DeploymentResult:
    """Keys and URL go through standard input: arguments are in the list of processes."""
    job = {"rpc_url": rpc_url, "chain_id": chain_id, "plan": plan.to_json(), "keys": keys}
    secrets = [*(keys or {}).values(), *secrets_of(rpc_url)]
    with tempfile.TemporaryDirectory(prefix="workbench-deploy-") as folder:
        out_file = Path(folder, "outcome.json")
        command = [sys.executable, "-m", "workbench.evm.deploy.deployment", "--job", "--json"]
        code, failure = _run([*command, "--out", str(out_file)], json.dumps(job), progress, secrets)
        if code == 0 and out_file.is_file():
            data = json.loads(out_file.read_text(encoding="utf-8"))
            found, created = tuple(data["found"]), tuple(data["created"])
            where = Deployment.from_json(data["deployment"])
            return DeploymentResult(where, created, found, data["transactions"])
    if failure.get("error") in WorkbenchError.kinds:
        kind = WorkbenchError.kinds[failure["error"]]
        raise kind(failure.get("message", ""), hint=failure.get("hint", ""))
    raise DeployFailed(
        failure.get("message") or f"The deploying process ended with code {code}.", hint=RESUME
    )


def _require_chain(rpc_url: str, chain_id: int) -> None:
    """Ask the node for its chain id, before seconds are spent on starting Ape."""
    from workbench.evm.rpc.blocking import BlockingRpc

    try:
        found = int(BlockingRpc(rpc_url).now("eth_chainId"), 16)
    except (RpcUnreachable, RpcFault) as error:
        why = error.message.rstrip(".")
        raise RpcUnreachable(f"No node answers at {public_url(rpc_url)} ({why}).") from error
    if found != chain_id:
        raise DeployFailed(
            f"The node at {public_url(rpc_url)} has chain id {found}, not {chain_id}.",
            hint="Name the right node, or the right chain.",
        )


def public_url(url: str) -> str:
    """A URL without what may be a secret: user, password, path and query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def secrets_of(url: str) -> list[str]:
    """The parts of a URL that must not be shown."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    # A path such as /rpc hides nothing, and to blot out every "rpc" would.
    long = [part for part in (parts.path.strip("/"), parts.query) if len(part) >= 8]
    return [f"{login}@", *long] if login else long


# --- the other process --------------------------------------------------------------------------


def _run(
    command: list[str], job: str, progress: ReportProgress, secrets: list[str]
) -> tuple[int, dict[str, str]]:
    """Run, passing on progress; the exit code, and the error, or the last of other output."""
    tail: list[str] = []
    failure: dict[str, str] = {}
    process = subprocess.Popen(
        command,
        cwd=project_root(),
        env={**ape_environment(), "WORKBENCH_ROOT": str(project_root())},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stdin is not None
    # A hung step says nothing, and would be waited for without end.
    alarm = _alarm(process)
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(job)
        for raw in process.stderr:
            alarm.cancel()
            alarm = _alarm(process)
            line = _without(raw, secrets)
            message = _message(line)
            if "step" in message:
                progress(message["step"])
            elif "error" in message:
                failure = message
            else:
                tail = [*tail, line.rstrip()][-20:]
        code = process.wait()
        if not (failure or tail) and code == -signal.SIGKILL and not alarm.is_alive():
            tail = [f"The deploying process said nothing for {TIME_LIMIT_S} s."]
        return code, failure or {"message": "\n".join(tail).strip()}
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def _alarm(process: subprocess.Popen[str]) -> threading.Timer:
    alarm = threading.Timer(TIME_LIMIT_S, process.kill)
    alarm.daemon = True
    alarm.start()
    return alarm


def _without(line: str, secrets: list[str]) -> str:
    """A line that quotes no secret, whatever library wrote it."""
    for secret in secrets:
        line = line.replace(secret, "…").replace(secret.removeprefix("0x"), "…")
    return line


def _message(line: str) -> dict[str, str]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


# --- the command --------------------------------------------------------------------------------


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.evm.deploy.deployment", description=__doc__
    )
    parser.add_argument("--rpc", help="URL of a running anvil that mines by itself")
    parser.add_argument("--chain-id", type=int, help="refuse any other chain")
    parser.add_argument("--plan", type=Path, help="JSON of a DeploymentPlan (default: the demo's)")
    parser.add_argument("--job", action="store_true", help="all of it, and keys, as JSON on stdin")
    parser.add_argument("--out", type=Path, help="where the outcome goes, as JSON")
    parser.add_argument("--json", action="store_true", help="progress as JSON, one line a step")
    options = parser.parse_args(argv)
    if not options.job and (options.rpc is None or options.chain_id is None):
        parser.error("--rpc and --chain-id are needed, or --job")
    return options


def main(argv: list[str] | None = None) -> int:
    """`python -m workbench.evm.deploy.deployment`: deploys through Ape, in this process."""
    options = _options(argv)

    def say(message: dict[str, Any], text: str) -> None:
        sys.stderr.write((json.dumps(message) if options.json else text) + "\n")
        sys.stderr.flush()

    if options.job:
        job = json.loads(sys.stdin.read())
    else:
        plan = json.loads(options.plan.read_text(encoding="utf-8")) if options.plan else {}
        job = {"rpc_url": options.rpc, "chain_id": options.chain_id, "plan": plan, "keys": None}
    # Before Ape is imported: it reads these once.
    os.environ.update(ape_environment())
    os.environ["APE_FOUNDRY_HOST"] = job["rpc_url"]
    from workbench.evm.deploy.ape_steps import deploy_here

    plan = DeploymentPlan.from_json(job["plan"])
    try:
        outcome = deploy_here(
            job["rpc_url"],
            job["chain_id"],
            plan,
            lambda text: say({"step": text}, text),
            job["keys"],
        )
    except WorkbenchError as error:
        say(error.to_json(), str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    text = json.dumps(asdict(outcome), indent=1) + "\n"
    if options.out:
        write_atomically(options.out.resolve(), text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

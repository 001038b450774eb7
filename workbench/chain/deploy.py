"""Deploys the settlement world onto a running node: what (plan), where (addresses), the command.

Everything is created by the CREATE2 deployer with fixed salts, so an address is a function of the
code and the plan alone: the same on every machine and chain, whoever sends the transactions. Each
step first looks whether it is done, so an interrupted deployment is finished by running it again.

Ape does the work (`deploy_ape.py`), in a process of its own: it takes seconds to import, and keeps
global state. `deploy()` starts that process: `python -m workbench.chain.deploy --rpc URL …`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Self

from workbench.chain.keys import key_of
from workbench.chain.toolchain import ape_environment, project_root, write_atomically
from workbench.core.errors import DeployFailed, RpcUnreachable, WorkbenchError

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
# Thirty transactions take 3 s; a served chain that mines every second, 30 s.
TIME_LIMIT_S = 300

CONTRACTS = (
    "PoolManager",
    "MockUSDC",
    "MockEURC",
    "YieldPoolShare",
    "SettlementVault",
    "PermitPuller",
    "FacilitatorHook",
    "LiquiditySeeder",
)

Progress = Callable[[str], None]
PoolKey = tuple[str, str, int, int, str]


@dataclass(frozen=True)
class DeploymentPlan:
    """What a world is made of. Amounts are base units (USDC and EURC 6 decimals, YPS 18).

    `rate_e8` is USDC per EURC times 10**8. `pool_usdc` is the depth of the pool on its USDC side,
    over the full range: a swap of x USDC moves the price by about 2x / pool_usdc.
    """

    deployer: str = key_of("deployer").address
    buyer: str = key_of("buyer").address
    seller: str = key_of("seller").address
    facilitator: str = key_of("facilitator").address
    keeper: str = key_of("keeper").address
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
        missing = [name for name in CONTRACTS if name not in deployment.addresses]
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


# --- the other process --------------------------------------------------------------------------


def deploy(
    rpc_url: str,
    chain_id: int,
    plan: DeploymentPlan | None = None,
    progress: Progress = lambda text: None,
) -> Deployment:
    """Deploy `plan` onto the anvil at `rpc_url`, or finish doing so. Takes 5 to 6 s.

    The node must mine by itself (at each transaction, or at an interval). Signs with the test
    keys. Raises DeployFailed with the cause, or RpcUnreachable.
    """
    plan = plan or DeploymentPlan()
    _require_chain(rpc_url, chain_id)
    with tempfile.TemporaryDirectory(prefix="workbench-deploy-") as folder:
        plan_file, out_file = Path(folder, "plan.json"), Path(folder, "deployment.json")
        plan_file.write_text(json.dumps(plan.to_json()), encoding="utf-8")
        command = [sys.executable, "-m", "workbench.chain.deploy", "--rpc", rpc_url]
        command += ["--chain-id", str(chain_id), "--out", str(out_file), "--plan", str(plan_file)]
        code, tail = _run([*command, "--json"], progress)
        if code != 0 or not out_file.is_file():
            raise DeployFailed(tail or f"The deployment ended with code {code}.")
        return Deployment.from_json(json.loads(out_file.read_text(encoding="utf-8")))


def _require_chain(rpc_url: str, chain_id: int) -> None:
    """Ask the node for its chain id, before seconds are spent on starting Ape."""
    import urllib.request

    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}).encode()
    try:
        request = urllib.request.Request(  # noqa: S310 - the user's own node
            rpc_url, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            found = int(json.loads(answer.read())["result"], 16)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RpcUnreachable(f"No node answers at {rpc_url} ({error}).") from error
    if found != chain_id:
        raise DeployFailed(
            f"The node at {rpc_url} has chain id {found}, not {chain_id}.",
            hint="Name the right node, or the right chain.",
        )


def _run(command: list[str], progress: Progress) -> tuple[int, str]:
    """Run, passing on progress lines; the exit code, and the error or the last of other output."""
    tail: list[str] = []
    environment = {**ape_environment(), "WORKBENCH_ROOT": str(project_root())}
    process = subprocess.Popen(
        command,
        cwd=project_root(),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    # A hung step says nothing, and would be waited for without end.
    alarm = threading.Timer(TIME_LIMIT_S, process.kill)
    alarm.start()
    try:
        for line in process.stderr:
            message = _message(line)
            if "step" in message:
                progress(message["step"])
            else:
                tail = [*tail, message.get("failed", line.rstrip())][-20:]
        return process.wait(), "\n".join(tail).strip()
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def _message(line: str) -> dict[str, str]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


# --- the command --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """`python -m workbench.chain.deploy`: deploys through Ape, in this process."""
    parser = argparse.ArgumentParser(prog="python -m workbench.chain.deploy", description=__doc__)
    parser.add_argument("--rpc", required=True, help="URL of a running anvil that mines by itself")
    parser.add_argument("--chain-id", type=int, required=True, help="refuse any other chain")
    parser.add_argument("--plan", type=Path, help="JSON of a DeploymentPlan (default: the demo's)")
    parser.add_argument("--out", type=Path, help="where the Deployment goes, as JSON")
    parser.add_argument("--json", action="store_true", help="progress as JSON, one line a step")
    options = parser.parse_args(argv)
    plan = DeploymentPlan()
    if options.plan:
        plan = DeploymentPlan.from_json(json.loads(options.plan.read_text(encoding="utf-8")))

    def say(kind: str, text: str) -> None:
        sys.stderr.write((json.dumps({kind: text}) if options.json else text) + "\n")
        sys.stderr.flush()

    # Before Ape is imported: it reads these once.
    os.environ.update(ape_environment())
    os.environ["APE_FOUNDRY_HOST"] = options.rpc
    from workbench.chain.deploy_ape import deploy_here

    try:
        deployment = deploy_here(options.chain_id, plan, lambda text: say("step", text))
    except WorkbenchError as error:
        say("failed", str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    text = json.dumps(deployment.to_json(), indent=1)
    if options.out:
        write_atomically(options.out.resolve(), text + "\n")
    else:
        sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

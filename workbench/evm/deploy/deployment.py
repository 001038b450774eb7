"""Deploy a plan onto a running node: find what is missing, do it through Ape, and verify.

Every step is checked before it is done, so a second run finishes an interrupted deployment. Ape is
slow to import and keeps global state; a process of its own runs it (see `process`). The module
`inspection` reads what exists and what is missing, before and after.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from workbench.core.errors import DeployFailed, RpcFault, RpcUnreachable
from workbench.core.ports import ReportProgress
from workbench.evm.deploy.inspection import DeploymentState
from workbench.evm.deploy.plan import (
    NODE_LAG_LIMIT_S,
    RECHECK_S,
    Deployment,
    DeploymentPlan,
    DeploymentResult,
)
from workbench.evm.deploy.process import run_deployment_process
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.node_url import public_url


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
    """Do what is missing, and verify. Where nothing is missing, no process starts.

    `keys`: private keys by address, for any chain; None: the test keys, on an anvil. Raises
    DeployFailed, SignerShort or RpcUnreachable.
    """
    _require_chain(rpc_url, chain_id)
    state = DeploymentState(
        BlockingRpc(rpc_url), plan, seller_signs=keys is None or plan.seller in keys
    )
    missing = state.missing()
    if problems := state.problems(missing):
        raise DeployFailed(
            f"The plan does not fit what this chain already has: {'; '.join(problems)}.",
            hint="Another DEPLOYER_PRIVATE_KEY creates everything anew, at other addresses.",
        )
    if missing:
        result = run_deployment_process(rpc_url, chain_id, plan, progress, keys)
    else:
        for step in state.steps():
            progress(step.done_label)
        deployment = state.deployment(state.first_block())
        result = DeploymentResult(deployment, (), tuple(state.addresses), 0)
    # A public URL has many nodes behind it, and some lag behind others.
    deadline = time.monotonic() + (NODE_LAG_LIMIT_S if missing and keys else 0.0)
    while True:
        try:
            state.verify()
            return result
        except DeployFailed:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RECHECK_S)


def _require_chain(rpc_url: str, chain_id: int) -> None:
    """Check the node's chain id before Ape is started, which takes seconds."""
    try:
        found = int(BlockingRpc(rpc_url).now("eth_chainId"), 16)
    except (RpcUnreachable, RpcFault) as error:
        why = error.message.rstrip(".")
        raise RpcUnreachable(f"No node answers at {public_url(rpc_url)} ({why}).") from error
    if found != chain_id:
        raise DeployFailed(
            f"The node at {public_url(rpc_url)} has chain id {found}, not {chain_id}.",
            hint="Correct the node's URL or the chain id.",
        )

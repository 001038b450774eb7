"""`python -m workbench.evm.deploy`: deploy through Ape, in this process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.evm.build.toolchain import ape_environment, write_atomically
from workbench.evm.deploy.plan import DeploymentPlan


def main(argv: list[str] | None = None) -> int:
    """Read the job, deploy, and write the result. Return the exit code."""
    options = _options(argv)

    def report(message: dict[str, Any], text: str) -> None:
        sys.stderr.write((json.dumps(message) if options.json else text) + "\n")
        sys.stderr.flush()

    if options.job:
        job = json.loads(sys.stdin.read())
    else:
        plan = json.loads(options.plan.read_text(encoding="utf-8")) if options.plan else {}
        job = {"rpc_url": options.rpc, "chain_id": options.chain_id, "plan": plan, "keys": None}
    # Ape reads its environment once, when it is imported.
    os.environ.update(ape_environment())
    os.environ["APE_FOUNDRY_HOST"] = job["rpc_url"]
    from workbench.evm.deploy.ape_steps import deploy_with_ape

    try:
        result = deploy_with_ape(
            job["rpc_url"],
            job["chain_id"],
            DeploymentPlan.from_json(job["plan"]),
            lambda text: report({"step": text}, text),
            job["keys"],
        )
    except WorkbenchError as error:
        report(error.to_json(), str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    text = json.dumps(result.to_json(), indent=1) + "\n"
    if options.out:
        write_atomically(options.out.resolve(), text)
    else:
        sys.stdout.write(text)
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workbench.evm.deploy", description=__doc__)
    parser.add_argument("--rpc", help="URL of a running anvil that mines by itself")
    parser.add_argument("--chain-id", type=int, help="refuse any other chain")
    parser.add_argument("--plan", type=Path, help="JSON of a DeploymentPlan (default: the demo's)")
    parser.add_argument("--job", action="store_true", help="read all options and keys from stdin")
    parser.add_argument("--out", type=Path, help="file for the result, as JSON")
    parser.add_argument("--json", action="store_true", help="progress as JSON, one line a step")
    options = parser.parse_args(argv)
    if not options.job and (options.rpc is None or options.chain_id is None):
        parser.error("--rpc and --chain-id are needed, or --job")
    return options


if __name__ == "__main__":
    raise SystemExit(main())

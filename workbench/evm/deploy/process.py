"""The process that deploys through Ape, `python -m workbench.evm.deploy`: started and read here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.core.errors import DeployFailed, WorkbenchError
from workbench.core.ports import ReportProgress
from workbench.evm.build.toolchain import ape_environment, project_root
from workbench.evm.deploy.plan import RESUME_HINT, DeploymentPlan, DeploymentResult
from workbench.evm.rpc.node_url import secrets_of

SILENCE_LIMIT_S = 300
"""Longest silence of the process. A public chain mines a step's transactions within a minute."""
TAIL_LINES = 20
"""How many lines of other output an error message quotes."""


def run_deployment_process(
    rpc_url: str,
    chain_id: int,
    plan: DeploymentPlan,
    progress: ReportProgress,
    keys: Mapping[str, str] | None,
) -> DeploymentResult:
    """Run the deployment in a process of its own, and return its result.

    The URL and the keys go through standard input: any user can read a process's arguments.
    Raises the error that the process reported, or DeployFailed.
    """
    job = {"rpc_url": rpc_url, "chain_id": chain_id, "plan": plan.to_json(), "keys": keys}
    secrets = [*(keys or {}).values(), *secrets_of(rpc_url)]
    with tempfile.TemporaryDirectory(prefix="workbench-deploy-") as folder:
        out_file = Path(folder, "result.json")
        command = [sys.executable, "-m", "workbench.evm.deploy", "--job", "--json"]
        command += ["--out", str(out_file)]
        code, failure = run_and_report(command, json.dumps(job), progress, secrets)
        if code == 0 and out_file.is_file():
            return DeploymentResult.from_json(json.loads(out_file.read_text(encoding="utf-8")))
    if failure.get("error") in WorkbenchError.kinds:
        kind = WorkbenchError.kinds[failure["error"]]
        raise kind(failure.get("message", ""), hint=failure.get("hint", ""))
    raise DeployFailed(
        failure.get("message") or f"The deploying process ended with code {code}.",
        hint=RESUME_HINT,
    )


def run_and_report(
    command: list[str], job: str, progress: ReportProgress, secrets: list[str]
) -> tuple[int, dict[str, str]]:
    """Run `command` with `job` as its input, and pass its progress on.

    Return the exit code, and the error that it reported as JSON; without one, the last lines of
    its other output as `message`. Every text is free of `secrets`.
    """
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
    # A step that hangs writes nothing, and reading would block without end.
    alarm = _kill_later(process)
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(job)
        for raw in process.stderr:
            alarm.cancel()
            alarm = _kill_later(process)
            line = _redacted(raw, secrets)
            message = _json_object(line)
            if "step" in message:
                progress(message["step"])
            elif "error" in message:
                failure = message
            else:
                tail = [*tail, line.rstrip()][-TAIL_LINES:]
        code = process.wait()
        if not (failure or tail) and code == -signal.SIGKILL and not alarm.is_alive():
            tail = [f"The deploying process wrote nothing for {SILENCE_LIMIT_S} s."]
        return code, failure or {"message": "\n".join(tail).strip()}
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def _kill_later(process: subprocess.Popen[str]) -> threading.Timer:
    alarm = threading.Timer(SILENCE_LIMIT_S, process.kill)
    alarm.daemon = True
    alarm.start()
    return alarm


def _redacted(line: str, secrets: list[str]) -> str:
    """Replace secrets, whatever library wrote the line."""
    for secret in secrets:
        line = line.replace(secret, "…").replace(secret.removeprefix("0x"), "…")
    return line


def _json_object(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}

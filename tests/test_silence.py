"""No safety check stops in silence: whoever catches a fault of the chain reports or raises it."""

from __future__ import annotations

import ast

import pytest

from tests.source import PACKAGE, Module

CHECKED = ("workbench.services", "workbench.evm.payments.wallet", "workbench.evm.watcher",
           "workbench.evm.rpc.log_ranges", "workbench.evm.transactions.quarantine")  # fmt: skip
FAULTS = {
    "RpcFault", "RpcUnreachable", "RpcUnanswered", "RpcLimited", "ChainError", "StoreError",
    "WorkbenchError", "PeerUnreachable", "Exception", "BaseException",
}  # fmt: skip
TELLING = {"fails", "set", "note", "contains", "count", "log", "warning", "error", "exception"}
EXCUSED = {
    "workbench.evm.payments.wallet._simulated": "asks in another way where a node cannot simulate",
    "workbench.services.common.peers.error_body": "an unreadable answer is reported by its status",
    "workbench.services.common.vitals.glance": "a field of /health; rounds report the node",
}
"""What catches such a fault, does not tell it, and may."""


def silent(module: Module) -> list[str]:
    """Handlers that catch a fault of the chain and neither raise, report nor pass it on."""
    if not module.name.startswith(CHECKED):
        return []
    problems = []
    for function in ast.walk(module.tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = f"{module.name}.{function.name}"
        for node in ast.walk(function):
            if not isinstance(node, ast.ExceptHandler | ast.Call) or name in EXCUSED:
                continue
            if _is_silent(node) if isinstance(node, ast.ExceptHandler) else _suppresses(node):
                problems.append(f"{name} catches a fault in line {node.lineno}, and tells nobody")
    return problems


def _suppresses(call: ast.Call) -> bool:
    caught = {ast.unparse(each) for each in call.args}
    return ast.unparse(call.func).endswith("suppress") and bool(caught & FAULTS)


def _is_silent(handler: ast.ExceptHandler) -> bool:
    caught = {each.id for each in ast.walk(handler.type or ast.Name("Exception"))
              if isinstance(each, ast.Name)}  # fmt: skip
    if not caught & FAULTS:
        return False
    for node in (each for line in handler.body for each in ast.walk(line)):
        if isinstance(node, ast.Raise):
            return False
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in TELLING:
            return False
        if isinstance(node, ast.Name) and node.id == handler.name:
            return False  # Passed on: as an answer, or as a reason.
    return True


def test_no_check_stops_in_silence() -> None:
    """In the services, and in what reads the chain for them."""
    assert [] == [problem for module in PACKAGE.values() for problem in silent(module)]
    names = {f"{m.name}.{n.name}" for m in PACKAGE.values() for n in ast.walk(m.tree)
             if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}  # fmt: skip
    assert EXCUSED.keys() <= names


PLANTED = {
    "try: await f()\n    except RpcFault: return": 1,
    "try: await f()\n    except (RpcFault, KeyError): pass": 1,
    "try: await f()\n    except errors.RpcFault: pass": 0,
    "try: await f()\n    except Exception: pass": 1,
    "try: await f()\n    except: pass": 1,
    "with suppress(RpcFault): await f()": 1,
    "with suppress(KeyError): await f()": 0,
    "try: await f()\n    except RpcFault as why: reports.fails('x', why.message)": 0,
    "try: await f()\n    except RpcFault: raise Other() from None": 0,
    "try: await f()\n    except RpcFault as why: return why": 0,
    "try: await f()\n    except ValueError: return": 0,
}


@pytest.mark.parametrize("text", PLANTED)
def test_the_rule_catches_a_planted_breach(text: str) -> None:
    """As the reconciler once did: a refused check, and not a word."""
    planted = Module("workbench.services.new", f"async def check():\n    {text}\n")
    assert PLANTED[text] == len(silent(planted))
    assert [] == silent(Module("workbench.sim.new", planted.text))

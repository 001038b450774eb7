"""The layers of the package: imports point down without cycles, the core is pure, runs repeat."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.source import (
    NAMES,
    PACKAGE,
    ROOT,
    Module,
    Rule,
    all_of,
    ids,
    imported,
    place_of,
    plant,
)

LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("commands",),
    ("workbench",),  # The public face: what a notebook imports.
    ("lab", "notebook"),
    ("worlds",),
    ("web", "sim"),
    ("services",),
    ("results", "evm", "store"),
    ("settings", "scenario"),
    ("config",),
    ("core",),
)
"""The folders from top to bottom. Folders of one row do not import each other."""
ONLY = {"core": {"core"}, "services": {"core", "services"}}
"""Folders that may import nothing but these, whatever lies below."""
DEPTH = {place: depth for depth, row in enumerate(LAYERS) for place in row}


def layer_problems(module: Module) -> list[str]:
    """Find imports that point up or sideways, and imports that only run time can resolve."""
    here = module.place
    if here not in DEPTH:
        return [f"{module.name} has no layer in LAYERS"]
    problems = []
    for line, name in imported(module, NAMES):
        if name == "?":
            if here != "workbench":
                problems.append(f"{module.name}:{line} imports what only running it tells")
            continue
        if name.split(".")[0] != "workbench":
            continue
        there = place_of(name)
        down = DEPTH.get(there, -1) > DEPTH[here]
        if here in ONLY:
            down = there in ONLY[here]
        if not (down or here == there):
            problems.append(f"{module.name}:{line} imports {name}, which is not below it")
    return problems


def test_an_import_only_points_down() -> None:
    """Also one inside a function, under TYPE_CHECKING, or through importlib."""
    assert [] == all_of(layer_problems, PACKAGE.values())


# --- No cycles, lazy and typing-only imports included ---


def cycles(modules: Sequence[Module]) -> list[str]:
    """Find groups of modules that import each other (Tarjan's algorithm)."""
    known = {module.name for module in modules}
    arrows = {
        module.name: sorted({name for _, name in imported(module, known) if name in known})
        for module in modules
    }
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[str] = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for other in arrows[name]:
            if other not in index:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])
        if lowest[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in arrows[name]:
                found.append(" and ".join(sorted(group)))

    for name in arrows:
        if name not in index:
            visit(name)
    return found


def test_modules_do_not_import_each_other() -> None:
    """A package's `__init__` counts as a module of its own."""
    assert [] == cycles(list(PACKAGE.values()))


@pytest.mark.parametrize(
    "line",
    [
        "from workbench.core.payout import Payout",
        "def f() -> None:\n    from workbench.core import payout",
        "if TYPE_CHECKING:\n    from workbench.core.payout import Payout",
        "import importlib\nimportlib.import_module('workbench.core.payout')",
    ],
)
def test_a_planted_cycle_is_found(line: str) -> None:
    """`payout` imports `records`; now `records` imports `payout`."""
    planted = [
        Module(m.name, f"{m.text}\n{line}\n") if m.name == "workbench.core.records" else m
        for m in PACKAGE.values()
    ]
    (cycle,) = set(cycles(planted)) - set(cycles(list(PACKAGE.values())))
    assert "workbench.core.payout" in cycle
    assert "workbench.core.records" in cycle


# --- The picture of the layers in ARCHITECTURE.md ---


def picture() -> str:
    """Draw the layers, top first."""
    names = {"workbench": "__init__"}
    return "\n".join("   ".join(names.get(name, name) for name in row) for row in LAYERS)


def test_the_picture_in_architecture_is_the_enforced_rule() -> None:
    """After a change of LAYERS, copy the output of `picture()` into ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"```\n{picture()}\n```" in text


# --- A core without I/O, and services without a clock ---

PURE = frozenset(
    "__future__ abc base64 binascii bisect collections contextlib dataclasses decimal enum "
    "fractions functools hashlib hmac itertools json math operator re string types typing".split()
)
"""The part of the standard library that neither knows the time nor touches the world."""
SERVICES_TOO = frozenset({"asyncio", "logging", "unicodedata", "urllib.parse", "html", "msgspec"})
TOUCHING = {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "hash", "id"}
"""Builtins that touch the world, or differ from one process to the next."""
COMPILING = {"workbench.core.records": {"exec", "eval"}}
"""Code out of the names of a dataclass's fields, as `dataclasses` itself compiles it."""
UNRULY = re.compile(
    r"(.*\.)?(to_thread|run_in_executor|asyncio\.(sleep|wait|TaskGroup))|.*loop(\(\))?\.time"
)
"""Threads, time that is not the clock's, and what follows the order of memory."""


def purity_problems(module: Module) -> list[str]:
    """What a module of the core, or of the services, may not import or call."""
    allowed = PURE | (SERVICES_TOO if module.place == "services" else set())
    touching = TOUCHING - COMPILING.get(module.name, set())
    problems = []
    for line, name in imported(module, NAMES):
        top = name.split(".")[0]
        if top != "workbench" and top not in allowed and name not in allowed:
            problems.append(f"{module.name}:{line} imports {name}")
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in touching or UNRULY.fullmatch(called):
            problems.append(f"{module.name}:{node.lineno} calls {called}()")
    return problems


def test_core_and_services_neither_look_at_a_clock_nor_touch_the_world() -> None:
    """The core is the pure standard library; services add asyncio, logging and msgspec."""
    pure = [module for module in PACKAGE.values() if module.place in ("core", "services")]
    assert {"workbench.core.settlement.table", "workbench.services.otc.seller"} <= {
        m.name for m in pure
    }
    assert [] == all_of(purity_problems, pure)


# --- Where the simulator reaches, time and chance are its own ---

REACHED = re.compile(
    r"workbench\.(core|services|sim|scenario|store|worlds"
    r"|evm\.(codec|rpc|transactions|contracts|payments|watcher))(\..*)?"
)
"""The folders in which a simulated run happens."""
REAL_TIME = {
    "workbench.evm.rpc.blocking": {"time"},  # Pauses between retries of a node outside the run.
    "workbench.worlds.listeners": {"time"},  # A thread next to the run delivers its facts.
    "workbench.worlds.session": {"time"},  # Pause and speed belong to the person who watches.
    "workbench.worlds.served": {"time"},  # Services under wall-clock time.
    "workbench.worlds.rules": {"secrets"},  # The salts of served services.
}
"""Modules in these folders that may use wall-clock time or true chance, each with its reason."""
OUTSIDE = frozenset({"time", "datetime", "uuid", "secrets"})
"""Wall clocks and chance that no seed decides."""
SEEDED = ("workbench.sim.rng",)
"""The one place that makes generators. Others may name the type `random.Random`."""


SENDING = tuple(
    f"workbench.evm.transactions.{name}"
    for name in ("slots", "simulation", "inclusion", "fee_bumps", "new_module")
)


def determinism_problems(module: Module) -> list[str]:
    """What would make two runs of one seed differ."""
    if not REACHED.fullmatch(module.name):
        return []
    outside = OUTSIDE - REAL_TIME.get(module.name, set())
    problems = []
    for node in ast.walk(module.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            chance = name.partition(".")[0] == "random" and name != "random.Random"
            if name.partition(".")[0] in outside or (chance and module.name not in SEEDED):
                problems.append(f"{module.name} imports {name}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Random", "os.urandom"):
            problems.append(f"{module.name}:{node.lineno} calls {ast.unparse(node.func)}()")
    return problems


def test_where_the_simulator_reaches_no_clock_and_no_chance_but_its_own() -> None:
    """The same seed gives the same bytes: services, sender, watcher and simulator alike."""
    assert [] == all_of(determinism_problems, PACKAGE.values())
    caught = {
        "import time": 1,
        "from uuid import uuid4": 1,
        "import random": 1,
        "from random import randrange": 1,
        "from random import Random\nRandom()": 1,
        "from random import Random": 0,
    }
    for name in ("workbench.sim.new", *SENDING):
        for text, problems in caught.items():
            assert problems == len(determinism_problems(Module(name, text))), (name, text)


# --- Planted violations ---

SELLER, MONEY = "services/otc/seller.py", "core/money.py"
CHART = "results/charts/timeline_svg.py"

PLANTED: list[tuple[str, str, Rule, str]] = [
    (MONEY, "import workbench.evm.watcher", layer_problems, "imports workbench.evm"),
    (MONEY, "from workbench import settings", layer_problems, "workbench.settings"),
    (MONEY, "from workbench import World", layer_problems, "imports workbench,"),
    (MONEY, "from ..evm.codec import abi", layer_problems, "imports workbench.evm"),
    (
        MONEY,
        "def f():\n    from workbench.store.sql.database import SqlStore",
        layer_problems,
        "workbench.store.sql.database",
    ),
    (
        MONEY,
        "import importlib\nimportlib.import_module('workbench.lab.panel')",
        layer_problems,
        "imports workbench.lab.panel",
    ),
    (MONEY, "__import__('workbench.' + 'lab')", layer_problems, "only running it tells"),
    (
        MONEY,
        "if TYPE_CHECKING:\n    from workbench.web import server",
        layer_problems,
        "workbench.web.server",
    ),
    (SELLER, "from workbench.evm.codec.abi import to_hex", layer_problems, "evm.codec.abi"),
    (SELLER, "from workbench.settings import Settings", layer_problems, "settings"),
    (SELLER, "from workbench.results import frames", layer_problems, "frames"),
    (
        SELLER,
        "from workbench.worlds.factories import simulated",
        layer_problems,
        "worlds.factories",
    ),
    (
        "web/server.py",
        "from workbench.sim.time.loop import VirtualLoop",
        layer_problems,
        "sim.time.loop",
    ),
    (
        "sim/faults/http.py",
        "from workbench.web.client import SocketHttp",
        layer_problems,
        "web.client",
    ),
    (
        "evm/rpc/client.py",
        "from workbench.store.sql.database import SqlStore",
        layer_problems,
        "store.sql",
    ),
    (
        "store/sql/database.py",
        "from workbench.evm.rpc.client import Rpc",
        layer_problems,
        "evm.rpc.client",
    ),
    (
        "store/sql/database.py",
        "from workbench.results import charts",
        layer_problems,
        "workbench.results.charts",
    ),
    (CHART, "from workbench.evm.codec import abi", layer_problems, "workbench.evm.codec.abi"),
    (
        "settings.py",
        "from workbench.evm.transactions import test_keys",
        layer_problems,
        "evm.transactions.test_keys",
    ),
    (
        "worlds/wiring.py",
        "from workbench.commands.demo import run_demo",
        layer_problems,
        "workbench.commands.demo",
    ),
    ("worlds/factories.py", "from workbench.cli import main", layer_problems, "workbench.cli"),
    ("worlds/experiment.py", "from workbench.lab import panel", layer_problems, "workbench.lab"),
    ("results/run.py", "from workbench.worlds import session", layer_problems, "worlds.session"),
    ("services/otc/tracker.py", "from workbench.results import buyers", layer_problems, "results"),
    (MONEY, "import time", purity_problems, "imports time"),
    (MONEY, "def f():\n    import random", purity_problems, "imports random"),
    (MONEY, "from uuid import uuid4", purity_problems, "imports uuid"),
    (MONEY, "from os import environ", purity_problems, "imports os"),
    (MONEY, "import socket", purity_problems, "imports socket"),
    (MONEY, "import secrets", purity_problems, "imports secrets"),
    (MONEY, "from datetime import datetime", purity_problems, "imports datetime"),
    (MONEY, "import asyncio", purity_problems, "imports asyncio"),
    (MONEY, "from eth_hash.auto import keccak", purity_problems, "imports eth_hash"),
    (MONEY, "import pandas as pd", purity_problems, "imports pandas"),
    (MONEY, "text = open('x').read()", purity_problems, "calls open()"),
    (MONEY, "print(1)", purity_problems, "calls print()"),
    (MONEY, "hash('x')", purity_problems, "calls hash()"),
    (SELLER, "import time", purity_problems, "imports time"),
    (SELLER, "import random", purity_problems, "imports random"),
    (SELLER, "import threading", purity_problems, "imports threading"),
    (SELLER, "from urllib.request import urlopen", purity_problems, "urllib.request"),
    (SELLER, "from tornado.web import Application", purity_problems, "tornado"),
    (SELLER, "await asyncio.sleep(1)", purity_problems, "calls asyncio.sleep()"),
    (SELLER, "await asyncio.to_thread(f)", purity_problems, "asyncio.to_thread()"),
    (SELLER, "self.loop.run_in_executor(f)", purity_problems, "run_in_executor()"),
    (SELLER, "asyncio.get_running_loop().time()", purity_problems, "loop().time()"),
    (SELLER, "asyncio.wait([f])", purity_problems, "calls asyncio.wait()"),
]

ALLOWED: list[tuple[str, str, Rule]] = [
    (MONEY, "from workbench.core import events", layer_problems),
    (CHART, "from workbench.results import frames", layer_problems),
    (
        "cli/root.py",
        "from workbench import simulated\nfrom workbench.evm.codec import abi",
        layer_problems,
    ),
    (MONEY, "from collections.abc import Sequence\nimport json", purity_problems),
    (SELLER, "from urllib.parse import quote\nimport asyncio", purity_problems),
]


@pytest.mark.parametrize(("path", "line", "rule", "message"), PLANTED, ids=ids(PLANTED))
def test_a_planted_violation_is_found(
    path: str, line: str, rule: Rule, message: str, tmp_path: Path
) -> None:
    plant(path, line, rule, message, tmp_path)


@pytest.mark.parametrize(("path", "line", "rule"), ALLOWED, ids=ids(ALLOWED))
def test_allowed_code_passes(path: str, line: str, rule: Rule) -> None:
    module = Module(PACKAGE[path].name, f"{PACKAGE[path].text}\n\n{line}\n")
    assert rule(PACKAGE[path]) == rule(module)


def test_a_module_without_a_layer_is_found() -> None:
    new = Module("workbench.attic", "import json\n")
    assert ["workbench.attic has no layer in LAYERS"] == layer_problems(new)
    assert len(DEPTH) == sum(map(len, LAYERS)), "a folder is in two layers"

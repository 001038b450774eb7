"""The house rules, kept by tests: layers, a pure core, short functions, documented commands.

Each rule is a function from one module, or one text, to a list of problems. Below each, the rule
is held against the house, and against violations planted in a copy: a rule that catches nothing
keeps nothing.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click
import pytest

from workbench.cli import main

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Module:
    """One Python file. `name`: dotted, `workbench.core.money`; a package by its own name."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def place(self) -> str:
        """The room it is in: `core`, `settings`, and for the package itself `workbench`."""
        return place_of(self.name)


def place_of(dotted: str) -> str:
    _, _, rest = dotted.partition("workbench.")
    return rest.split(".")[0] or "workbench"


def read(root: Path) -> dict[str, Module]:
    """All Python files of a folder, by their path from it."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root.parent).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[path.relative_to(root).as_posix()] = Module(name, path.read_text(encoding="utf-8"))
    return found


PACKAGE = read(ROOT / "workbench")
OURS = {
    **{f"workbench/{path}": module for path, module in PACKAGE.items()},
    **{f"tests/{path}": module for path, module in read(ROOT / "tests").items()},
    **{f"tools/{path}": module for path, module in read(ROOT / "tools").items()},
    **{f"bench/{path}": module for path, module in read(ROOT / "bench").items()},
    **{f"app/{path}": module for path, module in read(ROOT / "app").items()},
}


# --- Layers: an import may only point down ---

HOUSE: tuple[tuple[str, ...], ...] = (
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
"""The folders from top to bottom; those of one row do not import each other."""
ONLY = {"core": {"core"}, "services": {"core", "services"}}
"""Folders that may import nothing but these, whatever lies below."""
DEPTH = {place: depth for depth, row in enumerate(HOUSE) for place in row}


def imported(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, inside functions too.

    `known`: names of modules, so that `from workbench import charts` means the module.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name.split(".")
                base = ".".join([*package[: len(package) - node.level], *filter(None, [base])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known else base
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            plain = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield node.lineno, str(name.value) if plain else "?"  # type: ignore[union-attr]


def _called(node: ast.Call) -> str:
    """The last name of what is called: `import_module` of `importlib.import_module(…)`."""
    return ast.unparse(node.func).rpartition(".")[2]


NAMES = {module.name for module in PACKAGE.values()}


def layer_problems(module: Module) -> list[str]:
    """Imports that point up, sideways, or where nobody can see."""
    here = module.place
    if here not in DEPTH:
        return [f"{module.name} has no place in HOUSE"]
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


def all_of(rule: Callable[[Module], list[str]], modules: Iterable[Module]) -> list[str]:
    """What a rule says about all these modules."""
    return [problem for module in modules for problem in rule(module)]


def test_an_import_only_points_down() -> None:
    """Also one inside a function, under TYPE_CHECKING, or through importlib."""
    assert [] == all_of(layer_problems, PACKAGE.values())


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
    "workbench.worlds.wiring": {"secrets"},  # The salts of served services.
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


# --- What a peer answers is read at one place ---

READERS = {
    "workbench.services.common.peers": "the place",
    "workbench.core.ports.runtime": "the method itself",
    "workbench.services.payouts.http": "an answer of its own, as a page",
}


def unread_answers(module: Module) -> list[str]:
    """Bodies of answers that are taken as they come, and not by `peers.decoded`."""
    if module.name in READERS or module.name.startswith("tests"):
        return []
    return [
        f"{module.name}:{node.lineno} reads an answer without a schema"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "data"
        and not node.args
    ]


def test_what_a_peer_answers_is_read_at_one_place() -> None:
    """Whatever it is: a typed value, or an error of our own tree."""
    assert [] == all_of(unread_answers, PACKAGE.values())
    assert set(READERS) <= NAMES


# --- Functions fit a screen ---

LONGEST = 70


def long_functions(module: Module) -> list[str]:
    """Functions of more than 70 lines, from `def` to the last."""
    functions = [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {node: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return [f"{module.name}.{n.name} has {k} lines" for n, k in lengths.items() if k > LONGEST]


SOLIDITY_NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)
SOLIDITY_FUNCTION = re.compile(
    r"\b(?:function\s+(\w+)|(constructor|receive|fallback)|modifier\s+(\w+))\b[^;{}]*\{"
)


def long_solidity(name: str, text: str) -> list[str]:
    """Functions of a contract of more than 70 lines, counted by their braces."""
    code = SOLIDITY_NOISE.sub(lambda found: "\n" * found[0].count("\n"), text)
    problems = []
    for found in SOLIDITY_FUNCTION.finditer(code):
        depth, at = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        lines = code[found.start() : at].count("\n") + 1
        if lines > LONGEST:
            problems.append(f"{name}: {found[1] or found[2] or found[3]} has {lines} lines")
    return problems


def test_a_function_fits_a_screen() -> None:
    """70 lines at most, tests and tools too."""
    assert [] == all_of(long_functions, OURS.values())


def test_a_contracts_function_fits_a_screen() -> None:
    """The same for Solidity."""
    contracts = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "contracts").rglob("*.sol")
    }
    assert "SettlementVault.sol" in contracts
    assert [] == [p for name, text in contracts.items() for p in long_solidity(name, text)]


def test_the_count_of_solidity_functions_is_that_of_the_compiler() -> None:
    """The simple reader sees every function that has a body."""
    vault = SOLIDITY_NOISE.sub(
        "", (ROOT / "contracts" / "SettlementVault.sol").read_text(encoding="utf-8")
    )
    named = set(re.findall(r"\bfunction\s+(\w+)", vault))
    assert named == {found[1] for found in SOLIDITY_FUNCTION.finditer(vault) if found[1]}
    assert {"createSettlement", "fund", "executeSwap", "executeSettlement", "refund"} <= named


# --- The same under `python -O`, and in every locale ---

PURE_CALLS = frozenset(
    "abs all any bool callable isinstance len list map max min set sorted sum tuple type".split()
)
"""What an assertion may call: `python -O` leaves assertions out, and with them what they do."""


def working_assertions(module: Module) -> list[str]:
    """Assertions of a product module that do something: they call, await, or assign."""
    problems = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Assert):
            continue
        inside = [*ast.walk(node.test), *(ast.walk(node.msg) if node.msg else ())]
        calls = {ast.unparse(n.func) for n in inside if isinstance(n, ast.Call)}
        works = sorted(calls - PURE_CALLS)
        works += [ast.unparse(n) for n in inside if isinstance(n, ast.Await | ast.NamedExpr)]
        if works:
            problems.append(f"{module.name}:{node.lineno} asserts by {works[0]}")
    return problems


def unnamed_encodings(module: Module) -> list[str]:
    """Texts that are read or written in whatever encoding the locale has."""
    problems = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or {k.arg for k in node.keywords} & {"encoding", None}:
            continue
        full = ast.unparse(node.func)
        name = full.rpartition(".")[2]
        at = {"open": 1 if full == "open" else 0, "fdopen": 1, "NamedTemporaryFile": 0}.get(name)
        if name in ("read_text", "write_text"):
            is_text = len(node.args) <= ("read_text", "write_text").index(name)
        elif at is None or full in ("os.open", "webbrowser.open"):
            continue
        else:
            mode = _argument(node, at, "mode", "b" if name == "NamedTemporaryFile" else "r")
            # A path's `open` has a mode, where it is not a browser's or a ledger's `open`.
            is_mode = re.fullmatch(r"['\"][rwaxbt+]+['\"]", mode) is not None
            is_text = "b" not in mode and (is_mode or full == "open")
        if is_text:
            problems.append(f"{module.name}:{node.lineno} calls {name} without an encoding")
    return problems


def _argument(call: ast.Call, at: int, name: str, default: str) -> str:
    given = call.args[at] if at < len(call.args) else None
    given = given or next((k.value for k in call.keywords if k.arg == name), None)
    return ast.unparse(given) if given is not None else default


def test_assertions_do_no_work() -> None:
    product = [m for path, m in OURS.items() if not path.startswith("tests/")]
    assert [] == all_of(working_assertions, product)


def test_files_are_read_and_written_with_an_encoding() -> None:
    assert [] == all_of(unnamed_encodings, OURS.values())


# --- JSON from outside is read in one place ---

OWN_JSON = {
    "workbench.core.strict_json": 1,
    "workbench.core.facts.codec": 1,
    "workbench.core.ports.runtime": 1,  # A response: what services of ours answered.
    "workbench.core.webhooks": 1,  # Its signature is checked before.
    "workbench.services.payouts.rounds": 1,
    "workbench.services.payouts.http": 1,
    "workbench.services.payouts.audit": 1,
}
"""How often each may read JSON itself: its own, out of its store."""


def lax_json(module: Module) -> list[str]:
    """JSON of requests that is read by another reader than `core.strict_json`: the last of two
    equal names would win."""
    if module.place not in ("core", "services", "web"):
        return []
    reads = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.loads", "json.load", "msgspec.json.decode")
    ]
    most = OWN_JSON.get(module.name, 0)
    return [f"{module.name}:{line} reads JSON laxly" for line in reads[most:]]


def test_json_of_requests_has_one_reader() -> None:
    assert [] == all_of(lax_json, PACKAGE.values())
    for path in ("services/otc/facilitator.py", "services/payouts/rounds.py", "core/x402/wire.py"):
        copy = Module(PACKAGE[path].name, PACKAGE[path].text + "\njson.loads(request.body)\n")
        (problem,) = lax_json(copy)
        assert "reads JSON laxly" in problem


# --- Text in headers is encoded ---


def raw_locations(module: Module) -> list[str]:
    """Headers that lead elsewhere, made by hand: `services.routes.see_other` encodes the path."""
    if module.name == "workbench.services.common.routes":
        return []
    return [
        f"{module.name}:{node.lineno} writes a Location by hand"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and str(node.value).lower() in ("location", "refresh")
    ]


def test_locations_are_made_in_one_place() -> None:
    """A user's id goes into one: in another encoding it would be an error after the commit."""
    assert [] == all_of(raw_locations, PACKAGE.values())


# --- Every module says what it is ---


def undocumented(module: Module) -> list[str]:
    """A module without a docstring. An empty `__init__` of tests has nothing to say."""
    silent = ast.get_docstring(module.tree) is None
    empty = not module.text.strip() and module.name.startswith("tests")
    return [f"{module.name} has no docstring"] if silent and not empty else []


def test_every_module_has_a_docstring() -> None:
    """The first thing one reads."""
    assert [] == all_of(undocumented, OURS.values())


# --- Commands are documented ---


def commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """All commands below a group, by what one types."""
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


def command_problems(group: click.Group, guide: str) -> list[str]:
    """Commands that the guide does not name, and what has no help."""
    problems = []
    for typed, command in commands(group, "workbench"):
        if not re.search(rf"(?<![\w-]){re.escape(typed)}(?![\w-])", guide):
            problems.append(f"docs/commands.md does not name `{typed}`")
        if not (command.help or "").strip():
            problems.append(f"{typed} has no help")
        for parameter in command.params:
            told = getattr(parameter, "help", None)
            if isinstance(parameter, click.Argument):
                told = (parameter.name or "").upper() in (command.help or "")
            if not told:
                problems.append(f"{typed} says nothing about {parameter.name}")
    return problems


def test_every_command_is_in_the_guide_and_has_help() -> None:
    """By the words that one types: `workbench NAME`."""
    guide = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [] == command_problems(main, guide)
    assert {"demo", "up", "buy", "env"} <= set(main.commands)


# --- Nothing of this machine, and no registry, in a tracked file ---

# A pattern does not match itself, so this file may hold them.
PLACES = {
    "a path of this machine": r"(?<![\w.~-])/(?:work|root)/",
    "somebody's home": r"(?<![\w.~-])/(?:home|Users)/[\w.-]+/",
    "a home on Windows": r"[A-Z]:\\{1,2}Users\\",
    "a registry's address": r"registry\.(?:npmjs|yarnpkg)|\bpypi\.org|pythonhosted\.org",
    "an address in a lock file": r'"resolved"\s*:',
    "an index in a lock file": r"(?m)^--(?:extra-)?index-url",
}


def place_problems(path: str, text: str) -> list[str]:
    """Absolute paths of a machine, and addresses of registries."""
    return [
        f"{path} holds {what}: {found[0]!r}"
        for what, pattern in PLACES.items()
        if (found := re.search(pattern, text))
    ]


def tracked() -> list[str]:
    """The files that git tracks here, and that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: nothing is tracked")
def test_no_tracked_file_names_this_machine_or_a_registry() -> None:
    """Pictures and outputs of notebooks among them."""
    files = tracked()
    assert "workbench/core/money.py" in files
    texts = {path: (ROOT / path).read_bytes().decode("latin-1") for path in files}
    problems = [problem for path, text in texts.items() for problem in place_problems(path, text)]
    assert [] == problems


# --- The rules catch what they are for ---

Rule = Callable[[Module], list[str]]
PLANTED: list[tuple[str, str, Rule, str]] = [
    ("core/money.py", "import workbench.evm.watcher", layer_problems, "imports workbench.evm"),
    ("core/money.py", "from workbench import settings", layer_problems, "workbench.settings"),
    ("core/money.py", "from workbench import World", layer_problems, "imports workbench,"),
    ("core/money.py", "from ..evm.codec import abi", layer_problems, "imports workbench.evm"),
    (
        "core/money.py",
        "def f():\n    from workbench.store.sql.database import SqlStore",
        layer_problems,
        "workbench.store.sql.database",
    ),
    (
        "core/money.py",
        "import importlib\nimportlib.import_module('workbench.lab.panel')",
        layer_problems,
        "imports workbench.lab.panel",
    ),
    ("core/money.py", "__import__('workbench.' + 'lab')", layer_problems, "only running it tells"),
    (
        "core/money.py",
        "if TYPE_CHECKING:\n    from workbench.web import server",
        layer_problems,
        "workbench.web.server",
    ),
    (
        "services/otc/seller.py",
        "from workbench.evm.codec.abi import word",
        layer_problems,
        "evm.codec.abi",
    ),
    (
        "services/otc/seller.py",
        "from workbench.settings import Settings",
        layer_problems,
        "settings",
    ),
    ("services/otc/seller.py", "from workbench.results import frames", layer_problems, "frames"),
    (
        "services/otc/seller.py",
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
    (
        "results/charts/timeline_svg.py",
        "from workbench.evm.codec import abi",
        layer_problems,
        "workbench.evm.codec.abi",
    ),
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
    ("core/money.py", "import time", purity_problems, "imports time"),
    ("core/money.py", "def f():\n    import random", purity_problems, "imports random"),
    ("core/money.py", "from uuid import uuid4", purity_problems, "imports uuid"),
    ("core/money.py", "from os import environ", purity_problems, "imports os"),
    ("core/money.py", "import socket", purity_problems, "imports socket"),
    ("core/money.py", "import secrets", purity_problems, "imports secrets"),
    ("core/money.py", "from datetime import datetime", purity_problems, "imports datetime"),
    ("core/money.py", "import asyncio", purity_problems, "imports asyncio"),
    ("core/money.py", "from eth_hash.auto import keccak", purity_problems, "imports eth_hash"),
    ("core/money.py", "import pandas as pd", purity_problems, "imports pandas"),
    ("core/money.py", "text = open('x').read()", purity_problems, "calls open()"),
    ("core/money.py", "print(1)", purity_problems, "calls print()"),
    ("core/money.py", "hash('x')", purity_problems, "calls hash()"),
    ("services/otc/seller.py", "import time", purity_problems, "imports time"),
    ("services/otc/seller.py", "import random", purity_problems, "imports random"),
    ("services/otc/seller.py", "import threading", purity_problems, "imports threading"),
    (
        "services/otc/seller.py",
        "from urllib.request import urlopen",
        purity_problems,
        "urllib.request",
    ),
    ("services/otc/seller.py", "from tornado.web import Application", purity_problems, "tornado"),
    ("services/otc/seller.py", "await asyncio.sleep(1)", purity_problems, "calls asyncio.sleep()"),
    (
        "services/otc/seller.py",
        "await asyncio.to_thread(f)",
        purity_problems,
        "asyncio.to_thread()",
    ),
    (
        "services/otc/seller.py",
        "self.loop.run_in_executor(f)",
        purity_problems,
        "run_in_executor()",
    ),
    (
        "services/otc/seller.py",
        "asyncio.get_running_loop().time()",
        purity_problems,
        "loop().time()",
    ),
    ("services/otc/seller.py", "asyncio.wait([f])", purity_problems, "calls asyncio.wait()"),
    (
        "services/otc/seller.py",
        "headers = (('Location', f'/user/{name}'),)",
        raw_locations,
        "writes a Location by hand",
    ),
    (
        "sim/people/users.py",
        "async def f():\n    assert await g(), 'x'",
        working_assertions,
        "by g",
    ),
    ("sim/people/users.py", "assert (x := 1)", working_assertions, "asserts by (x := 1)"),
    ("sim/people/users.py", "assert x == 1, told.pop()", working_assertions, "asserts by told.pop"),
    ("results/run.py", "path.write_text('x')", unnamed_encodings, "write_text without an encoding"),
    ("results/run.py", "path.read_text()", unnamed_encodings, "read_text without an encoding"),
    ("results/run.py", "open('x', 'w')", unnamed_encodings, "calls open without an encoding"),
    ("results/run.py", "path.open('a')", unnamed_encodings, "calls open without an encoding"),
    ("results/run.py", "os.fdopen(1, 'w')", unnamed_encodings, "calls fdopen without an encoding"),
    ("services/otc/seller.py", "answer.data()['ok']", unread_answers, "without a schema"),
    (
        "commands/demo.py",
        "async def f():\n    (await g()).data()",
        unread_answers,
        "without a schema",
    ),
    (
        "worlds/factories.py",
        "def f():\n" + "    x = 1\n" * 70,
        long_functions,
        "workbench.worlds.factories.f has 71 lines",
    ),
    (
        "worlds/factories.py",
        "class A:\n    async def f(self):\n" + "        x = 1\n" * 70,
        long_functions,
        "has 71 lines",
    ),
]


@pytest.mark.parametrize(
    ("path", "line", "rule", "told"), PLANTED, ids=[f"{p}: {t[:40]!r}" for p, t, _, _ in PLANTED]
)
def test_a_planted_violation_is_caught(
    path: str, line: str, rule: Rule, told: str, tmp_path: Path
) -> None:
    """Written to a copy of the house's own file, and read back as the house is."""
    copy = tmp_path / "workbench" / path
    copy.parent.mkdir(parents=True)
    copy.write_text(f"{PACKAGE[path].text}\n\n{line}\n", encoding="utf-8")
    (module,) = read(tmp_path / "workbench").values()
    assert PACKAGE[path].name == module.name
    (problem,) = [p for p in rule(module) if p not in rule(PACKAGE[path])]
    assert told in problem


ALLOWED: list[tuple[str, str, Rule]] = [
    ("core/money.py", "from workbench.core import events", layer_problems),
    ("core/money.py", "from collections.abc import Sequence\nimport json", purity_problems),
    ("results/charts/timeline_svg.py", "from workbench.results import frames", layer_problems),
    ("services/otc/seller.py", "from urllib.parse import quote\nimport asyncio", purity_problems),
    (
        "cli/root.py",
        "from workbench import simulated\nfrom workbench.evm.codec import abi",
        layer_problems,
    ),
    ("worlds/factories.py", "def f():\n" + "    x = 1\n" * 69, long_functions),
    (
        "worlds/factories.py",
        "assert all(isinstance(x, int) for x in found), f'{found}'",
        working_assertions,
    ),
    ("results/run.py", "open('x', 'rb')\npath.open('wb')\nbook.open()", unnamed_encodings),
    ("results/run.py", "path.write_text('x', encoding='utf-8')", unnamed_encodings),
]


@pytest.mark.parametrize(("path", "line", "rule"), ALLOWED, ids=[f"{p}" for p, _, _ in ALLOWED])
def test_what_is_allowed_is_let_through(path: str, line: str, rule: Rule) -> None:
    """A rule that refuses everything keeps nothing either."""
    module = Module(PACKAGE[path].name, f"{PACKAGE[path].text}\n\n{line}\n")
    assert rule(PACKAGE[path]) == rule(module)


def test_a_module_without_a_place_or_a_docstring_is_caught() -> None:
    """Somebody adds a room: they say where it is, and what for."""
    new = Module("workbench.attic", "import json\n")
    assert ["workbench.attic has no place in HOUSE"] == layer_problems(new)
    assert ["workbench.attic has no docstring"] == undocumented(new)
    assert [] == undocumented(Module("tests.attic", ""))
    assert [] != undocumented(Module("tests.attic", "# what for?\n"))
    assert len(DEPTH) == sum(map(len, HOUSE)), "no room twice"


def test_a_long_function_of_solidity_is_caught() -> None:
    """Braces in comments and texts do not count, bodies do, declarations have none."""
    body = "        x = 1; // }\n" * 69
    long = f'contract C {{\n    function f()\n        public\n    {{\n{body}    }}\n"}}"\n}}'
    assert ["C: f has 73 lines"] == long_solidity("C", long)
    assert [] == long_solidity("C", long.replace(body, body[: len(body) - 3 * len(body) // 69]))
    declared = "interface I {\n    function f() external;\n" + "// {\n" * 90 + "}"
    assert [] == long_solidity("I", declared)
    built = f"contract C {{ constructor() {{\n{'x = 1;' + chr(10)}{chr(10) * 70}}} }}"
    assert ["C: constructor has 73 lines"] == long_solidity("C", built)


def test_an_undocumented_command_is_caught() -> None:
    """One that the guide does not name, one without help, an option and an argument without."""

    @click.group()
    def cli() -> None: ...

    @cli.command(help="Does.")
    @click.option("--how")
    @click.argument("what")
    def act(how: str, what: str) -> None: ...

    @cli.command()
    def mute() -> None: ...

    expected = [
        "workbench act says nothing about how",
        "workbench act says nothing about what",
        "workbench mute has no help",
    ]
    assert expected == command_problems(cli, "`workbench act` and `workbench mute`")
    missing = command_problems(cli, "workbench actor, workbench act-now, myworkbench mute")
    unnamed = {f"docs/commands.md does not name `workbench {name}`" for name in ("act", "mute")}
    assert unnamed < set(missing)


def mark_free(text: str) -> str:
    """Without the marks that keep this file from holding what it looks for."""
    return text.replace("¦", "")


@pytest.mark.parametrize(
    "text",
    [
        "see /¦work/main/README.md",
        '"/¦root/.cache/pip"',
        "(/¦home/ada/project)",
        "/¦Users/ada/project",
        "C:\\¦Users\\ada",
        "https://registry.¦npmjs.org/solc",
        "https://¦py¦pi.org/simple",
        "https://files.python¦hosted.org/packages",
        '      "resolved¦": "x"',
        "-¦-index-url https://x",
    ],
)
def test_a_planted_path_or_address_is_caught(text: str) -> None:
    """Alone, and in the middle of a file's text; and not with its marks, here."""
    assert [] == place_problems("x", text)
    assert 1 == len(place_problems("x", mark_free(text)))
    assert 1 == len(place_problems("x", f"a\n{mark_free(text)}\nb"))


@pytest.mark.parametrize(
    "text",
    [
        "homework/main",
        "src/work/x.py",
        "./root/x",
        "~/home/x/y",
        "https://example.org/home/",
        "the /home of",
        "omit-lockfile-registry-resolved=true",
        "PyPI",
    ],
)
def test_what_is_no_path_of_a_machine_is_let_through(text: str) -> None:
    """Words and relative paths."""
    assert [] == place_problems("x", text)

"""The command `workbench`. Each command does one thing, says what happens, and ends cleanly."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import click

from workbench.core.errors import InvalidAmount, NotFound, WorkbenchError
from workbench.core.money import EURC, USDC, YPS, Amount, parse_decimal, parse_units

if TYPE_CHECKING:
    from workbench.byhand import Act, Hand
    from workbench.notebook.papers import Kernel

T = TypeVar("T")
AMOUNT_HELP = "in base units (100000000000000000000), or with the token's name (100yps)"


class _AmountType(click.ParamType):
    name = "amount"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        try:
            if text.lower().endswith("yps"):
                return parse_units(str(parse_decimal(text[:-3].strip(), YPS.decimals)))
            return parse_units(text)
        except InvalidAmount as why:
            self.fail(str(why), param, ctx)


class _Interrupted(BaseException):
    """SIGTERM, as an exception, so that every `finally` runs."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="settlement-workbench", prog_name="workbench")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what the services do.")
def main(verbose: bool) -> None:
    """Settlement Workbench: x402 OTC settlement on a real chain, on this machine.

    \b
    Try:
      workbench demo            one whole settlement, from HTTP 402 to delivered asset
      workbench up              chain, seller, facilitator and tracker, until Ctrl-C
      workbench buy 100yps      a purchase from the world that `up` runs in this folder
      workbench run scenarios/storm.yaml   a whole market with faults, in seconds
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)


@main.command()
@click.option(
    "--amount", type=_AmountType(), default=100 * 10**18, help=f"YPS to buy, {AMOUNT_HELP}."
)
@click.option("--ports", type=click.Choice(["fixed", "auto"]), default="fixed",
              help="fixed: 8402, 8403, 5000, 8080 or as set; auto: free ones.")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"),
              help="Folder in which the run is kept.")  # fmt: skip
@click.option("--no-notebook", is_flag=True, help="Do not execute 02_run.ipynb into the run.")
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def demo(amount: int, ports: str, runs: Path, no_notebook: bool, as_json: bool) -> None:
    """Run one whole settlement on a fresh chain, and prove that every balance reconciles.

    Exit code 0 means: executed, and correct to the base unit.
    """
    with _clean_exit(as_json):
        from workbench.demo import run_demo
        from workbench.settings import Settings

        settings = Settings.load(world={})
        with _Paper(wanted=not no_notebook) as paper:
            outcome = run_demo(
                amount,
                runs=runs,
                auto_ports=ports == "auto",
                progress=_progress,
                settings=settings,
                beside=paper,
            )
        if as_json:
            click.echo(json.dumps({**outcome.summary(), "notebook": paper.path}))
        else:
            _show(outcome)


class _Paper:
    """The notebook of a run: its kernel warms up while the run is under way.

    What goes wrong with it is said in a line; the run is there all the same.
    """

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._kernel: Kernel | None = None
        self._run_dir: Path | None = None
        self.path: str | None = None

    def warm_up(self) -> None:
        """Start the kernel, in a process of its own."""
        if self._wanted:
            from workbench.notebook.papers import Kernel

            with self._excused():
                self._kernel = Kernel()

    def begin(self, run_dir: Path) -> None:
        """Have 02_run.ipynb executed into a run's folder."""
        if self._kernel is not None:
            with self._excused():
                # It loads the folder that it is in, wherever that is moved to.
                told = {"run_dir": "."}
                self._kernel.begin("02_run.ipynb", run_dir, told, name="run.ipynb")
                self._run_dir = run_dir

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for it, also after a run that went wrong; not when somebody wants to leave."""
        if self._kernel is None:
            return
        if self._run_dir is not None and (kind is None or issubclass(kind, WorkbenchError)):
            with self._excused():
                self.path = str(self._run_dir / self._kernel.finish().name)
                _progress(f"     notebook {self.path}")
        self._kernel.close()

    @contextmanager
    def _excused(self) -> Iterator[None]:
        try:
            yield
        except WorkbenchError as why:
            click.echo(click.style(f"     no notebook: {why}", fg="yellow"), err=True)


@main.command()
@click.option("--ports", type=click.Choice(["fixed", "auto"]), default="fixed",
              help="fixed: 8402, 8403, 5000, 8080 or as set; auto: free ones.")  # fmt: skip
@click.option("--chain-id", type=click.IntRange(1, 2**53),
              help="80002 rehearses Amoy.  [default: 31337, or the fork's own]")  # fmt: skip
@click.option("--fork", metavar="URL", help="Build on a copy of the chain at this RPC URL.")
@click.option("--fork-block", type=click.IntRange(0), help="As of this block; default: the latest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout once ready.")
def up(
    ports: str, chain_id: int | None, fork: str | None, fork_block: int | None, as_json: bool
) -> None:
    """Run a chain, the seller, the facilitator, the tracker and payouts until Ctrl-C.

    Writes .workbench/world.json (readable by you alone), so that `workbench buy` and notebooks in
    this folder find the world. Everything ends with this command.

    With --fork, everything is deployed on top of somebody else's chain, which stays as it is.
    """
    if fork_block is not None and fork is None:
        raise click.UsageError("--fork-block needs --fork URL.")
    with _clean_exit(as_json):
        from workbench.local import LocalWorld, boot_served, fork_served
        from workbench.settings import Settings

        settings, upstream = Settings.load(world={}), None
        if fork is None:
            node, deployment = boot_served(chain_id or 31337, _progress)
        else:
            node, deployment, upstream = fork_served(fork, fork_block, chain_id, _progress)
        data = Path(tempfile.mkdtemp(prefix="workbench-up-"))
        try:
            world = LocalWorld(
                node, deployment, data, settings, auto_ports=ports == "auto", upstream=upstream
            )
            asyncio.run(_serve(world, as_json))
        finally:
            node.stop()
            shutil.rmtree(data, ignore_errors=True)


async def _serve(world: Any, as_json: bool) -> None:
    from workbench.served import write_world_file

    stop = _stop_on_signals()
    async with world:
        description = world.description()
        remove = write_world_file(description, Path.cwd())
        try:
            if as_json:
                click.echo(json.dumps(description))
            else:
                _tell_world(description)
            while not stop.is_set() and world.node.alive:
                await _wait(stop)
        finally:
            remove()
    if not stop.is_set():
        raise WorkbenchError("the node ended.", hint="Run `workbench up` again.")


@main.command()
@click.argument("amount", type=_AmountType())
@click.option("--seller-url", help="Another seller than the one in the settings.")
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def buy(amount: int, seller_url: str | None, as_json: bool) -> None:
    """Buy AMOUNT of the asset over HTTP 402, and follow the settlement to its end.

    AMOUNT is in base units as in the API (100000000000000000000), or 100yps.
    Takes the world of `workbench up` in this folder, unless .env or the environment say otherwise.
    """
    with _clean_exit(as_json):
        from workbench.settings import Settings

        purchase = asyncio.run(_buy(Settings.load(), amount, seller_url))
        if as_json:
            from dataclasses import asdict

            click.echo(json.dumps(asdict(purchase)))
        else:
            click.echo(f"{purchase.status}: {Amount(purchase.asset_amount, YPS)} for "
                       f"{Amount(purchase.eurc_spent, EURC)} {purchase.settlement_id}")  # fmt: skip
        if purchase.status != "executed":
            reason = purchase.reason or "unknown"
            _fail(WorkbenchError(f"not executed; the reason on chain is {reason}."), False, 1)


async def _buy(settings: Any, amount: int, seller_url: str | None) -> Any:
    from workbench.live import live_buyer

    async with live_buyer(settings) as buyer:
        return await buyer.buy(seller_url or settings.need("SELLER_URL"), amount, _progress)


def _part(name: str) -> None:
    """The command of one service alone."""

    text = f"""Run the {name} alone, on the chain that the settings name, until Ctrl-C.

    Needs {PARTS[name]}; in .env or in the environment.
    """

    @main.command(name, help=text)
    def command() -> None:
        with _clean_exit(False):
            from workbench.settings import Settings

            asyncio.run(_run_part(name, Settings.load()))


PARTS = {
    "seller": "SELLER_PRIVATE_KEY, the contract addresses, POLYGON_AMOY_RPC_URL, FACILITATOR_URL",
    "facilitator": "PRIVATE_KEY, the contract addresses, POLYGON_AMOY_RPC_URL",
    "tracker": "the contract addresses, POLYGON_AMOY_RPC_URL, SELLER_URL, FACILITATOR_URL",
    "payouts": "WEB3_PROVIDER_URL, PAYOUT_PRIVATE_KEY",
}
"""The services that run alone, and the settings each needs."""

for _name in PARTS:
    _part(_name)


async def _run_part(name: str, settings: Any) -> None:
    from workbench.live import live_part, live_payouts

    stop = _stop_on_signals()
    part = live_payouts(settings) if name == "payouts" else live_part(name, settings)
    async with await part as served:
        click.echo(f"{name} {served.url(name)}, chain {served.place.chain_id} (Ctrl-C ends it)")
        while not stop.is_set() and not served.failures:
            await _wait(stop)
        if served.failures:
            raise served.failures[name]


@main.group()
def ledger() -> None:
    """The credits' ledger: verify its lines, reconcile it with the chain.

    Takes the database of `workbench payouts`: DB_PATH, or DATABASE_URL.
    """


@ledger.command("verify")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: lines, head.")
def ledger_verify(as_json: bool) -> None:
    """Prove that no line of the ledger was changed, and that every sum is that of its lines.

    Prints how many lines there are, and the hash of the last: keep it elsewhere, and a ledger that
    was cut or written anew is found, too. Exit code 1 names the first line that is wrong.
    """
    with _clean_exit(as_json):
        from workbench.live import ledger_verified
        from workbench.settings import Settings

        lines, head = asyncio.run(ledger_verified(Settings.load()))
        text = json.dumps({"lines": lines, "head": head})
        click.echo(text if as_json else f"{lines} lines, all as written; the last is {head}")


@ledger.command("reconcile")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: the whole report.")
def ledger_reconcile(as_json: bool) -> None:
    """Hold the ledger against the chain at a final block.

    What came into the wallet is booked as funding. What left it, and is no payout's, is booked to
    suspense, and stops the signer. Exit code 0 means: everything is explained.
    """
    with _clean_exit(as_json):
        from workbench.live import ledger_reconciled
        from workbench.settings import Settings

        report = asyncio.run(ledger_reconciled(Settings.load()))
        told = report.to_json()
        if as_json:
            click.echo(json.dumps(told))
        elif report.is_settled:
            click.echo(f"at block {report.block}:")
            for asset, held in told["chain"].items():
                booked = told["booked"].get(asset, "0")
                click.echo(f"  {asset}: chain {held}, ledger {told['ledger'][asset]} + {booked}")
            for line in report.strange:
                click.echo(f"  no payout of ours: {line}")
        if not report.is_right:
            why = "something is missing" if report.is_settled else "payouts are not judged yet"
            _fail(WorkbenchError(f"not reconciled: {why}."), False, 1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line: status, faults, checked.")
def doctor(as_json: bool) -> None:
    """Look at everything a settlement needs, and say what is wrong and what to do.

    Settings, node, contracts, roles, keys, balances, allowances, liquidity, rate, finality. One
    line for each thing; exit code 1 if there is any fault.
    """
    with _clean_exit(as_json):
        from workbench.doctor import examine, report
        from workbench.settings import Settings

        findings = asyncio.run(examine(Settings.load()))
        if as_json:
            click.echo(json.dumps(report(findings)))
        else:
            for finding in findings:
                click.echo(click.style(finding.line(), fg=None if finding.ok else "red"))
        if any(not finding.ok for finding in findings):
            sys.exit(1)


@main.group()
def settlement() -> None:
    """Look at one settlement by its ID, or bring it to an end by hand.

    On the chain of .env, of the environment, or of the world that runs in this folder. Whatever is
    done already is said, and not done twice.
    """


BY = click.option("--by", type=click.Choice(["buyer", "seller"]),
                  help="Whose key acts.  [default: the one that is a party's]")  # fmt: skip
TO = click.option("--to", metavar="ADDRESS", help="Who gets it.  [default: the one who acts]")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")


@settlement.command()
@click.argument("id")
@AS_JSON
def show(id: str, as_json: bool) -> None:
    """Where the settlement ID stands, by the chain's own logs."""
    with _clean_exit(as_json):
        from workbench.byhand import describe

        seen = _by_hand(lambda hand: hand.show(id))
        told = describe(seen)
        if as_json:
            click.echo(json.dumps(told))
        else:
            for name, value in told.items():
                click.echo(f"  {name:16} {value}")


@settlement.command()
@click.argument("id")
@BY
@AS_JSON
def cancel(id: str, by: str | None, as_json: bool) -> None:
    """End the settlement ID before it is funded, as its buyer or seller."""
    with _clean_exit(as_json):
        _tell_act(_by_hand(lambda hand: hand.cancel(id, by)), as_json)


@settlement.command()
@click.argument("id")
@click.option("--by", type=click.Choice(["buyer", "seller", "facilitator", "deployer"]),
              help="Whose key pays for gas.  [default: the first there is]")  # fmt: skip
@AS_JSON
def refund(id: str, by: str | None, as_json: bool) -> None:
    """Give both parties of the settlement ID their own back: after its deadline, as anyone.

    Before the deadline only the facilitator may, and after the swap nobody.
    """
    with _clean_exit(as_json):
        _tell_act(_by_hand(lambda hand: hand.refund(id, by)), as_json)


@settlement.command()
@click.argument("id")
@BY
@TO
@AS_JSON
def claim(id: str, by: str | None, to: str | None, as_json: bool) -> None:
    """Take out what was parked for a party of the settlement ID, where a token refused to pay.

    The vault parks by owner and token: what waits from the party's other settlements comes along.
    """
    with _clean_exit(as_json):
        _tell_act(_by_hand(lambda hand: hand.claim(id, by, to)), as_json)


@main.command()
@click.argument("token")
@TO
@AS_JSON
def rescue(token: str, to: str | None, as_json: bool) -> None:
    """Take out what the vault holds of TOKEN, and owes to nobody.

    TOKEN is usdc, eurc, yps, or an address. Needs the key of the vault's admin,
    DEPLOYER_PRIVATE_KEY.
    """
    with _clean_exit(as_json):
        _tell_act(_by_hand(lambda hand: hand.rescue(token, to)), as_json)


def _by_hand(work: Callable[[Hand], Awaitable[T]]) -> T:
    """One act on the chain that the settings name."""
    from workbench.byhand import at_hand
    from workbench.settings import Settings

    async def act() -> T:
        async with at_hand(Settings.load()) as hand:
            return await work(hand)

    return asyncio.run(act())


def _tell_act(act: Act, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(act)))
    elif act.status == "already":
        click.echo(f"{act.act}: nothing to do, it is {act.state} already.")
    else:
        taken = ", ".join(f"{units} of {token}" for token, units in act.amounts)
        click.echo(f"{act.act}: done{f', {taken}' if taken else ''}, in block {act.block} "
                   f"by {act.tx}")  # fmt: skip


@main.command()
@click.option("--network", type=click.Choice(["amoy", "sepolia", "local"]),
              help="amoy is 80002, sepolia 11155111, local the world of `up` here.")  # fmt: skip
@click.option("--rpc", metavar="URL", help="Another endpoint than POLYGON_AMOY_RPC_URL.")
@click.option("--chain-id", type=click.IntRange(1, 10**12 - 1),
              help="What it must answer.  [default: the network's, or CHAIN_ID]")  # fmt: skip
@click.option("--env-out", metavar="FILE", type=click.Path(path_type=Path),
              help="Put the addresses, never keys, into this file, such as .env.")  # fmt: skip
@click.option("--plan", metavar="FILE", type=click.Path(path_type=Path),
              help="JSON: other amounts, rate, gates or parties.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def deploy(
    network: str | None,
    rpc: str | None,
    chain_id: int | None,
    env_out: Path | None,
    plan: Path | None,
    as_json: bool,
) -> None:
    """Deploy contracts, pool and stocks onto any chain, through Ape; print the settings.

    Needs DEPLOYER_PRIVATE_KEY, and the parties' keys or addresses. Safe to repeat: what is there
    is found and verified, what is missing is done, and after an interruption it goes on from there.
    """
    with _clean_exit(as_json):
        from workbench import deploying

        file = deploying.EnvFile(env_out) if env_out else None
        where = deploying.target(network, rpc, chain_id)
        outcome = deploying.deploy(where, deploying.plan_for(where, plan), _progress)
        found = deploying.variables(outcome)
        if file:
            file.write(found)
            _progress(f"settings written to {env_out}")
        if as_json:
            click.echo(json.dumps(deploying.summary(outcome)))
        else:
            click.echo("\n".join(f"{name}={value}" for name, value in found.items()))


@main.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Another than the file's.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help='Change a value of the file, such as chain.finality="5 blocks".')  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"),
              help="Folder in which the run is kept.")  # fmt: skip
@click.option("--no-notebook", is_flag=True, help="Only the run: no executed notebook beside it.")
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def run_command(
    file: Path,
    seed: int | None,
    settings: tuple[str, ...],
    runs: Path,
    no_notebook: bool,
    as_json: bool,
) -> None:
    """Play the scenario of FILE on virtual time, check every invariant, and keep the run.

    The same file and seed give the same run, byte for byte. Ctrl-C keeps what was run. Exit code 0
    means: everything ended, and no invariant was broken.
    """
    with _clean_exit(as_json):
        from workbench.playing import play
        from workbench.scenario import assignments, load

        chosen = load(file, assignments(settings))
        played = play(chosen, seed, runs=runs, notebook=not no_notebook, say=_progress)
        if as_json:
            click.echo(json.dumps(played.summary()))
        else:
            _show_run(played)
        if not played.run.finished:
            sys.exit(130)
        sys.exit(0 if played.sound else 1)


@main.command("replay")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr; last line is JSON.")
def replay_command(run_dir: Path, as_json: bool) -> None:
    """Play the run in RUN_DIR once more: the same facts, or the first that differs."""
    with _clean_exit(as_json):
        from workbench.playing import replay

        again = replay(run_dir, _progress)
        if as_json:
            click.echo(json.dumps({"status": "equal", "trace_hash": again.trace_hash}))
        else:
            click.echo(f"Equal: {len(again.events)} facts, trace {again.trace_hash}")


@main.command("env")
def env_command() -> None:
    """Print every setting with its meaning and default (the text of .env.example)."""
    from workbench.settings import env_example

    click.echo(env_example(), nl=False)


# --- Scenario files ---


@main.group()
def scenario() -> None:
    """Scenario files, scenarios/*.yaml: read them, and say what is wrong with them.

    Their format: `workbench scenario schema`, or the examples in scenarios/.
    """


_SET = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help='Another value, such as chain.finality="5 blocks"; may be repeated.',
)


@scenario.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_SET
@click.option("--json", "as_json", is_flag=True, help="One JSON line: status, files, problems.")
def scenario_check(files: tuple[Path, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """Read all FILES, and tell everything that is wrong with each, by line and field.

    Exit code 1 if there is anything.
    """
    with _clean_exit(as_json):
        from workbench.scenario import assignments, survey

        _tell_scenarios(survey(files, assignments(settings)), as_json)


@scenario.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@_SET
@click.option("--json", "as_json", is_flag=True,
              help="One JSON line: what a run keeps, and `values` as integers.")  # fmt: skip
def scenario_show(file: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Print the scenario of FILE with every default spelt out: again a scenario file."""
    with _clean_exit(as_json):
        from dataclasses import asdict

        from workbench.scenario import assignments, load, to_yaml

        shown = load(file, assignments(settings))
        if as_json:
            click.echo(json.dumps(shown.to_json() | {"values": asdict(shown)}))
        else:
            click.echo(to_yaml(shown), nl=False)


@scenario.command("list")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("scenarios"),
              show_default=True, help="Where the files are.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON line: status, files, problems.")
def scenario_list(folder: Path, as_json: bool) -> None:
    """Name the scenario files of a folder, with the question that each answers."""
    with _clean_exit(as_json):
        from workbench.scenario import survey

        found = survey(sorted(folder.glob("*.yaml")))
        if not found:
            raise NotFound(f"{folder} holds no scenario file.", hint="Give another with --folder.")
        _tell_scenarios(found, as_json, about=True)


@scenario.command("schema")
def scenario_schema() -> None:
    """Print the format as JSON Schema, for editors (the text of scenarios/schema.json)."""
    from workbench.scenario import schema_text

    click.echo(schema_text(), nl=False)


def _tell_scenarios(found: list[dict[str, Any]], as_json: bool, about: bool = False) -> None:
    """A line or two for each sound file; all problems of the others on stderr, and exit code 1."""
    bad = any(each["problems"] for each in found)
    if as_json:
        click.echo(json.dumps({"status": "failed" if bad else "ok", "files": found}))
    for each in [] if as_json else found:
        for problem in each["problems"]:
            click.echo(click.style(problem["text"], fg="red"), err=True)
        if not each["problems"]:
            faults = f", faults {' '.join(each['faults'])}" if each["faults"] else ""
            plant = f", plants {each['plant']}" if each["plant"] else ""
            many = f"{each['buyers']} buyers, {each['duration']}"
            click.echo(f"{each['file']}: ok, {many}{faults}{plant}")
            if about:
                click.echo(f"  {each['about']}")
    if bad:
        sys.exit(1)


# --- How commands talk and end ---


def _progress(text: str) -> None:
    click.echo(click.style(text, dim=text.startswith(" ")), err=True)


def _stop_on_signals() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM, so that what is open closes in order."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _wait(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), 1.0)


def _tell_world(description: dict[str, Any]) -> None:
    for name in ("tracker", "seller", "facilitator", "payouts", "rpc"):
        click.echo(f"  {name:12} {description[f'{name}_url']}")
    click.echo(f"  {'chain id':12} {description['chain_id']}")
    if fork := description.get("fork"):
        click.echo(f"  {'fork of':12} {fork['url']} at block {fork['block']}")
    click.echo("Buy something in another terminal:  workbench buy 100yps      (Ctrl-C ends it all)")


def _show(outcome: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    stages = Table(title=f"Settlement {outcome.run.settlement_id}", title_justify="left")
    for name, justify in (("stage", "left"), ("block", "right"), ("gas", "right"),
                          ("seconds", "right"), ("transaction", "left")):  # fmt: skip
        stages.add_column(name, justify=justify, no_wrap=name != "transaction")  # type: ignore[arg-type]
    for stage in outcome.run.stages():
        gas = f"{stage['gas']:,}" if stage["gas"] else ""
        block = str(stage["block"] or "")
        stages.add_row(stage["name"], block, gas, f"{stage['seconds']:.1f}", stage["tx"] or "")
    console.print(stages)
    table = Table(title="Balances", title_justify="left")
    for name in ("account", "token", "before", "after", "change"):
        table.add_column(name, justify="left" if name in ("account", "token") else "right")
    tokens = {token.symbol: token for token in (USDC, EURC, YPS)}
    for row in outcome.run.balances_seen:
        amounts = (str(Amount(units, tokens[row.token])).split()[0]
                   for units in (row.before, row.after, row.change))  # fmt: skip
        table.add_row(row.account, row.token, *amounts)
    console.print(table)
    paid = outcome.payout
    console.print(f"Payout: {paid['credits']} credits, {paid['amount']} to {paid['address']}, "
                  f"asked for twice, paid once: {paid['tx']}")  # fmt: skip
    console.print(f"Executed, and every balance reconciles. Open {outcome.run_dir}/timeline.html")


def _show_run(played: Any) -> None:
    run = played.run
    outcomes = ", ".join(f"{count} {status}" for status, count in run.outcomes.items())
    click.echo(f"{outcomes or 'no settlement'}; {len(run.events)} facts; trace {run.trace_hash}")
    rare = [f"{name} {count}" for name, count in run.sometimes.items() if count]
    click.echo(f"  paths taken: {', '.join(rare) or 'none'}")
    for fact in run.events:
        if fact.type == "InvariantBroken":
            click.echo(click.style("  broken: ", fg="red") + f"{fact.invariant}: {fact.message}")
    if not run.finished:
        click.echo("  stopped before its end; what was run until then is kept.")
    elif played.sound:
        click.echo("  every invariant held, in every block.")
    if played.notebook:
        click.echo(f"  notebook: {played.notebook}")
    if run.finished:
        click.echo(f"  again: workbench replay {played.run_dir}")


@contextmanager
def _clean_exit(as_json: bool) -> Iterator[None]:
    """Errors as text or JSON; SIGTERM and Ctrl-C run every `finally` first."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except WorkbenchError as why:
        _fail(why, as_json, 1)
    except _Interrupted:
        sys.exit(143)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("interrupted; everything is stopped.", err=True)
        sys.exit(130)


def _interrupt(*_: object) -> NoReturn:
    raise _Interrupted


def _fail(why: WorkbenchError, as_json: bool, code: int) -> NoReturn:
    if as_json:
        click.echo(json.dumps({"status": "failed", **why.to_json()}))
    click.echo(click.style("error: ", fg="red", bold=True) + why.message, err=True)
    if why.hint:
        click.echo(f"  {why.hint}", err=True)
    sys.exit(code)

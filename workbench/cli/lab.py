"""JupyterLab on the notebooks: lab."""

from __future__ import annotations

import signal

import click

from workbench.cli.output import Interrupted, clean_exit, progress
from workbench.cli.root import main


@main.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="This port, and no other.  [default: a free one from 8888]",
)
@click.option("--no-browser", is_flag=True, help="Only print the address; open no browser.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def lab(port: int | None, no_browser: bool, options: tuple[str, ...]) -> None:
    """Open the notebooks in JupyterLab, on this machine alone, until Ctrl-C.

    Our notebooks are trusted, the first is opened, and nothing is fetched from the internet. Your
    own Jupyter configuration applies. OPTIONS are passed on to JupyterLab, such as --ip=0.0.0.0.

    The address with its token is printed on stdout, alone in its line.
    """
    with clean_exit(False):
        from workbench.commands.lab import run_lab

        signal.signal(signal.SIGHUP, _hang_up)
        try:
            run_lab(
                port=port,
                browser=not no_browser,
                more=options,
                tell_url=_print_url,
                say=progress,
            )
        except KeyboardInterrupt:  # Also for SIGTERM and a closed terminal.
            progress("JupyterLab is stopped.")


def _hang_up(*_: object) -> None:
    raise Interrupted


def _print_url(url: str) -> None:
    click.echo(url)
    progress(f"JupyterLab is ready. Open {url}\nCtrl-C ends it.")

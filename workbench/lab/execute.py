"""Notebooks run by papermill: one of ours, with parameters, into the folder of a run.

A kernel takes seconds to start, so it can be warmed up beside other work:

    with Kernel() as kernel:          # starts in a process of its own, and imports
        ...                           # whatever takes a while
        kernel.execute("02_run.ipynb", folder, {"run_dir": "."}, name="run.ipynb")

`execute` does both at once. Everything that can go wrong is a NotebookFailed with one sentence: a
run is kept whether its notebook could be made or not.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

from workbench.core.errors import NotebookFailed
from workbench.evm.build.toolchain import project_root

START_S = 60
"""Longest start of a kernel, in seconds."""
CELL_S = 300
"""Longest run of one cell, in seconds."""
WORK_S = 1800
"""Longest run of a notebook, in seconds."""
END_S = 5.0
Value = str | int | float | bool | None
"""A parameter. Amounts and addresses are text, because papermill turns numbers into floats."""

WARM_UP = """
from workbench import Run
from workbench.results import charts, frames
charts.figure_png(charts.timeline(frames.timeline_frame([])))
"""
"""What every notebook of ours imports first. It takes one or two seconds."""


class WarmKernel:
    """A kernel that warms up in a process of its own, for one notebook. Close it, or use `with`."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workbench.lab.execute"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # The parent answers Ctrl-C: it closes this process.
                start_new_session=True,
            )
        except OSError as why:
            raise NotebookFailed(f"no process could be started for it: {why.strerror}.") from why

    def begin(
        self,
        notebook: str | Path,
        folder: Path | str,
        parameters: Mapping[str, Value],
        *,
        name: str | None = None,
    ) -> None:
        """Start `notebook` in `folder`, to be kept there as `name`. `finish` returns the result.

        `notebook`: a path, or a file's name in notebooks/. Parameters are recorded in the copy.
        """
        self._source, folder = _find(notebook), Path(folder).resolve()
        self._target = folder / (name or self._source.name)
        order = {"notebook": str(self._source), "target": str(self._target), "folder": str(folder)}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # It ended before; `finish` reports its last line.
            self._process.stdin.write(json.dumps({**order, "parameters": dict(parameters)}) + "\n")
            self._process.stdin.flush()

    def finish(self) -> Path:
        """Wait for the notebook; return the path of the executed copy.

        Raises NotebookFailed. A notebook that stopped half way is kept, with its error in it.
        """
        try:
            told, _ = self._process.communicate(timeout=WORK_S)
        except subprocess.TimeoutExpired:
            raise NotebookFailed(f"{self._source.name} took more than {WORK_S} s.") from None
        answer = _answer(told)
        if answer != "done":
            code = self._process.returncode
            why_not = answer or f"its process ended without a word (exit code {code})"
            raise NotebookFailed(
                f"{self._source.name} could not be run: {why_not}.",
                hint=f"Open it yourself: jupyter lab notebooks/{self._source.name}",
            )
        return self._target

    def execute(
        self,
        notebook: str | Path,
        folder: Path | str,
        parameters: Mapping[str, Value],
        *,
        name: str | None = None,
    ) -> Path:
        """Call `begin` and `finish`."""
        self.begin(notebook, folder, parameters, name=name)
        return self.finish()

    def close(self) -> None:
        """End the process and its kernel at once."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # The process never read the request.
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def execute(
    notebook: str | Path,
    folder: Path | str,
    parameters: Mapping[str, Value],
    *,
    name: str | None = None,
) -> Path:
    """Execute a notebook with a new kernel. See `WarmKernel.execute`."""
    with WarmKernel() as kernel:
        return kernel.execute(notebook, folder, parameters, name=name)


def _find(notebook: str | Path) -> Path:
    """Return the path of a notebook. Raises NotebookFailed."""
    path = Path(notebook)
    if path.name == str(notebook):
        path = project_root() / "notebooks" / path
    if not path.is_file():
        raise NotebookFailed(f"there is no notebook {path.name}.", hint=f"Looked for {path}.")
    return path.resolve()


def _answer(told: str) -> str:
    """Return the last line: `done`, an error, or ""."""
    try:
        return str(json.loads(told.splitlines()[-1])["answer"])
    except (IndexError, KeyError, TypeError, ValueError):
        return ""


# --- In the process of its own ---


def _serve() -> None:
    """Warm up a kernel, read the request from standard input, execute it, print the result.

    An end of input without a request means that the notebook is not needed any more.
    """
    signal.signal(signal.SIGTERM, _end)
    answer, kernel, rooms = "done", None, tempfile.mkdtemp(prefix="workbench-kernel-")
    try:
        kernel = _start(rooms)
        line = sys.stdin.readline()
        if line:
            answer = _carry_out(kernel, json.loads(line))
    except Exception as why:  # noqa: BLE001 - any error is sent to the parent in one line
        answer = _one_line(f"{type(why).__name__}: {why}")
    finally:
        if kernel is not None:
            kernel.shutdown_kernel(now=True)
        shutil.rmtree(rooms, ignore_errors=True)
    sys.stdout.write(json.dumps({"answer": answer}) + "\n")


def _start(rooms: str) -> Any:
    """Return a kernel of this Python with the imports done. The user's kernels are not used.

    `rooms`: a folder for its sockets; their paths must be short.
    """
    # Not needed by jsonschema; its IRI grammar takes more than a second to build.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    kernel = KernelManager(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport="ipc",  # Free TCP ports are only guessed, and two kernels may guess the same.
        connection_file=str(Path(rooms) / "kernel.json"),
    )
    kernel.start_kernel(extra_arguments=["--HistoryManager.hist_file=:memory:"])
    import papermill  # noqa: F401 - while the kernel starts

    _silently(kernel, WARM_UP)
    return kernel


def _silently(kernel: Any, code: str) -> None:
    """Run code that leaves no trace in the notebook."""
    client = kernel.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=START_S)
        reply = client.execute_interactive(
            code, silent=True, store_history=False, timeout=START_S, output_hook=lambda _: None
        )
    finally:
        client.stop_channels()
    content = reply["content"]
    if content["status"] != "ok":
        raise RuntimeError(f"{content.get('ename')}: {content.get('evalue')}")


def _carry_out(kernel: Any, order: dict[str, Any]) -> str:
    """Execute the requested notebook in the kernel. Return `done`, or the error in one line."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    parameters = order["parameters"]
    # papermill only warns of a parameter that the notebook does not have.
    unknown = sorted(set(parameters) - set(papermill.inspect_notebook(order["notebook"])))
    if unknown:
        return f"it has no parameter {', '.join(unknown)}"
    _silently(kernel, f"import os; os.chdir({order['folder']!r})")
    try:
        papermill.execute_notebook(
            order["notebook"],
            order["target"],
            parameters=parameters,
            progress_bar=False,
            execution_timeout=CELL_S,
            km=_for_papermill(kernel),
        )
    except PapermillExecutionError as why:
        return _one_line(f"cell {why.exec_count} ended in {why.ename}: {why.evalue}")
    finally:
        _forget_places(Path(order["target"]))
    return "done"


def _forget_places(target: Path) -> None:
    """Remove folders from papermill's record, because run folders are given to other people."""
    if not target.exists():
        return
    paper = json.loads(target.read_text(encoding="utf-8"))
    record = paper["metadata"].get("papermill", {})
    for name in ("input_path", "output_path"):
        record[name] = Path(record.get(name) or "").name
    target.write_text(json.dumps(paper, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _for_papermill(kernel: Any) -> Any:
    """The running kernel, with the methods that papermill's client awaits."""
    kernel.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
    return kernel


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")


def _end(*_: object) -> NoReturn:
    sys.exit(1)


if __name__ == "__main__":
    _serve()

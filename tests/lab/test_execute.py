"""Notebooks run by papermill: the executed copy, and everything that can go wrong with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.facts import happy, journal
from workbench import Run
from workbench.core.errors import NotebookFailed
from workbench.lab.execute import WarmKernel, execute
from workbench.scenario import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder."""
    return Run(tuple(happy()), chain_id=31337).save(tmp_path / "run")


def notebook(path: Path, *sources: str) -> Path:
    """A notebook whose first cell holds the parameters."""
    cells = [new_code_cell(source) for source in sources]  # type: ignore[no-untyped-call]
    cells[0].metadata["tags"] = ["parameters"]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = new_notebook(cells=cells, metadata=spec)  # type: ignore[no-untyped-call]
    nbformat.write(made, path)  # type: ignore[no-untyped-call]
    return path


def read(path: Path) -> Any:
    return nbformat.read(path, 4)  # type: ignore[no-untyped-call]


def test_a_run_gets_its_notebook(folder: Path) -> None:
    """Executed in the run's folder, by a relative path; nothing in it names this machine."""
    path = execute("02_run.ipynb", folder, {"run_dir": "."}, name="run.ipynb")
    assert folder / "run.ipynb" == path
    paper = read(path)
    assert {"run_dir": "."} == paper.metadata.papermill.parameters
    assert "02_run.ipynb" == paper.metadata.papermill.input_path
    assert "delivered" in str(paper.cells)
    assert any("image/png" in o.get("data", {}) for c in paper.cells for o in c.get("outputs", ()))
    for place in (folder, Path.cwd(), Path.home()):
        assert str(place) not in path.read_text(encoding="utf-8")


def test_a_run_of_many_gets_its_notebook(tmp_path: Path) -> None:
    """With a scenario, without one, and with nothing in it."""
    storm = load(Path(__file__).resolve().parents[2] / "scenarios" / "storm.yaml")
    runs = {
        "storm": Run(tuple(journal(70)), scenario=storm, seed=7, finished=False),
        "plain": Run(tuple(happy())),
        "empty": Run(()),
    }
    with ThreadPoolExecutor(2) as both:
        papers = {name: both.submit(_paper_of, run, tmp_path / name) for name, run in runs.items()}
    shown = {name: str(read(path.result()).cells) for name, path in papers.items()}
    assert "storm, seed 7" in shown["storm"]
    assert "STOPPED before its end" in shown["storm"]
    assert "volatility: 8 % per year" in shown["storm"]
    assert "no scenario, seed 0: 0 facts" in shown["empty"]
    assert all(text.count("image/png") == 4 for text in shown.values())


def _paper_of(run: Run, folder: Path) -> Path:
    run.save_facts(folder)
    return execute("04_scenario.ipynb", folder, {"run_dir": "."}, name="scenario.ipynb")


def test_what_stopped_a_notebook_is_named(tmp_path: Path) -> None:
    """The cell and the error, in one line; what was done is kept, with the error in it."""
    source = notebook(tmp_path / "bad.ipynb", "x = 1", "x", 'raise ValueError("a\\nb")')
    with pytest.raises(NotebookFailed, match=r"bad.ipynb could not be run: cell \d ended in Value"):
        execute(source, tmp_path, {"x": "100"}, name="out.ipynb")
    paper = read(tmp_path / "out.ipynb")
    assert "'100'" in str(paper.cells)
    assert paper.metadata.papermill.exception


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("02_run.ipynb", {"rundir": "."}, "it has no parameter rundir"),
        ("02_run.ipynb", {"run_dir": "nowhere"}, "StoreError: nowhere is no run folder"),
        ("99_none.ipynb", {}, "there is no notebook 99_none.ipynb"),
        (Path("elsewhere/x.ipynb"), {}, "there is no notebook x.ipynb"),
    ],
)
def test_a_wrong_order_is_named(
    folder: Path, name: Any, parameters: dict[str, Any], says: str
) -> None:
    """papermill itself only warns of a name that is not there."""
    with pytest.raises(NotebookFailed) as caught:
        execute(name, folder, parameters)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def family(kernel: WarmKernel) -> list[psutil.Process]:
    """The kernel's processes, once there are two of them."""
    own = psutil.Process(kernel._process.pid)
    for _ in _patience():
        children = own.children(recursive=True)
        if children:
            return [own, *children]
    raise AssertionError


def _patience() -> Iterator[None]:
    """Ten seconds of looking at another process."""
    for _ in range(200):
        yield
        time.sleep(0.05)  # Another process' doing cannot be awaited otherwise.


def test_closing_ends_the_kernel() -> None:
    """Also one that was never used, and twice."""
    kernel = WarmKernel()
    processes = family(kernel)
    kernel.close()
    kernel.close()
    assert [] == _left(processes)


def test_a_kernel_process_that_is_gone_is_named(folder: Path) -> None:
    """Killed before the order, and killed after it."""
    early, late = WarmKernel(), WarmKernel()
    with early, late:
        processes = [*family(early), *family(late)]
        os.kill(early._process.pid, signal.SIGKILL)
        early._process.wait()
        with pytest.raises(NotebookFailed, match="without a word"):
            early.execute("02_run.ipynb", folder, {"run_dir": "."})
        late.begin("02_run.ipynb", folder, {"run_dir": "."})
        os.kill(late._process.pid, signal.SIGKILL)
        with pytest.raises(NotebookFailed, match="without a word"):
            late.finish()
    assert [] == _left(processes)


def test_what_kept_a_kernel_from_starting_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was found out before the order came, or after."""
    (tmp_path / "papermill.py").write_text('raise ImportError("no such luck")', encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with WarmKernel() as kernel:
        kernel._process.wait(60)
        kernel.begin("02_run.ipynb", folder, {"run_dir": "."})
        with pytest.raises(NotebookFailed, match="ImportError: no such luck"):
            kernel.finish()


def _left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end by themselves within ten seconds."""
    psutil.wait_procs(processes, timeout=10)
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

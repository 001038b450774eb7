"""Notebooks are kept executed, in order, without traces of the machine that ran them.

nbval passes a stripped notebook with nothing checked; this is what fails it.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|work|Users|tmp)/\w")
MEMORY_ADDRESS = re.compile(r" at 0x[0-9a-f]{8,16}>")
SILENT = ("import", "from", "with", "def", "class", "assert", "%", "#")


def problems(notebook: Any) -> list[str]:
    """What is wrong with a notebook, one line each."""
    found: list[str] = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"cells are not executed in order: {counts}")
    for number, cell in enumerate(cells, 1):
        text = str([dict(output) for output in cell.outputs])
        if MACHINE_PATH.search(text):
            found.append(f"cell {number} shows a path of a machine")
        if MEMORY_ADDRESS.search(text):
            found.append(f"cell {number} shows an object's memory address")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"cell {number} ended in an error")
        last = cell.source.strip().splitlines()[-1]
        shows = "print(" in cell.source or not (
            last.startswith(SILENT) or re.search(r"\w = |\)$", last)
        )
        if shows and not cell.outputs:
            found.append(f"cell {number} has lost its output")
    if not any(cell.outputs for cell in cells):
        found.append("no cell has any output")
    return found


def read(path: Path) -> Any:
    """A notebook, format 4."""
    return nbformat.read(path, 4)  # type: ignore[no-untyped-call]


def test_there_are_notebooks() -> None:
    """The check below checks something."""
    assert "01_quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_executed(path: Path) -> None:
    """Every cell executed, in order, with its outputs, and nothing of the machine in them."""
    assert problems(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_check_catches_stripped_and_unexecuted_cells(path: Path) -> None:
    """Stripped outputs, a cell that was not run, cells out of order, a path, an address."""
    whole = read(path)
    stripped = copy.deepcopy(whole)
    for cell in stripped.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    assert "no cell has any output" in problems(stripped)
    code = [n for n, cell in enumerate(whole.cells) if cell.cell_type == "code"]
    unrun = copy.deepcopy(whole)
    unrun.cells[code[1]].execution_count = None
    assert any("not executed in order" in each for each in problems(unrun))
    lost = copy.deepcopy(whole)
    printing = next(n for n in code if "print(" in whole.cells[n].source)
    lost.cells[printing].outputs = []
    assert any("lost its output" in each for each in problems(lost))
    leaky = copy.deepcopy(whole)
    text = "/ho" + "me/someone/x <a.B object at 0x7f00aa11bb22>"
    told: Any = nbformat.NotebookNode(  # type: ignore[no-untyped-call]
        output_type="stream", name="stdout", text=text
    )
    leaky.cells[code[0]].outputs = [told]
    assert len([e for e in problems(leaky) if "path" in e or "address" in e]) == 2


DURATION = re.compile(r"[Aa]bout (?:\w+ )?(?:\w+ )?(?:second|minute)s?")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_first_cell_says_the_question_and_how_long_it_takes(path: Path) -> None:
    """A reader knows at once whether this is the notebook to run."""
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert "?" in first.source
    assert DURATION.search(first.source), first.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_picture_is_a_png(path: Path) -> None:
    """JupyterLab shows nothing else of a notebook that is not trusted."""
    for cell in read(path).cells:
        kinds = {kind for output in cell.get("outputs", ()) for kind in output.get("data", {})}
        shows = re.search(r"chart\(\)|lanes\(\)|panel\(|tracker\(", cell.source)
        is_code = cell.cell_type == "code"
        assert not (is_code and shows) or "image/png" in kinds, cell.source
        assert "image/svg+xml" not in kinds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_widget_is_kept(path: Path) -> None:
    """No kernel stands behind it: JupyterLab would report an error in place of the picture."""
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})

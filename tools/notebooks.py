"""Runs the notebooks again and keeps their output: `make notebooks`.

What is kept is what a reader sees without a kernel. So outputs that are nothing but a widget are
left out: no model stands behind them, and JupyterLab would report an error for each. The picture
beside them stays.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
VIEW = "application/vnd.jupyter.widget-view+json"
CELL_S = 300


def execute(path: Path) -> None:
    """All cells in a new kernel, in the notebook's folder. Raises CellExecutionError."""
    notebook: Any = nbformat.read(path, 4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=CELL_S, resources=resources, store_widget_state=False)
    client.execute()
    without_widgets(notebook)
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


def without_widgets(notebook: Any) -> None:
    """Drop the state of widgets, outputs that only show one, and times of execution."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            each for each in cell.outputs if set(each.get("data", {"text": ""})) - {VIEW}
        ]
        for output in cell.outputs:
            output.get("data", {}).pop(VIEW, None)


def main(names: list[str]) -> None:
    """The notebooks of these names, or all of them."""
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths:
        print(f"{path.name} ...", flush=True)
        execute(path)


if __name__ == "__main__":
    main(sys.argv[1:])

"""`workbench lab` in a real browser: the notebook that it opens, and what it must not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.jupyter import CHROMIUM, MISSING, code_notebook, jupyter_lab
from workbench.commands import lab

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]


def test_the_first_notebook_is_opened_trusted_in_silence(tmp_path: Path) -> None:
    """The printed address; no pop-up, no request to anybody else; Ctrl-C leaves no process."""
    with jupyter_lab(tmp_path) as page:
        page.open_first()
        first = lab.first_notebook(page.server.root / "notebooks")
        assert page.page.evaluate("jupyterapp.shell.currentWidget.context.path") == first
        assert page.untrusted() == []
        assert page.page.locator('[title^="Notebook trusted"]').count() == 1
        assert page.notifications() == []
        assert page.broken_pictures() == []
        assert len(page.requests) > 20
        assert page.problems() == []
        family = page.server.family()
        assert len(family) >= 2, "JupyterLab and a kernel"
        assert page.server.interrupt() == 0
        assert not [each for each in family if each.is_running()]
        assert page.server.log().rstrip().endswith("JupyterLab is stopped.")
        # Only now, as it is the page that loses its server.
        page.errors.clear()


def test_a_notebook_of_ours_runs_and_its_node_ends_with_it(tmp_path: Path) -> None:
    """The whole way: a kernel that finds the workbench, a chain of its own, Ctrl-C."""
    with jupyter_lab(tmp_path) as page:
        page.open("01_quickstart.ipynb")
        page.run_all()
        page.wait_idle(240)
        page.screenshot(tmp_path / "ran.png")
        assert (tmp_path / "ran.png").stat().st_size > 10_000
        page.save()
    assert not page.server.family()


def test_a_notebook_of_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    """Only those that we ship are signed."""
    theirs = code_notebook("1 + 1")
    theirs.cells[0].outputs = [_html("<b>from elsewhere</b>")]
    with jupyter_lab(tmp_path, {"theirs.ipynb": theirs}) as page:
        page.open("theirs.ipynb")
        assert page.untrusted() == [0]


def _html(text: str) -> object:
    from nbformat.v4 import new_output

    return new_output("display_data", {"text/html": text})  # type: ignore[no-untyped-call]

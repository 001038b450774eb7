"""The text of the ES module that draws the lanes, joined from its source files.

The module imports nothing and is not built: `static/ORDER` lists the files, which are joined
unchanged. So notebook, page and test load the same text.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


def _static(name: str) -> str:
    return files("workbench.lab").joinpath(f"static/{name}").read_text("utf-8")


@cache
def lanes_module() -> str:
    """Return the ES module that exports `mountLanes`."""
    return "\n".join(_static(name) for name in _static("ORDER").split())


@cache
def widget_module() -> str:
    """Return the same with anywidget's adapter as its default export."""
    return f"{lanes_module()}\n{_static('widget.js')}"

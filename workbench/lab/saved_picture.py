"""The last picture of a widget, for saved or exported notebooks without a kernel.

JupyterLab shows a widget's output as the widget only, so a picture in the same output is never
visible. It is in an output of its own, below the widget's. The output between the two holds a
style: it hides the picture while the widget has a kernel, and hides JupyterLab's line about a
missing widget otherwise.

The kernel replaces the picture by the display's id, which reaches the page that ran the cell. A
page that was reloaded does not know it; there the view replaces it (`static/widget.js`), and finds
it by the `key` in the output's metadata.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
EVERY_S = 4.5
"""Shortest time between two pictures that the notebook stores during a run, in seconds."""
MARK = "wb-last-picture"
OUTPUT = ".jp-OutputArea-child"
STYLE = (
    f'<style class="{MARK}">'
    f"{OUTPUT}:has(.wb-heard) + {OUTPUT}:has(.{MARK}) + {OUTPUT}, {OUTPUT}:has(.{MARK}), "
    f"{OUTPUT}:has(+ {OUTPUT} .{MARK}) > .jupyter-widgets:not(:has(*))"
    " { display: none; }</style>"
)
"""The output before the mark is the widget, the output after it is the picture. A widget that
JupyterLab does not find is a line of text without an element inside."""


class SavedPicture:
    """The outputs of one widget, in all cells that show it."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._shown: list[tuple[Any, str]] = []
        self._next = 0.0

    def display(self, view: Any, png: bytes, text: str) -> None:
        """Show the widget with this bundle, and below it the picture. Called by a cell."""
        from IPython.display import display

        show: Any = display
        show({VIEW: view[VIEW]}, raw=True)
        show({"text/html": STYLE, "text/plain": ""}, raw=True)
        handle = show(_picture(png, text), metadata=self._about, raw=True, display_id=True)
        if handle is not None:
            with self._lock:
                self._shown.append((handle, text))

    @property
    def _about(self) -> dict[str, str]:
        return {"picture_key": self.key}

    @property
    def is_shown(self) -> bool:
        """True if a cell shows it."""
        return bool(self._shown)

    def replace(self, png: bytes, *, is_going: bool) -> None:
        """Replace the picture in all cells that show it. Called from any thread.

        `is_going`: another picture will come, so this one may be skipped.
        """
        now = time.monotonic()
        with self._lock:
            if is_going and now < self._next:
                return
            self._next = now + EVERY_S
            shown = list(self._shown)
        for handle, text in shown:
            handle.update(_picture(png, text), metadata=self._about, raw=True)


def _picture(png: bytes, text: str) -> dict[str, str]:
    return {"image/png": base64.b64encode(png).decode(), "text/plain": text}

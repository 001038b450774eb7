"""Widgets that answer while a cell runs.

JupyterLab sends the messages of widgets to a subshell of the kernel, a thread beside the one that
runs cells. ipykernel 7.4 sends a message on to the main shell instead, where the widget's own last
message came from there: from a cell, or from any thread of ours. Then a click waits until the cell
has ended (`ipykernel.comm.comm.BaseComm._reply_subshell_for`).
"""

from __future__ import annotations

from typing import Any


def answer_while_busy(*widgets: Any) -> None:
    """Let the messages of these widgets go where JupyterLab sends them, whatever they said last.

    To be called once a widget has its comm, so after its constructor. Where the front end knows no
    subshells, or the kernel is another, nothing changes. Handlers then run on the subshell's
    thread, beside a cell: what both use needs a lock.
    """
    for widget in widgets:
        if widget.comm is not None:
            # The kernel asks for this method, and follows the message's own header without it.
            widget.comm._reply_subshell_for = None

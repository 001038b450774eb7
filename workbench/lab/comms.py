"""Widgets that answer while a cell runs.

JupyterLab sends widget messages to a subshell of the kernel, a thread beside the one that runs
cells. ipykernel 7.4 forwards a message to the main shell instead if the widget's last own message
came from there: from a cell, or from another thread. Then a click waits until the cell has ended
(`ipykernel.comm.comm.BaseComm._reply_subshell_for`).
"""

from __future__ import annotations

from typing import Any


def answer_while_busy(*widgets: Any) -> None:
    """Let the messages of these widgets stay on the subshell to which JupyterLab sends them.

    Call it after the constructor, once a widget has its comm. If the front end has no subshells, or
    the kernel is another, nothing changes. Handlers then run on the subshell's thread, beside a
    cell: shared data needs a lock.
    """
    for widget in widgets:
        if widget.comm is not None:
            # The kernel calls this method if it exists, and otherwise uses the message's own
            # header.
            widget.comm._reply_subshell_for = None

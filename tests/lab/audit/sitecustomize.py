"""Started with every Python of a test's JupyterLab: writes down whom it asks on the network.

The file that LAB_NETWORK_LOG names gets one line for each host that is not this machine.
"""

import os
import sys

LOCAL = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "None"}


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # Else a path: a Unix socket.
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name not in LOCAL and not name.startswith("127."):
        with open(os.environ["LAB_NETWORK_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123 - nothing is imported
            log.write(f"{event} {name}\n")


sys.addaudithook(_note)

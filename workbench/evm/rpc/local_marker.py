"""How a node says that we booted it: code at an address nobody has a key for.

A *live* chain is any node we did not boot (agreement 6). Only a node's owner can put code at an
address of his choice (`anvil_setCode`), so no public chain can look like a local world.
"""

from __future__ import annotations

from workbench.evm.rpc.client import Rpc

MARKER_ADDRESS = "0x" + b"settlement workbench".hex()
"""Twenty bytes of text."""
MARKER_CODE = "0x" + b"\xfe a local world: test keys are safe here".hex()
"""0xfe is INVALID: whoever calls it gets nothing, and loses nothing."""


async def is_local(rpc: Rpc) -> bool:
    """Whether the node behind `rpc` was booted by us. Raises RpcUnreachable."""
    return bool(await rpc.call("eth_getCode", MARKER_ADDRESS, "latest") == MARKER_CODE)

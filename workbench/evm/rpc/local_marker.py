"""The marker of a node that we booted: fixed code at an address without a key.

A *live* chain is any node that we did not boot. Only the owner of a node can put code at any
address (`anvil_setCode`), so a public chain cannot look like a local world.
"""

from __future__ import annotations

from workbench.evm.rpc.client import Rpc

MARKER_ADDRESS = "0x" + b"settlement workbench".hex()
"""Twenty bytes of ASCII text."""
MARKER_CODE = "0x" + b"\xfe a local world: test keys are safe here".hex()
"""The opcode INVALID (0xfe), then text. A call always fails."""


async def is_local(rpc: Rpc) -> bool:
    """Return whether the node behind `rpc` was booted by us. Raises RpcUnreachable."""
    return bool(await rpc.call("eth_getCode", MARKER_ADDRESS, "latest") == MARKER_CODE)

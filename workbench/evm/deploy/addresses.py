"""Addresses of contracts before they exist: CREATE2, the vault's CREATE, and the hook's mined salt.

The CREATE2 deployer and fixed salts create every contract. So an address depends on the code and
the plan alone, and is the same on every chain, whoever sends the transactions.
"""

from __future__ import annotations

from workbench.core.errors import DeployFailed

CREATE2_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""Arachnid's deterministic deployment proxy: on most public chains, and on anvil from genesis."""
SALT = bytes(32)
"""The CREATE2 salt of every contract except the hook."""
HOOK_FLAGS = 0x20C0
"""BEFORE_INITIALIZE, BEFORE_SWAP and AFTER_SWAP: v4 reads them from the hook's address."""
HOOK_MASK = 0x3FFF
"""The bits of a hook's address that are flags (v4-core `Hooks`)."""


def keccak(data: bytes) -> bytes:
    """Return the Keccak-256 digest."""
    from sha3 import keccak_256  # In C: a tenth of the time of pycryptodome's.

    return bytes(keccak_256(data).digest())


def checksum(address: bytes) -> str:
    """Return 20 bytes as 0x hex in the mixed case of EIP-55."""
    digits = address.hex()
    digest = keccak(digits.encode()).hex()
    pairs = zip(digits, digest, strict=False)
    return "0x" + "".join(char.upper() if int(nibble, 16) > 7 else char for char, nibble in pairs)


def create2_address(init_code: bytes, salt: bytes = SALT) -> str:
    """Return the address at which the CREATE2 deployer creates `init_code` (EIP-1014)."""
    origin = bytes.fromhex(CREATE2_DEPLOYER[2:])
    return checksum(keccak(b"\xff" + origin + salt + keccak(init_code))[12:])


def create_address(creator: str) -> str:
    """Return the address of the first contract that a contract creates (CREATE with nonce 1)."""
    return checksum(keccak(b"\xd6\x94" + bytes.fromhex(creator[2:]) + b"\x01")[12:])


def mine_hook_salt(init_code: bytes, flags: int = HOOK_FLAGS) -> bytes:
    """Return the first salt whose CREATE2 address ends in `flags` (14 bits).

    It takes about 16,000 attempts and 50 ms. Raises DeployFailed after 2**24 attempts.
    """
    from sha3 import keccak_256

    prefix = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER[2:])
    suffix = keccak(init_code)
    high, low = flags.to_bytes(2, "big")
    for number in range(1 << 24):
        salt = number.to_bytes(32, "big")
        digest = keccak_256(prefix + salt + suffix).digest()
        if digest[31] == low and digest[30] & (HOOK_MASK >> 8) == high:
            return salt
    raise DeployFailed("No salt among 2**24 gives the hook's address its flags.")

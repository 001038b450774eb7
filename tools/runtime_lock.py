"""The part of requirements.lock that some packages need: themselves, and what they ask for.

    python tools/runtime_lock.py requirements.lock              # what `workbench payouts` needs
    python tools/runtime_lock.py requirements.lock hatchling    # what these need
    python tools/runtime_lock.py --write                        # the two requirements.txt

Versions, markers and hashes are those of the lock, line for line; who asks for whom is what uv
wrote below each package (`# via`). Standard library only: the Dockerfile runs it before pip.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

OTC = (
    "aiohttp",
    "alembic",
    "click",
    "coincurve",
    "eth-abi",
    "eth-account",
    "httptools",
    "msgspec",
    "python-dotenv",
    "safe-pysha3",
    "sqlalchemy",
    "tornado",
)
"""What `workbench seller`, `facilitator`, `tracker` and `buy` import. A test runs all four with
these alone."""
PAYOUTS = (*OTC, "psycopg", "psycopg-binary")
"""What `workbench payouts` and `workbench ledger` import. A test serves with these alone."""
FILES = {
    "requirements.txt": (PAYOUTS, "what `python -m app.server` needs"),
    "python/requirements.txt": (OTC, "what server.py, client.py, facilitator.py, tracker.py need"),
}
"""The files for `pip install -r`, and what each is for."""


def packages(lock: str) -> dict[str, str]:
    """Package -> its lines in the lock: version and marker, hashes, `# via`."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    return {block.partition("==")[0]: block for block in blocks if "==" in block}


def askers(block: str) -> set[str]:
    """The packages that ask for the one of this block: on one line, or on one each."""
    return set(re.findall(r"(?m)^    # (?:via|  ) ?([A-Za-z0-9._-]+)$", block))


def needed(lock: str, roots: tuple[str, ...]) -> str:
    """The lock's text for the roots and all that they ask for. Raises KeyError for a stranger."""
    all_, found, more = packages(lock), set[str](), set(roots)
    if strangers := more - set(all_):
        raise KeyError(f"not in the lock: {', '.join(sorted(strangers))}")
    while more:
        found |= more
        more = {name for name, block in all_.items() if askers(block) & more} - found
    return "".join(block for name, block in all_.items() if name in found)


def write_files(folder: Path) -> None:
    """Write each of `FILES` out of the folder's requirements.lock."""
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    for name, (roots, purpose) in FILES.items():
        text = f"# A part of requirements.lock: {purpose}. `make lock` writes this file.\n"
        (folder / name).write_text(text + needed(lock, roots), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_files(Path(__file__).resolve().parent.parent)
    else:
        whole = Path(sys.argv[1]).read_text(encoding="utf-8")
        sys.stdout.write(needed(whole, tuple(sys.argv[2:]) or PAYOUTS))

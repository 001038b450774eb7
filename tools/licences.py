"""Lists the licence of every locked package, and objects to what may not be imported.

`.venv/bin/python tools/licences.py` prints the list and exits 1 if something is wrong. Permissive
licences, LGPL and MPL are fine (CONTRIBUTING.md); GPL, AGPL and unknown ones are not,
except as programs of their own or where EXCEPTIONS says why. Standard library only.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent

# Both say what a licence is called in a way that the patterns below can judge.
PERMITTED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|LGPL|CC0|Public Domain|HPND"
    r"|Unlicense|0BSD|Zlib|\bOSI Approved\b",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"(?<!L)(?<!Lesser )\bA?GPL|Affero|GNU General Public", re.IGNORECASE)

EXCEPTIONS = {
    "@uniswap/v4-core": "BUSL-1.1, non-production use granted: PoolManager's bytecode is loaded "
    "from the installed package, and neither source nor bytecode is in this repository.",
    "solc": "MIT around the compiler; the compiler itself is GPL-3.0, run as a program of its own.",
    "memorystream": "MIT, as its README says; the package's metadata has an outdated form.",
}


@dataclass(frozen=True)
class Licence:
    """What a package says of itself."""

    source: str
    package: str
    version: str
    text: str

    @property
    def problem(self) -> str:
        """Why this package may not be here; empty if it may."""
        if self.package in EXCEPTIONS:
            return ""
        if FORBIDDEN.search(self.text) and " OR " not in self.text:
            return "may only be run as a program of its own"
        return "" if PERMITTED.search(self.text) else "has no licence that is known to be fine"


def _of(found: Message) -> str:
    """The licence in a wheel's metadata: the expression, else classifiers, else the first line."""
    if expression := found.get("License-Expression"):
        return str(expression)
    classifiers = [
        text.split(" :: ")[-1]
        for text in found.get_all("Classifier") or []
        if text.startswith("License")
    ]
    if classifiers:
        return ", ".join(classifiers)
    lines = (found.get("License") or "").strip().splitlines()
    return lines[0][:60] if lines else ""


def python_licences() -> list[Licence]:
    """Every package of requirements.lock that is installed (some are for other platforms)."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    found = []
    for name in (line.split("==")[0] for line in lines if re.match(r"^[A-Za-z0-9].*==", line)):
        try:
            package = cast(Message, metadata(name))
        except PackageNotFoundError:
            continue
        found.append(Licence("PyPI", name, package["Version"], _of(package)))
    return found


def npm_licences() -> list[Licence]:
    """Every package of package-lock.json."""
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return [
        Licence("npm", path.removeprefix("node_modules/"), data["version"], data.get("license", ""))
        for path, data in packages.items()
        if path
    ]


def main() -> int:
    """Print the list; 1 if there is a problem."""
    code = 0
    for licence in (*python_licences(), *npm_licences()):
        line = f"{licence.source:5} {licence.package:32} {licence.version:16} {licence.text}"
        if licence.package in EXCEPTIONS:
            line += f" (accepted: {EXCEPTIONS[licence.package]})"
        if licence.problem:
            line, code = f"{line}  <-- {licence.problem}", 1
        print(line)
    return code


if __name__ == "__main__":
    sys.exit(main())

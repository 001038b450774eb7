"""The payouts' API as a stranger reads it: Schemathesis, with nothing but its OpenAPI text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.test_payout_pages import Site

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
SEED, EXAMPLES = "11", "8"
CANNOT_BE_SAID = "positive_data_acceptance"
"""That two keys must be equal, a checksum right, and an address not zero: no schema can say it."""


@pytest.mark.check
def test_what_is_described_is_what_is_done(tmp_path: Path) -> None:
    """No 500, no undescribed answer, nothing accepted that the description forbids."""
    site = Site()
    try:
        site.tick()
        command = [SCHEMATHESIS, "run", f"{site.url}/v1/openapi.json", "--seed", SEED]
        command += ["--max-examples", EXAMPLES, "--exclude-checks", CANNOT_BE_SAID, "--no-color"]
        command += ["--phases", "examples,coverage,fuzzing"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    finally:
        site.close()
    assert 0 == done.returncode, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert "23 selected / 23 total" in done.stdout, done.stdout

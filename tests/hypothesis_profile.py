"""One Hypothesis profile for all tests: the same examples in every run, on every machine.

`HYPOTHESIS_PROFILE=deep` looks longer, and at other examples each time; a failure then prints how
to repeat it.
"""

from __future__ import annotations

import os

from hypothesis import settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "house")
settings.register_profile("house", max_examples=60, derandomize=True, deadline=None)
settings.register_profile("deep", max_examples=2_000, deadline=None, print_blob=True)
settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """Another number of examples than usual, for tests that are dear; many more when deep."""
    return settings(max_examples=count * (1 if PROFILE == "house" else 25))

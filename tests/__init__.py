"""A package of its own, so that its helpers are importable as `tests.facts` and `tests.browser`."""

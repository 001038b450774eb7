"""Checkers of a simulated run, and the broken rules that prove them."""

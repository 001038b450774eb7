"""Checkers of a simulated run, and the planted rules that prove them."""

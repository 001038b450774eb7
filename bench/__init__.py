"""Benchmarks: always a ratio within one run, never a figure alone (ARCHITECTURE.md)."""

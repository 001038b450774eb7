"""Finished runs: run folders, tables, metrics and charts."""

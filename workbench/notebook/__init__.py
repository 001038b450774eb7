"""Helpers that notebooks import: readable tables."""

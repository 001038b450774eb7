"""Faults of a simulated run: their sites, and the components in which they fire."""

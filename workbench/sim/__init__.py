"""Worlds on virtual time: the same services, a real chain, and no waiting."""

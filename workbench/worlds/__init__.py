"""Worlds: the services with their adapters, simulated, local, served and remote; and runs."""

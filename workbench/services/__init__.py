"""Seller, buyer, facilitator, tracker: they see `core` and its ports, and nothing else."""

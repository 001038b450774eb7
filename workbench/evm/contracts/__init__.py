"""The settlement contracts on one chain, and the token checks before a transfer."""

"""The payout service: credits are earned, and paid out on a chain exactly once."""

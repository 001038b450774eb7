"""The database of the payout service: its ledger of credits and its payouts."""

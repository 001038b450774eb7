"""The credits payout service under the name that its first description gives it."""

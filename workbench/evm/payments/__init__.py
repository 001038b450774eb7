"""Payouts on the chain: the paying wallet, batches, and the guard of its signer."""

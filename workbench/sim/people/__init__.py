"""Participants of a simulated run: buyers, users, liquidity provider, arbitrageur."""

"""The rules of the money flows: standard library only; no clock, chain, randomness or I/O."""

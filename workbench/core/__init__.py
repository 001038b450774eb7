"""The rules of the two money flows: standard library only, no clock, no chain, no randomness, no I/O."""

"""The rules of the money flows. Standard library only: no clock, chain, randomness or I/O."""

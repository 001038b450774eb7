"""The simulation: virtual time, faults, participants and checkers around real services and a real
chain."""

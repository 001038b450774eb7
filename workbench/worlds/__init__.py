"""Runs under way (`session`) and runs that are played again with other faults (`again`)."""

"""Tests of the rules: no chain, no store, no clock."""

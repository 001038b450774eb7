"""Deployment of the contracts through Ape, and inspection of what is deployed."""

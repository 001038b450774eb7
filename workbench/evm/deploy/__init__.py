"""Deployment of the contracts through Ape, and the inspection of what is deployed."""

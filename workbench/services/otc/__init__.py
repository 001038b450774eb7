"""The OTC services: seller, buyer, facilitator and tracker, and their checks."""

"""The OTC services' parts: what they check before they spend."""

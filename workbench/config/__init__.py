"""Configuration: parsers of settings, the `.env` file, and the world file."""

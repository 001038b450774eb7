"""Configuration files: the reader of `.env`."""

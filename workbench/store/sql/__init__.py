"""The store port on SQLAlchemy."""

"""The store port (`core.ports.Store`) on SQLAlchemy."""

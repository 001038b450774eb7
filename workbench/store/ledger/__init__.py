"""The ledger of credits on SQLAlchemy."""

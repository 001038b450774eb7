"""The ledger's schema and its history, run by Alembic whenever a ledger is opened."""

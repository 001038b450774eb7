"""The history of the ledger's schema. Alembic runs it each time a ledger is opened."""

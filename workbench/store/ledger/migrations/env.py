"""Alembic's entry point: it runs the migrations on the connection of `LedgerStore`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()

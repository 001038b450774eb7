"""User ids are compared in Unicode form NFC. An older id in another form keeps its account.

Transfers and journal are never rewritten, so such an id does not change; its NFC form becomes an
alias of it. Two ids with the same NFC form are refused.
"""

from __future__ import annotations

import unicodedata

from alembic import op
from sqlalchemy import text

from workbench.core.errors import StoreError

revision = "0005"
down_revision = "0004"
PREFIX = "user:"


def upgrade() -> None:
    """Store the aliases of ids that are not in NFC.

    Raises StoreError if two ids have the same NFC form; then nothing is changed.
    """
    op.execute("CREATE TABLE user_alias (name TEXT PRIMARY KEY, user_id TEXT NOT NULL UNIQUE)")
    rows = op.get_bind().exec_driver_sql("SELECT id FROM account ORDER BY id").fetchall()
    ids = [row[0].removeprefix(PREFIX) for row in rows if row[0].startswith(PREFIX)]
    owner: dict[str, str] = {}
    for user_id in ids:
        name = unicodedata.normalize("NFC", user_id)
        if name in owner:
            raise StoreError(
                f"the users {owner[name]!a} and {user_id!a} have the same id in Unicode "
                "form NFC, which this version compares: their credits would be mixed.",
                hint="Pay both out with the version before, and give one of them another id.",
            )
        owner[name] = user_id
    for name, user_id in owner.items():
        if name != user_id:
            row = {"name": name, "user_id": user_id}
            op.get_bind().execute(text("INSERT INTO user_alias VALUES (:name, :user_id)"), row)

"""The tracker: items with their history, facts, duplicates; people who sign in; the outbox."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make everything that the tracker writes to."""
    sql = (Path(__file__).parent / "0005_tracker.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

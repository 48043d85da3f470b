"""The push: its calendar and lock, its extracts list, and the summaries that other servers read."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make everything that a push writes to."""
    sql = (Path(__file__).parent / "0002_push.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

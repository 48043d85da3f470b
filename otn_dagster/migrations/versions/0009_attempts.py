"""Attempts of what is started by itself, counted by occasion: one run takes many files."""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table."""
    sql = (Path(__file__).parent / "0009_attempts.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

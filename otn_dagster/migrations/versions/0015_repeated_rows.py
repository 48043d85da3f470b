"""Whose rows a file repeats."""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make the table; files that are loaded already are not looked at again."""
    sql = (Path(__file__).parent / "0015_repeated_rows.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

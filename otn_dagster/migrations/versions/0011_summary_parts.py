"""Large tables of summaries stand part by part."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table of parts."""
    sql = (Path(__file__).parent / "0011_summary_parts.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

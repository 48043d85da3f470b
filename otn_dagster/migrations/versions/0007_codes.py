"""Codes beside texts: what programs ask is a column of its own, and no sentence has to be read for it."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the columns, and fill them from what the sentences said until now."""
    sql = (Path(__file__).parent / "0007_codes.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

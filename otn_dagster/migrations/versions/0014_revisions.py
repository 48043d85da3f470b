"""Pushes are mended: admissions and revisions."""

from pathlib import Path

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make both tables."""
    sql = (Path(__file__).parent / "0014_revisions.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

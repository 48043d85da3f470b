"""Ocean streams: requests and what became of them, schema changes that people accepted, conflicts, annotations."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make everything that streams write to."""
    sql = (Path(__file__).parent / "0003_streams.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

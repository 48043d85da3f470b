"""Live datasets: the log of pushes, keys, schema versions, what is applied, alerts, fetches."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make everything that live datasets write to."""
    sql = (Path(__file__).parent / "0004_live.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

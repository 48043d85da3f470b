"""Where each receiver's detections stand."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table, and fill it from what is loaded."""
    sql = (Path(__file__).parent / "0010_receiver_tables.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

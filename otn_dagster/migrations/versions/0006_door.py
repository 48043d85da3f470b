"""What reading a file found: its readings and findings, rows of several sheets, windows that a person must settle."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make what reading writes to."""
    sql = (Path(__file__).parent / "0006_door.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

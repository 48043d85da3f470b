"""One table for all that waits for a person: what may be answered stands beside each question."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the column; whatever waits elsewhere becomes a question."""
    sql = (Path(__file__).parent / "0008_questions.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))

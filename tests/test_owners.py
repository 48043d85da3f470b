"""One module writes a table; others read it."""

import re
from collections import defaultdict

from otn_dagster.config import PROJECT_ROOT

WRITES = re.compile(
    r"\b(?:insert\s+into|update|delete\s+from)\s+((?:platform|obis|vendor|discovery|erddap|geoserver)\.[a-z_]+)", re.I
)
# Two owners, by what each of them knows: documented in docs/architecture.md.
SHARED = {
    "obis.moorings": {"telemetry/loading/vendor.py", "telemetry/overrides.py"},  # ends of tags; rows come by merging
    "obis.detection_extracts_list": {"telemetry/push/extracts_list.py", "tracker/mail/outbox.py"},
    "platform.live_submissions": {"live/detections.py", "live/replay.py"},
    "platform.tracker_pushes": {"tracker/follow/completion.py", "tracker/mail/notices.py"},
}


def test_every_table_has_one_owner():
    writers: dict[str, set[str]] = defaultdict(set)
    root = PROJECT_ROOT / "otn_dagster"
    for path in root.rglob("*.py"):
        name = str(path.relative_to(root))
        if not name.startswith(("migrations/", "demo/")):
            for table in WRITES.findall(path.read_text(encoding="utf-8")):
                writers[table.lower()].add(name)
    assert len(writers) > 40
    shared = {table: names for table, names in writers.items() if len(names) > 1}
    assert shared == SHARED


def test_neither_pages_nor_commands_nor_assets_write_tables():
    for folder in ("otn_dagster/web", "otn_dagster/cli", "assets", "sensors"):
        for path in (PROJECT_ROOT / folder).rglob("*.py"):
            assert not WRITES.search(path.read_text(encoding="utf-8")), path


def test_no_sql_stands_in_pages_commands_assets_or_sensors():
    """Settings of a connection are no questions; whatever asks a table is in the module that owns it."""
    asks = re.compile(r"(select|with)\s.*\bfrom\b", re.IGNORECASE | re.DOTALL)
    for folder in ("otn_dagster/web", "otn_dagster/cli", "otn_dagster/orchestration", "assets", "sensors"):
        for path in (PROJECT_ROOT / folder).rglob("*.py"):
            for found in re.findall(r'execute\(\s*f?"((?:[^"\\]|\\.|"\s*f?")*)"', path.read_text(encoding="utf-8")):
                assert not asks.search(found), f"{path}: {found[:60]}"


def test_no_test_module_imports_another():
    for path in (PROJECT_ROOT / "tests").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\s*from tests(?!\.support|$)[.\w]* import (?!support)", line), f"{path}: {line}"


def test_files_are_replaced_in_one_way():
    """Writing aside and renaming is said in ``files.py``; what is a folder with rules of its own is named here."""
    own = {"files.py", "embedded.py", "live/fetching.py", "telemetry/push/snapshot.py", "telemetry/push/matching.py"}
    own |= {"telemetry/push/extracts.py", "telemetry/submissions.py", "telemetry/files/exports.py", "streams/lock.py"}
    root = PROJECT_ROOT / "otn_dagster"
    for path in root.rglob("*.py"):
        name = str(path.relative_to(root))
        if name not in own and not name.startswith("demo/"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(staging|aside|partial|fresh)\.(rename|replace)\(", text), name
            assert not re.search(r"os\.fsync|file_digest", text), name

"""Submissions: one received file each, kept unchanged, with what became of its rows.

Belongs here: receiving a file, its place on disk, its state and counts. Does not belong here: what is in it.

A received file is copied to ``submissions/<node>/<collection>/<kind>/<sha256>/`` and never changes there. The same
bytes for the same folder are the same submission, however often they arrive.
"""

import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg.rows import class_row

from otn_dagster import files
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.explained import Unknown
from otn_dagster.telemetry.files.refusals import BadFile, MissingProject, Refusal, Why
from otn_dagster.telemetry.names import COLLECTION_CODE

KINDS = [
    "project",
    "vendor",
    "tags",
    "deployments",
    "detections",
    "events",
    "fix",
]  # in the order in which they should be loaded


@dataclass(frozen=True)
class Submission:
    """A row of ``platform.submissions``."""

    submission_key: str
    submission_no: int
    node: str
    collectioncode: str
    kind: str
    file_name: str
    sha256: str
    stored_path: str
    state: str
    reason: str | None
    supersedes: str | None
    superseded_by: str | None = None

    def path(self, settings: Settings) -> Path:
        """Where the received bytes are."""
        return settings.submissions / self.stored_path

    def parquet(self, settings: Settings) -> Path:
        """Where the rows of a detections or events file are kept."""
        path = self.path(settings)
        rows, before = path.with_name(f"{path.name}.rows.parquet"), path.with_suffix(".parquet")
        return before if before != path and before.exists() and not rows.exists() else rows  # as it was called before


@dataclass(frozen=True)
class Counts:
    """What became of a file's rows: raw = loaded + duplicate + refused + waiting."""

    raw: int
    loaded: int
    duplicate: int = 0
    refused: int = 0
    waiting: int = 0


def incoming_files(settings: Settings) -> list[tuple[str, str, str, Path]]:
    """(node, collection, kind, path) of every regular file in ``incoming/<node>/<collection>/<kind>/``, in loading order.

    Links are not followed and hidden files are not looked at; a folder at the wrong place is reported by ``misplaced``.
    """
    found = []
    for path in sorted(settings.incoming.glob("*/*/*/*")):
        node, collection, kind, _ = path.relative_to(settings.incoming).parts
        if path.is_symlink() or not path.is_file() or path.name.startswith((".", "~$")):
            continue
        if any(parent.is_symlink() for parent in list(path.parents)[:3]):
            continue
        found.append((node, collection, kind, path))
    return sorted(found, key=lambda item: (KINDS.index(item[2]) if item[2] in KINDS else len(KINDS), item[3]))


def misplaced(settings: Settings) -> list[str]:
    """What lies under ``incoming/`` where nothing is looked for, and what to do about it."""
    problems = []
    nodes = {node.code for node in settings.nodes}
    for path in sorted(settings.incoming.rglob("*")):
        parts = path.relative_to(settings.incoming).parts
        if path.is_dir() or path.name.startswith((".", "~$")):
            continue
        where = "/".join(parts)
        if len(parts) != 4:
            problems.append(f"{where}: expected incoming/<node>/<collection>/<kind>/<file>; move the file")
        elif parts[0] not in nodes:
            problems.append(f"{where}: node {parts[0]!r} is not in config/nodes.yaml; add it or move the file")
        elif parts[2] not in KINDS:
            problems.append(f"{where}: kind {parts[2]!r} is unknown, expected one of {', '.join(KINDS)}; move the file")
        elif not COLLECTION_CODE.match(parts[1]):
            problems.append(
                f"{where}: {parts[1]!r} is not a collection code, expected capital letters and digits; rename the folder"
            )
        elif path.is_symlink():
            problems.append(f"{where}: a link is not followed; copy the file itself")
    return problems


def receive(
    connection: Connection, settings: Settings, node: str, collectioncode: str, kind: str, path: Path
) -> tuple[Submission, bool]:
    """Keep a file and write down that it came; (submission, whether it is new).

    Safe to repeat and to race: the copy is made aside and renamed, and the row is unique on content and place.
    """
    settings.node(node)
    if kind not in KINDS or not COLLECTION_CODE.match(collectioncode):
        raise ValueError(f"no place for {node}/{collectioncode}/{kind}")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", path.name).lstrip(".")[-80:] or "file"
    name = re.sub(r"\.{2,}", ".", name)
    stored, sha256 = _keep(path, settings.submissions, Path(node, collectioncode, kind), name)
    key = f"{node}/{collectioncode}/{kind}/{name}@{sha256[:8]}"
    size = (settings.submissions / stored).stat().st_size
    inserted = register(connection, key, (node, collectioncode, kind), name, sha256, size, str(stored))
    row = connection.execute(
        "select submission_key from platform.submissions where node = %s and collectioncode = %s and kind = %s and sha256 = %s",
        [node, collectioncode, kind, sha256],
    ).fetchone()
    assert row is not None
    return get(connection, row[0]), inserted


def register(
    connection: Connection, key: str, place: tuple[str, str, str], name: str, sha256: str, size: int, stored: str
) -> bool:
    """Write a file down that came to a place (node, collection, kind); whether it is new. Safe to repeat and to race.

    It supersedes the newest file of that name in its place.
    """
    node, collectioncode, kind = place
    return bool(
        connection.execute(
            """insert into platform.submissions
                   (submission_key, node, collectioncode, kind, file_name, sha256, bytes, stored_path, supersedes)
               values (%(key)s, %(node)s, %(code)s, %(kind)s, %(name)s, %(sha)s, %(bytes)s, %(stored)s,
                   (select submission_key from platform.submissions
                    where node = %(node)s and collectioncode = %(code)s and kind = %(kind)s and file_name = %(name)s
                    order by submission_no desc limit 1))
               on conflict do nothing""",
            {
                "key": key,
                "node": node,
                "code": collectioncode,
                "kind": kind,
                "name": name,
                "sha": sha256,
                "bytes": size,
                "stored": stored,
            },
        ).rowcount
    )


def note_not_data(connection: Connection, submission_key: str, rows: int) -> None:
    """Write down how many rows of a file are not data. Safe to repeat."""
    connection.execute(
        "update platform.submissions set not_data_rows = %s where submission_key = %s", [rows, submission_key]
    )


def get(connection: Connection, submission_key: str) -> Submission:
    """The submission with this key."""
    with connection.cursor(row_factory=class_row(Submission)) as cursor:
        row = cursor.execute(
            "select submission_key, submission_no, node, collectioncode, kind, file_name, sha256, stored_path, state, reason,"
            " supersedes, superseded_by from platform.submissions where submission_key = %s",
            [submission_key],
        ).fetchone()
    if row is None:
        raise Unknown(f"no submission {submission_key!r}")
    return row


_EARLIER: LiteralString = """with recursive earlier as (
    select submission_key, supersedes, submission_no, state, loaded_at from platform.submissions where submission_key = %s
    union select s.submission_key, s.supersedes, s.submission_no, s.state, s.loaded_at
    from platform.submissions s join earlier e on s.submission_key = e.supersedes)"""


def loaded_before(connection: Connection, submission: Submission) -> str | None:
    """The newest earlier version of a file that was ever loaded: what was held or refused in between never counted."""
    row = connection.execute(
        _EARLIER + " select submission_key from earlier where loaded_at is not null and submission_key <> %s"  # noqa: S608
        " order by submission_no desc limit 1",
        [submission.supersedes, submission.submission_key],
    ).fetchone()
    return row[0] if row else None


def supersede_earlier(connection: Connection, submission: Submission, loaded_too: bool = True) -> None:
    """Let this version take the place of all earlier ones (or of those that were never loaded). Safe to repeat."""
    rows = connection.execute(
        _EARLIER + " select submission_key from earlier where state <> 'superseded' and (%s or loaded_at is null)",  # noqa: S608
        [submission.supersedes, loaded_too],
    ).fetchall()
    for (key,) in rows:
        move(connection, key, "superseded", f"superseded by {submission.submission_key}")
        connection.execute(
            "update platform.submissions set superseded_by = %s where submission_key = %s",
            [submission.submission_key, key],
        )


def by_state(connection: Connection, states: Iterable[str]) -> list[Submission]:
    """Submissions in these states, in loading order."""
    keys = connection.execute(
        "select submission_key from platform.submissions where state = any(%s) order by array_position(%s, kind), submission_no",
        [list(states), KINDS],
    ).fetchall()
    return [get(connection, key) for (key,) in keys]


def require_project(connection: Connection, submission: Submission) -> None:
    """Raise MissingProject where the collection of a submission has no project yet, BadFile where it is another node's."""
    row = connection.execute(
        "select node from obis.otn_resources where collectioncode = %s", [submission.collectioncode]
    ).fetchone()
    if row is None:
        raise MissingProject(
            f"the collection {submission.collectioncode} does not exist on this platform",
            f"Put its project metadata form into incoming/{submission.node}/{submission.collectioncode}/project/ first.",
        )
    if row[0] != submission.node:
        raise BadFile(
            f"the collection {submission.collectioncode} belongs to node {row[0]}, not {submission.node}",
            "Put the file under its own node; codes are unique across all nodes.",
        )


def note_counts(connection: Connection, submission_key: str, counts: Counts) -> None:
    """Write down what became of the rows."""
    if counts.raw != counts.loaded + counts.duplicate + counts.refused + counts.waiting:
        raise AssertionError(f"{submission_key}: rows lost between reading and loading: {counts}")
    connection.execute(
        "update platform.submissions set raw_rows = %s, loaded_rows = %s, duplicate_rows = %s, refused_rows = %s,"
        " waiting_rows = %s where submission_key = %s",
        [counts.raw, counts.loaded, counts.duplicate, counts.refused, counts.waiting, submission_key],
    )


def move(connection: Connection, submission_key: str, state: str, reason: str | None = None) -> None:
    """Set the state of a submission, with the reason where it is not the good one."""
    connection.execute(
        "update platform.submissions set state = %s, reason = %s,"
        " loaded_at = case when %s = 'loaded' then coalesce(loaded_at, platform.now()) else loaded_at end"
        " where submission_key = %s",
        [state, reason, state, submission_key],
    )


def note_submitter(connection: Connection, submission: Submission, email: str) -> None:
    """Write down who sent a file by hand. Safe to repeat."""
    connection.execute(
        "update platform.submissions set submitted_by = %s where submission_key = %s",
        [email, submission.submission_key],
    )


def submitter(connection: Connection, submission: Submission) -> str | None:
    """Who sent a file by hand; None where it came by a folder."""
    row = connection.execute(
        "select submitted_by from platform.submissions where submission_key = %s", [submission.submission_key]
    ).fetchone()
    return row[0] if row else None


def note_stop(connection: Connection, submission: Submission, stops: list[str]) -> None:
    """Refuse a submission that a blocking check stopped; nothing happens where there is none."""
    if stops:
        move(
            connection,
            submission.submission_key,
            "refused",
            f"{submission.file_name}: stopped by {'; '.join(stops)}",
        )


def keep_refusals(connection: Connection, submission_key: str, refusals: list[Refusal]) -> None:
    """Keep the refused rows of a submission with their reasons. Safe to repeat: replaces its earlier ones."""
    connection.execute("delete from platform.refused_rows where submission_key = %s", [submission_key])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.refused_rows (submission_key, row_number, column_name, found, expected, remedy, cells, why, sheet)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    submission_key,
                    r.row_number,
                    r.column,
                    r.found,
                    r.expected,
                    r.remedy,
                    json.dumps(r.cells, default=str),
                    r.why,
                    r.sheet,
                )
                for r in refusals
            ],
        )


def _keep(source: Path, root: Path, place: Path, name: str) -> tuple[Path, str]:
    """Copy first and hash the copy: whatever happens to the source meanwhile, what is kept is what was hashed."""
    (root / place).mkdir(parents=True, exist_ok=True)
    staging = root / place / f".{name}.{os.getpid()}"
    shutil.copyfile(source, staging)
    sha256 = files.sha256_of(staging)
    stored = place / sha256[:16] / name
    (root / stored).parent.mkdir(exist_ok=True)
    staging.rename(root / stored)
    return stored, sha256


def counts(connection: Connection, submission_key: str) -> tuple[dict[str, int | None], dt.datetime | None]:
    """(rows of a submission by what became of them: raw, loaded, duplicate, refused, waiting; when it was loaded)."""
    row = connection.execute(
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows, waiting_rows, loaded_at from platform.submissions"
        " where submission_key = %s",
        [submission_key],
    ).fetchone()
    assert row is not None
    return dict(zip(("raw", "loaded", "duplicate", "refused", "waiting"), row[:5], strict=True)), row[5]


def receipt(connection: Connection, submission_key: str) -> tuple[int, dt.datetime]:
    """(bytes, when it was received)."""
    row = connection.execute(
        "select bytes, received_at from platform.submissions where submission_key = %s", [submission_key]
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def refusals_of(connection: Connection, submission_key: str) -> list[Refusal]:
    """The rows that were refused, as ``keep_refusals`` kept them."""
    rows = connection.execute(
        "select row_number, column_name, found, expected, remedy, cells, why, sheet from platform.refused_rows"
        " where submission_key = %s order by sheet, row_number",
        [submission_key],
    ).fetchall()
    return [
        Refusal(number, column, found, expected, remedy, cells or {}, Why(why), sheet)
        for number, column, found, expected, remedy, cells, why, sheet in rows
    ]


def refused_rows(connection: Connection, submission_key: str, most: int | None = None) -> list[tuple[Any, ...]]:
    """(row, column, found, expected, remedy) of the rows that were refused."""
    return connection.execute(
        "select row_number, column_name, found, expected, remedy from platform.refused_rows where submission_key = %s"
        " order by row_number limit %s",
        [submission_key, most],
    ).fetchall()

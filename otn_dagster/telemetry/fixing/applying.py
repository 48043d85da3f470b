"""Fixes written to the upper tables, and taken back.

Belongs here: which fixes stand (``platform.fixes``), and the rows that they changed as they were before and after (``platform.fixed_rows``).
Does not belong here: what a fix changes (``corrections.py``), what follows for detections (``consequences.py``).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.database import Connection
from otn_dagster.explained import Unusable
from otn_dagster.telemetry.files.fixes import What
from otn_dagster.telemetry.fixing.corrections import NUMBERS, Correction, Row
from otn_dagster.telemetry.loading import merging
from otn_dagster.telemetry.project_tables import table

TO_COME = "(being fixed) "  # a name for the moment between two: rows may take each other's


def in_force(connection: Connection, collectioncode: str) -> list[Correction]:
    """The fixes of a project that stand, in the order in which they were applied."""
    rows = connection.execute(
        "select what, subject, given from platform.fixes where collectioncode = %s and undone_at is null order by fix_no",
        [collectioncode],
    ).fetchall()
    return [Correction(What(what), subject, given) for what, subject, given in rows]


def rows_of(connection: Connection, collectioncode: str) -> dict[str, list[Row]]:
    """All rows of a project's upper tables, by table; tables that it has not are empty."""
    found: dict[str, list[Row]] = {}
    for name in NUMBERS:
        place = table(collectioncode, name)
        there = connection.execute("select to_regclass(%s)", [place.as_string(connection)]).fetchone()
        with connection.cursor(row_factory=dict_row) as cursor:
            query = sql.SQL("select * from {} order by {}").format(place, sql.Identifier(NUMBERS[name]))
            found[name] = cursor.execute(query).fetchall() if there and there[0] else []
    return found


def apply(
    connection: Connection,
    submission_key: str,
    collectioncode: str,
    corrections: Sequence[Correction],
    changes: Mapping[tuple[str, Any], tuple[Row, Row | None]],
) -> None:
    """Write fixes, and the rows that they change: (table, number) → (as it is, as it will be; None: no more).

    Safe to repeat: in the transaction of its step, which finds a list that was applied already by its state.
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.fixes (submission_key, line, collectioncode, what, subject, given) values (%s, %s, %s, %s, %s, %s)",
            [
                (submission_key, line, collectioncode, one.what, one.subject, json.dumps(one.given))
                for line, one in enumerate(corrections, 1)
            ],
        )
    images = []
    for (name, number), (row, after) in changes.items():
        place, where, key = _place(collectioncode, name, number)
        images.append(_image(connection, place, where, key))
        if after is None:
            connection.execute(sql.SQL("delete from {} {}").format(place, where), key)
        elif "catalognumber" in row and after["catalognumber"] != row["catalognumber"]:
            connection.execute(
                sql.SQL("update {} set catalognumber = %(name)s {}").format(place, where),
                key | {"name": f"{TO_COME}{number}"},
            )
    for line, (((name, number), (row, after)), before) in enumerate(zip(changes.items(), images, strict=True), 1):
        _change(connection, submission_key, line, _place(collectioncode, name, number), name, row, after, before)


Place = tuple[sql.Identifier, sql.Composed, dict[str, Any]]


def _place(collectioncode: str, name: str, number: Any) -> Place:
    """Where a row is: table, condition, and the condition's parameters."""
    where = sql.SQL("where {}::text = %(number)s").format(sql.Identifier(NUMBERS[name]))
    return table(collectioncode, name), where, {"number": str(number)}


def _change(
    connection: Connection,
    submission_key: str,
    line: int,
    at: Place,
    name: str,
    row: Row,
    after: Row | None,
    before: Any,
) -> None:
    place, where, key = at
    if after is None:
        cells, image = [(merging.WHOLE_ROW, "present", None)], None
    else:
        new = {column: value for column, value in after.items() if value != row[column]}
        sets = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)) for column in new
        )
        connection.execute(
            sql.SQL("update {} set {}, datelastmodified = platform.now() {}").format(place, sets, where), key | new
        )
        cells = [(column, _shown(row[column]), _shown(value)) for column, value in new.items()]
        image = json.dumps(_image(connection, place, where, key))
    connection.execute(
        "insert into platform.fixed_rows values (%s, %s, %s, %s, %s, %s)",
        [submission_key, line, name, key["number"], json.dumps(before), image],
    )
    called = str(row.get("catalognumber", key["number"]))
    merging.note(connection, place, submission_key, [(called, column, old, new) for column, old, new in cells])


def _image(connection: Connection, place: sql.Identifier, where: sql.Composable, key: dict[str, Any]) -> Any:
    """A row as JSON, as the database writes it: it gives back the same row."""
    row = connection.execute(sql.SQL("select to_jsonb(t) from {} t {}").format(place, where), key).fetchone()
    return row[0] if row else None


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)


def undo(connection: Connection, submission_key: str, who: str, why: str) -> None:
    """Put back every row that a list of fixes changed, as it was, to the bit. Safe to repeat: what is undone stays so.

    Raises Unusable where a row was changed since: what came later must be undone first, or a new fix be made.
    """
    (code, state), *_ = connection.execute(
        "select collectioncode, state from platform.submissions where submission_key = %s for update", [submission_key]
    ).fetchall()
    if state == "undone":
        return
    rows = connection.execute(
        "select table_name, row_key, before, after from platform.fixed_rows where submission_key = %s order by change_no desc",
        [submission_key],
    ).fetchall()
    for name, number, before, after in rows:
        place, where, key = _place(code, name, number)
        if _image(connection, place, where, key) != after:
            called, since = before.get("catalognumber", number), _changed_by(connection, submission_key, before, after)
            raise Unusable(
                f"{submission_key} cannot be undone: {code}'s {called} was changed again since, by {since}; undo that first, or send a"
                " fix that says what is right now"
            )
        connection.execute(sql.SQL("delete from {} {}").format(place, where), key)
    for name, _, before, _ in rows:
        _put_back(connection, submission_key, code, name, before)
    connection.execute(
        "update platform.fixes set undone_at = platform.now(), undone_by = %s, undone_why = %s where submission_key = %s",
        [who, why, submission_key],
    )


def _put_back(connection: Connection, submission_key: str, code: str, name: str, before: dict[str, Any]) -> None:
    """A row as it was. Raises Unusable where another has its name now."""
    place = table(code, name)
    if called := before.get("catalognumber"):
        basis = {"basisofrecord": before["basisofrecord"]} if name == "moorings" else {}
        taken = connection.execute(
            sql.SQL("select 1 from {} where {}").format(
                place,
                sql.SQL(" and ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(c), sql.Placeholder(c)) for c in ("catalognumber", *basis)
                ),
            ),
            {"catalognumber": called, **basis},
        ).fetchone()
        if taken:
            since = _changed_by(connection, submission_key, before, None)
            raise Unusable(
                f"{submission_key} cannot be undone: {called} is another's name now, by {since}; undo that first"
            )
    columns = connection.execute(
        "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attgenerated = ''"
        " order by attnum",
        [place.as_string(connection)],
    ).fetchall()
    listed = sql.SQL(", ").join(sql.Identifier(column) for (column,) in columns)
    connection.execute(
        sql.SQL(
            "insert into {place} ({columns}) select {columns} from jsonb_populate_record(null::{place}, %s)"
        ).format(place=place, columns=listed),
        [json.dumps(before)],
    )


def _changed_by(
    connection: Connection, submission_key: str, before: dict[str, Any], after: dict[str, Any] | None
) -> str:
    names = [row["catalognumber"] for row in (before, after or {}) if "catalognumber" in row]
    row = connection.execute(
        "select submission_key from platform.row_changes where (new_value = any(%s) or"
        " regexp_replace(row_key, '^(RECEIVER|STATION|TRANSMITTER|DOWNLOAD) ', '') = any(%s)) and submission_key <> %s"
        " order by changed_at desc limit 1",
        [names, names, submission_key],
    ).fetchone()
    return row[0] if row else "somebody"

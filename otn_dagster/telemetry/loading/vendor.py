"""A manufacturer's specification sheet into ``vendor.c_vemco_tags``: what it says cures blank tag lives and gives sensors their units.

Belongs here: writing what ``files/vendor.py`` read. Does not belong here: applying slope and intercept (the push).
"""

from psycopg import sql

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, readings, submissions
from otn_dagster.telemetry.files import sheets, tables, vendor
from otn_dagster.telemetry.files.reading import guarded
from otn_dagster.telemetry.files.tags import Window
from otn_dagster.telemetry.files.typed import Typed
from otn_dagster.telemetry.loading import staging
from otn_dagster.telemetry.readings import Reading
from otn_dagster.telemetry.submissions import Submission

COLUMNS = ["serial_no", "vue_id", "tag_fam", "est_tag_life", "sensor_type", "sensor_unit", "slope", "intercept"]


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> Typed:
    """Read, type and judge the sheet once; its rows are kept with the reading. Safe to repeat: replaces this submission's."""
    submissions.require_project(connection, submission)
    situation = readings.situation_of(connection, submission, None)
    with guarded(submission.path(settings)):
        found = sheets.find(submission.path(settings), submission.kind)
        typed = vendor.type_specifications(found.tables, situation)
    kept = {**tables.as_json(found), "specifications": [[row[column] for column in COLUMNS] for row in typed.rows]}
    name, judged = sheets.format_of(submission.kind, found), readings.as_json(situation)
    reading = Reading(name, kept, judged, found.container_rows, found.not_data, typed.columns)
    readings.keep(connection, submission, reading)
    staging.keep_outcome(connection, submission, "raw", typed, [*found.findings, *typed.findings])
    return typed


def load(connection: Connection, settings: Settings, submission: Submission) -> tuple[int, int]:
    """(specifications written, tags whose end is known now). Safe to repeat: by transmitter and serial, the newest sheet stands."""
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    reading = readings.of(connection, submission.submission_key)
    if reading is None:
        raise LookupError(f"{submission.submission_key} was not read: run raw_vendor")
    rows = reading.kept["specifications"]
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL(
                "insert into vendor.c_vemco_tags ({}) values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (vue_id, serial_no) do update set"
                " tag_fam = excluded.tag_fam, est_tag_life = excluded.est_tag_life, sensor_type = excluded.sensor_type,"
                " sensor_unit = excluded.sensor_unit, slope = excluded.slope, intercept = excluded.intercept"
            ).format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS))),
            [
                [
                    round(cell) if name == "est_tag_life" and cell else cell
                    for name, cell in zip(COLUMNS, row, strict=True)
                ]
                for row in rows
            ],
        )
    cured = connection.execute(
        """update obis.moorings m set enddatetime = m.startdatetime + v.est_tag_life * interval '1 day', window_code = null,
               datelastmodified = platform.now()
           from (select vue_id, min(est_tag_life) as est_tag_life from vendor.c_vemco_tags where vue_id = any(%s) group by 1) v
           where m.relationshiptype = 'ANIMAL' and m.fieldnumber = v.vue_id and v.est_tag_life > 0 and m.window_code = any(%s)""",
        [[row[1] for row in rows], [Window.LIFE_MISSING.value, Window.LIFE_UNREADABLE.value]],
    ).rowcount
    staging.finish(connection, submission)
    return len(rows), cured

"""Which file, fix or person made two pushes differ.

Belongs here: from the reasons of ``two_dates.py`` to submissions and decisions. Does not belong here: comparing the pushes.

Everything that changes a push is a submission that one has and the other has not, or a decision of a person: among those, the ones that
speak of the rows that differ.
"""

import re
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.telemetry.project_tables import table
from otn_dagster.telemetry.push.two_dates import Answer, Side, Why

# What stands before a name of moorings where changes are kept.
_BASIS = re.compile(r"^(RECEIVER|STATION|TRANSMITTER|DOWNLOAD) ")


@dataclass(frozen=True)
class Because:
    """One cause: the submission (or who decided), what it is, how many of the differing detections it explains, and why."""

    why: str
    detections: int
    subject: str
    kind: str
    says: str


def causes(connection: Connection, answer: Answer) -> list[Because]:
    """What made the answer's rows differ, most detections first; detections of which no cause is known stand as such at the end."""
    rows = answer.differing
    new, gone = _submissions(answer)
    found: list[Because] = []
    for why in Why:
        mine = rows.filter(pl.col("why").list.contains(str(why)))
        if not mine.is_empty():
            found += _CAUSES[why](connection, answer, mine, new, gone) or [
                Because(why, mine.height, "", "", f"{SAYS[why]}; which file says so is not known any more")
            ]
    return sorted(found, key=lambda one: (not one.subject, -one.detections, one.subject))


SAYS = {
    Why.CAME: "its file came since",
    Why.GONE: "its file is not in the later push, or no longer has it",
    Why.DEPLOYMENT: "the deployment that heard it is another, or says something else",
    Why.CLOCK: "the receiver's clock was corrected otherwise",
    Why.TAG: "the tag, or its animal, is another, or says something else",
    Why.STATION_TAG: "its code was declared a transceiver's or a test tag, or is none any more",
    Why.DECIDED: "somebody decided about it",
}


def _submissions(answer: Answer) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Submissions that only the later push has, and those that only the earlier one has."""
    was, now = (side.snapshot.pushed() for side in (answer.before, answer.after))
    return now.join(was, on="submission_no", how="anti"), was.join(now, on="submission_no", how="anti")


def _counted(rows: pl.DataFrame, column: str, of: pl.DataFrame, why: Why) -> list[Because]:
    """Rows by the submission that they came with. Only what differs between the pushes counts as a cause."""
    counted = rows.group_by(submission_no=pl.col(column)).len("detections").join(of, on="submission_no")
    return [
        Because(why, detections, key, kind, SAYS[why])
        for detections, key, kind in counted.select("detections", "submission_key", "kind").iter_rows()
    ]


def _came(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    return _counted(rows, "submission_no_after", new, Why.CAME)


def _gone(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    """The file that took the place of theirs; or theirs, where it is only not in the later push any more."""
    found = []
    for one in _counted(rows, "submission_no_before", answer.before.snapshot.pushed(), Why.GONE):
        row = connection.execute(
            "select superseded_by, state from platform.submissions where submission_key = %s", [one.subject]
        ).fetchone()
        later, state = row or (None, "gone")
        says = f"{SAYS[Why.GONE]}: {one.subject} " + (f"was superseded by {later}" if later else f"is {state}")
        found.append(Because(one.why, one.detections, later or one.subject, one.kind, says))
    return found


def _deployment(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    return _of_metadata(
        connection, answer, _Metadata(Why.DEPLOYMENT, "deployments", ["rcvrcatnumber"]), rows, new, gone
    )


def _station_tag(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    return _of_metadata(connection, answer, _Metadata(Why.STATION_TAG, "deployments", ["transmitter"]), rows, new, gone)


def _tag(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    """Sheets and fixes that speak of the animals, or of the codes: a second animal with a code changes the detections of the first."""
    named = rows.with_columns(
        pl.format("{}-{}", f"animal_{side}", "transmitter").alias(f"tag_name_{side}") for side in ("before", "after")
    )
    return _of_metadata(
        connection, answer, _Metadata(Why.TAG, "tags", ["animal", "transmitter", "tag_name"]), named, new, gone
    )


@dataclass(frozen=True)
class _Metadata:
    """A reason that sheets explain: of which kind, and in which columns of an answer the names stand that they speak of."""

    why: Why
    kind: str
    named: list[str]

    @property
    def kinds(self) -> list[str]:
        """Kinds of file that may be the cause."""
        return [self.kind, "fix", *(["vendor"] if self.why is Why.TAG else [])]


def _of_metadata(
    connection: Connection, answer: Answer, of: _Metadata, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    """Sheets, vendors' lists and fixes that one push has and the other has not, and that changed what differs; without any, those that
    name it.
    """
    candidates = pl.concat([new, gone]).filter(pl.col("kind").is_in(of.kinds))
    found: list[Because] = []
    for only_changed in (True, False):
        for code, key, kind in candidates.select("collectioncode", "submission_key", "kind").iter_rows():
            names = sorted(_names_in(connection, answer, code, key, kind, only_changed))
            columns = [column for name in of.named for column in _sides(rows, name)]
            detections = rows.filter(pl.any_horizontal(pl.col(c).is_in(names) for c in columns).fill_null(False)).height
            if names and detections:
                subject = _standing(connection, key)
                found.append(Because(of.why, detections, subject, kind, f"{SAYS[of.why]}: {_file_of(subject)}"))
        if found:
            break
    return list({one.subject: one for one in found}.values())


def _standing(connection: Connection, key: str) -> str:
    """A submission, or the one that took its place: what a corrected file no longer says is its correction's doing."""
    row = connection.execute(
        "select coalesce(superseded_by, submission_key) from platform.submissions where submission_key = %s", [key]
    ).fetchone()
    return row[0] if row else key


def _sides(rows: pl.DataFrame, name: str) -> list[str]:
    return [column for column in (f"{name}_before", f"{name}_after", name) if column in rows.columns]


def _names_in(connection: Connection, answer: Answer, code: str, key: str, kind: str, only_changed: bool) -> set[str]:
    """Names of which a submission speaks: those that it changed, brought or took away, or all."""
    changed = connection.execute(
        "select distinct row_key from platform.row_changes where submission_key = %s", [key]
    ).fetchall()
    names = {_BASIS.sub("", name) for (name,) in changed}
    if kind == "fix":
        images = connection.execute(
            "select before, after from platform.fixed_rows where submission_key = %s", [key]
        ).fetchall()
        for image in (image for pair in images for image in pair if image):
            names |= {image[n] for n in ("catalognumber", "relatedcatalogitem", "fieldnumber") if image.get(n)}
        return names
    if kind == "vendor":
        reading = connection.execute("select kept from platform.readings where submission_key = %s", [key]).fetchone()
        return names | ({row[1] for row in reading[0]["specifications"]} if reading else set())
    place = {"tags": "tag_cache", "deployments": "rcvr_locations"}[kind]
    query = sql.SQL("select distinct catalognumber, transmitter from {} where submission_key = %s").format(
        table(code, place)
    )
    pairs = connection.execute(query, [key]).fetchall()
    if only_changed:
        return names.union(*(_unknown(pairs, side, code, kind) for side in (answer.before, answer.after)))
    return names | {name for pair in pairs for name in pair if name}


def _unknown(pairs: list[tuple[str, str | None]], side: Side, code: str, kind: str) -> set[str]:
    """Names of a sheet that a push of its project has not: (animal, transmitter) together, deployments and their transmitters alone."""
    if kind == "tags":
        tags = side.snapshot.table("tags").filter(pl.col("trackercode") == code)
        animals = side.snapshot.table("animals").filter(pl.col("collectioncode") == code)["catalognumber"]
        known = {*tags.select("catalognumber", "transmitter").iter_rows(), *((name, None) for name in animals)}
        return {name for pair in pairs if pair not in known for name in pair if name}
    mine = pl.col("collectioncode") == code
    there = set(side.snapshot.table("deployments").filter(mine)["rcvrcatnumber"])
    there |= set(side.snapshot.table("station_tags").filter(mine)["transmitter"])
    return {name for pair in pairs for name in pair if name and name not in there}


def _clock(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    """Events that one push has and the other has not, of the receivers whose times differ."""
    events = pl.concat([new, gone]).filter(pl.col("kind") == "events")["submission_key"].to_list()
    receivers = rows["receiver_key_after"].unique().to_list()
    query = "select distinct submission_key, receiver_key from platform.events where submission_key = any(%s) and receiver_key = any(%s)"
    by_file: dict[str, list[int]] = {}
    for key, receiver in connection.execute(query, [events, receivers]):
        by_file.setdefault(key, []).append(receiver)
    return [
        Because(
            Why.CLOCK,
            rows.filter(pl.col("receiver_key_after").is_in(some)).height,
            key,
            "events",
            f"{SAYS[Why.CLOCK]}: {_file_of(key)}",
        )
        for key, some in sorted(by_file.items())
    ]


def _decided(
    connection: Connection, answer: Answer, rows: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame
) -> list[Because]:
    """Decisions that only the later push has; those that only the earlier one has, where it was the later that forgot them."""
    now, was = (side.snapshot.table("overrides") for side in (answer.after, answer.before))
    same = ["action", "subject", "decided_by", "decided_why"]
    differ = pl.concat([now.join(was, on=same, how="anti"), was.join(now, on=["action", "subject"], how="anti")])
    found = []
    for action, subject, who, why in differ.select(same).iter_rows():
        detections = rows.filter(_about(action, subject).fill_null(False)).height
        if detections:
            found.append(
                Because(Why.DECIDED, detections, subject, action, f"{who} {_DECIDED.get(action, action)}: {why}")
            )
    return found


_DECIDED = {
    "unmatch": "took it from its animal",
    "test_tag": "declared a test tag",
    "tag_end": "set the end of the tag",
}


def _about(action: str, subject: str) -> pl.Expr:
    """Rows of an answer that a decision is about."""
    if action == "unmatch":
        return pl.col("det_key") == int(subject.rsplit("-", 1)[-1])
    if action == "test_tag":
        return pl.col("transmitter") == subject
    sides = (pl.format("{}-{}", f"animal_{side}", "transmitter") == subject for side in ("before", "after"))
    return pl.any_horizontal(sides)


def _file_of(submission_key: str) -> str:
    return submission_key.rsplit("/", 1)[-1].rsplit("@", 1)[0]


_CAUSES = {
    Why.CAME: _came,
    Why.GONE: _gone,
    Why.DEPLOYMENT: _deployment,
    Why.CLOCK: _clock,
    Why.TAG: _tag,
    Why.STATION_TAG: _station_tag,
    Why.DECIDED: _decided,
}

"""The same question at two push dates: what one push says of an extract, an animal or a detection, what another says, and why they differ.

Belongs here: comparing two pushes row by row, and which part of what they are made from differs. Does not belong here: which file or person
made it so (``because.py``), pages and commands.

A detection is what two matches know by one ``det_key``. What is compared is what stands in an extract.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl

from otn_dagster.config import Settings
from otn_dagster.explained import Unknown, Unusable
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push import matching, splitting
from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import Snapshot, push_folder
from otn_dagster.telemetry.push.snapshot import read as read_snapshot


class Change(StrEnum):
    """What became of a detection between two pushes, for who asks."""

    ADDED = "added"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"
    SAME = "same"


class Why(StrEnum):
    """What differs in what the two pushes are made from. A detection may have several reasons."""

    CAME = "came"  # its file came since
    GONE = "gone"  # its file is no longer in the push, or no longer has it
    DEPLOYMENT = "deployment"  # it is another deployment's, or the deployment says something else
    CLOCK = "clock"  # another time, by the receiver's clock
    TAG = "tag"  # it is another tag's, or tag or animal say something else
    STATION_TAG = "station_tag"  # its code is a transceiver's or a test tag by one push, and not by the other
    DECIDED = "decided"  # somebody unmatched it, or declared a test tag


@dataclass(frozen=True)
class Subject:
    """What is asked about: exactly one. extract: ``HFX,2024,t``; animal: its catalognumber; detection: its unqDetecID."""

    extract: str | None = None
    animal: str | None = None
    detection: str | None = None

    def __post_init__(self) -> None:
        """Raises Unusable for none, several, or what is no name of an extract or a detection."""
        given = [text for text in (self.extract, self.animal, self.detection) if text]
        if len(given) != 1:
            raise Unusable("ask about one thing: an extract, an animal, or a detection")
        if self.extract and not re.fullmatch(r"[A-Z][A-Z0-9]{1,15},\d{4},[tqus]", self.extract):
            raise Unusable(f"{self.extract[:60]!r} is no extract; write it like HFX,2024,t (types: t, q, u, s)")
        if self.detection and not re.search(r"-\d{1,18}$", self.detection):
            raise Unusable(f"{self.detection[:60]!r} is no detection; give unqDetecID as it stands in the extract")

    @property
    def project(self) -> str:
        """The project that its name begins with: whose it is, or where a detection was heard."""
        return re.split(r"[,-]", self.extract or self.animal or self.detection or "")[0]


@dataclass(frozen=True)
class Side:
    """One of the two pushes."""

    push_date: str
    snapshot: Snapshot
    matches: Matches

    @classmethod
    def of(cls, settings: Settings, push_date: str) -> "Side":
        """A push with its snapshot and matches. Raises Unknown where it was not matched."""
        folder = push_folder(settings, push_date)
        if not (folder / "matches" / "manifest.json").exists():
            raise Unknown(f"there is no push of {push_date} that was matched")
        return cls(push_date, read_snapshot(settings, push_date), matching.read(folder))


@dataclass(frozen=True)
class Answer:
    """rows: a detection each, what differs first, with ``COLUMNS`` and what it is made from. before, after: the pushes."""

    subject: Subject
    before: Side
    after: Side
    rows: pl.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """Detections by what became of them."""
        return dict(self.rows.group_by("change").len().sort("change").iter_rows())

    @property
    def projects(self) -> list[str]:
        """Projects in whose extracts the subject may stand: its own; of a detection the array's and the tracker's, on either side."""
        if not self.subject.detection:
            return [self.subject.project]
        animals = self.rows.select(pl.col("^animal_(before|after)$").str.extract(r"^([A-Z0-9]+)-"))
        arrays = self.rows.select("^collectioncode_(before|after)$")
        return sorted({code for frame in (animals, arrays) for column in frame for code in column.drop_nulls()})

    @property
    def frame(self) -> pl.DataFrame:
        """A detection a row, in ``COLUMNS``: what each push says, what became of it, and why as codes."""
        return self.rows.select(COLUMNS)

    @property
    def differing(self) -> pl.DataFrame:
        """Those that are not the same."""
        return self.rows.filter(pl.col("change") != Change.SAME)


SAID = ["animal", "reason", "time", "rcvrcatnumber", "station", "latitude", "longitude", "collectioncode"]
COLUMNS = [
    "det_key",
    "change",
    "why",
    "transmitter",
    *(f"{name}_{side}" for name in SAID for side in ("before", "after")),
]
_KEPT = [
    "det_key",
    "submission_no",
    "receiver_key",
    "transmitter_key",
    "time_ms",
    "deployment_key",
    "project_key",
    "outcome",
    "tag_key",
]


def compare(settings: Settings, earlier: str, later: str, subject: Subject, project: str | None = None) -> Answer:
    """What the pushes of two dates say of a subject, the earlier one first whatever the order in which they are given.

    project: of a detection only what stands in extracts of this project. Raises Unknown where neither push says anything of it, or a push
    is not there.
    """
    earlier, later = sorted((earlier, later))
    sides = [Side.of(settings, date) for date in (earlier, later)]
    asked = [_asked(side, subject, project) for side in sides]
    keys = pl.concat([frame.select("det_key") for frame in asked]).unique()
    if keys.is_empty():
        what = subject.extract or subject.animal or subject.detection
        raise Unknown(f"neither the push of {earlier} nor that of {later} says anything of {what}")
    said = [_in_words(side, _of_keys(side, keys)) for side in sides]
    there = [frame.select("det_key", pl.lit(True).alias("asked")) for frame in asked]
    was, now = (one.join(mine, on="det_key", how="left") for one, mine in zip(said, there, strict=True))
    both = was.join(now, on="det_key", how="full", suffix="_after", coalesce=True, maintain_order="left_right")
    both = both.rename({name: f"{name}_before" for name in was.columns if name != "det_key"})
    ordered = both.with_columns(change=_change(), why=_why(*sides)).with_columns(
        transmitter=pl.coalesce("transmitter_after", "transmitter_before")
    )
    heard_by = {*ordered["collectioncode_before"].drop_nulls(), *ordered["collectioncode_after"].drop_nulls()}
    if subject.detection and heard_by and subject.project not in heard_by:
        raise Unknown(f"neither the push of {earlier} nor that of {later} says anything of {subject.detection}")
    first = pl.col("change") == Change.SAME
    rows = ordered.sort(first, "change", pl.coalesce("time_after", "time_before"), "det_key")
    return Answer(subject, sides[0], sides[1], rows)


def _asked(side: Side, subject: Subject, project: str | None) -> pl.DataFrame:
    """Rows of a push's matches that are part of the subject."""
    rows = pl.scan_parquet(side.matches.buckets)
    if subject.detection:
        wanted = pl.col("det_key") == int(subject.detection.rsplit("-", 1)[-1])
        if project is not None:
            key = side.snapshot.table("projects").filter(pl.col("collectioncode") == project)["project_key"].implode()
            to_array = pl.col("outcome").is_in([o for letter in "qus" for o in splitting.OUTCOMES_OF[letter]])
            to_tracker = pl.col("outcome").is_in(splitting.OUTCOMES_OF["t"])
            wanted &= (pl.col("project_key").is_in(key) & to_array) | (pl.col("tracker_key").is_in(key) & to_tracker)
    elif subject.animal:
        tags = side.snapshot.table("tags").filter(pl.col("catalognumber") == subject.animal)
        wanted = pl.col("tag_key").is_in(tags["tag_key"].implode())
    else:
        assert subject.extract
        code, year, letter = subject.extract.split(",")
        keys = side.snapshot.table("projects").filter(pl.col("collectioncode") == code)["project_key"]
        end = "tracker_key" if letter == "t" else "project_key"
        in_year = pl.from_epoch("time_ms", time_unit="ms").dt.year() == int(year)
        wanted = pl.col(end).is_in(keys.implode()) & in_year & pl.col("outcome").is_in(splitting.OUTCOMES_OF[letter])
    return rows.filter(wanted).select(_KEPT).collect(engine="streaming")


def _of_keys(side: Side, keys: pl.DataFrame) -> pl.DataFrame:
    return (
        pl.scan_parquet(side.matches.buckets)
        .select(_KEPT)
        .join(keys.lazy(), on="det_key", how="semi")
        .collect(engine="streaming")
    )


def _in_words(side: Side, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of matches with what an extract says of them, and what it is made from as one value for comparing."""
    places = side.snapshot.table("deployments").select(
        "deployment_key",
        "rcvrcatnumber",
        "station",
        "latitude",
        "longitude",
        "bottom_depth",
        "receiver_depth",
        "rcv_serial_no",
    )
    place = pl.struct(pl.exclude("deployment_key"))
    tags = side.snapshot.table("tags").select(
        "tag_key",
        animal="catalognumber",
        tag=pl.struct(
            "catalognumber", "scientificname", "commonname", "window_code", "release_ms", "end_ms", "transmitter"
        ),
    )
    codes = side.snapshot.table("projects").select("project_key", "collectioncode")
    found = rows.join(places.with_columns(place=place), on="deployment_key", how="left").join(
        tags, on="tag_key", how="left"
    )
    found = found.join(codes, on="project_key", how="left").join(
        side.snapshot.table("transmitters"), on="transmitter_key", how="left"
    )
    return found.with_columns(
        reason=pl.col("outcome").replace_strict(rules.REASONS, return_dtype=pl.String),
        time=pl.from_epoch("time_ms", time_unit="ms"),
    )


def _change() -> pl.Expr:
    same = [pl.col(f"{name}_before").eq_missing(pl.col(f"{name}_after")) for name in (*SAID, "place", "tag")]
    return (
        pl.when(pl.col("asked_before").is_null())
        .then(pl.lit(Change.ADDED))
        .when(pl.col("asked_after").is_null())
        .then(pl.lit(Change.WITHDRAWN))
        .when(pl.all_horizontal(same))
        .then(pl.lit(Change.SAME))
        .otherwise(pl.lit(Change.CHANGED))
    )


def _why(before: Side, after: Side) -> pl.Expr:
    """Reasons of a row, by what differs in what it is made from."""

    def differ(*names: str) -> pl.Expr:
        return pl.any_horizontal(pl.col(f"{name}_before").ne_missing(pl.col(f"{name}_after")) for name in names)

    came, gone = pl.col("outcome_before").is_null(), pl.col("outcome_after").is_null()
    stays = ~came & ~gone
    ended = _differ_in_ends(before, after)
    by_hand = pl.col("det_key").is_in(sorted(_unmatched(before) ^ _unmatched(after)))
    tested = pl.col("transmitter_after").is_in(sorted(_tests(before) ^ _tests(after)))
    set_by_hand = pl.any_horizontal(
        pl.format("{}-{}", f"animal_{side}", f"transmitter_{side}").is_in(ended) for side in ("before", "after")
    ).fill_null(False)
    heard = (pl.col("outcome_before") != rules.NO_RECEIVER) & (pl.col("outcome_after") != rules.NO_RECEIVER)
    another = differ("tag", "tag_key") | (differ("outcome") & ~differ("deployment_key"))
    station = (pl.col("outcome_before") == rules.SENTINEL) != (pl.col("outcome_after") == rules.SENTINEL)
    owners = another & ~station & ~by_hand & ~tested & ~(set_by_hand & differ("tag", "outcome"))
    reasons = [
        (came, Why.CAME),
        (gone, Why.GONE),
        (stays & differ("place", "deployment_key"), Why.DEPLOYMENT),
        (stays & differ("time_ms"), Why.CLOCK),
        (stays & heard & owners, Why.TAG),
        (stays & heard & station, Why.STATION_TAG),
        (stays & (by_hand | (tested & differ("outcome")) | (set_by_hand & differ("tag", "outcome"))), Why.DECIDED),
    ]
    return pl.concat_list(pl.when(found).then(pl.lit(str(why))) for found, why in reasons).list.drop_nulls()


def _unmatched(side: Side) -> set[int]:
    return set(matching.unmatched_keys(side.snapshot.table("overrides")))


def _differ_in_ends(before: Side, after: Side) -> list[str]:
    """Catalognumbers of transmitters whose end a person set on one side, and not so on the other."""
    was, now = (dict(_ends(side)) for side in (before, after))
    return sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))


def _ends(side: Side) -> list[tuple[str, str]]:
    """Ends that people set, with their reasons: (catalognumber, reason)."""
    overrides = side.snapshot.table("overrides").filter(pl.col("action") == "tag_end")
    return list(overrides.select("subject", pl.format("{} {}", "decided_by", "decided_why")).iter_rows())


def _tests(side: Side) -> set[str]:
    overrides = side.snapshot.table("overrides")
    return set(overrides.filter(pl.col("action") == "test_tag")["subject"])


def write(frame: pl.DataFrame, path: Path) -> None:
    """A frame of an answer as ``.csv`` (reasons joined by blanks) or ``.parquet``. Raises Unusable for another ending."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.with_columns(pl.col("why").list.join(" ")).write_csv(path)
    else:
        raise Unusable(f"{path.name}: the file's name ends with .csv or .parquet")


def for_people_of(answer: Answer, project: str) -> pl.DataFrame:
    """The frame as people of a project may read it: of each push what that push gave them, other projects' animals unnamed."""
    hidden = [
        pl.when(pl.col(f"asked_{side}").is_null())
        .then(None)
        .otherwise(pl.col(f"{name}_{side}"))
        .alias(f"{name}_{side}")
        for side in ("before", "after")
        for name in SAID
        if name not in ("reason", "animal")
    ]
    animals = [
        pl.when(pl.col(f"animal_{side}").str.starts_with(f"{project}-"))
        .then(pl.col(f"animal_{side}"))
        .when(pl.col(f"animal_{side}").is_not_null())
        .then(pl.lit("another project's"))
        .alias(f"animal_{side}")
        for side in ("before", "after")
    ]
    return answer.rows.with_columns(*hidden, *animals).select(COLUMNS)

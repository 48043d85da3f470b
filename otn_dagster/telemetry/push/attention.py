"""What the owners of a push's data, and its analysts, must hear of: what matched nobody and why, and what looks wrong.

Belongs here: tables and sentences about a push as a whole, each computed once from its matches and its snapshot. Does not belong here:
a project's page of them (``report.py``), the laws (``certificate.py``).

Source: node managers' practice (reasons of unqualified detections, missing receiver metadata, double reporting), and pushes that
matched nothing and said nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from otn_dagster import files
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import Snapshot

LEAST_NEAR_MISSES = 10  # detections of a transmitter before its likeness to a known tag is worth a look
MOSTLY = 0.5  # of a project's rows refused, or of its matches gone, before a push says so
LEAST_LOST = 10

LEFT_OUT = {
    "submission": "a file",
    "tracker": "changes of its animals and tags",
    "project": "all that is new of the project",
}
WHAT_TO_DO = {
    rules.UNREPORTED_TEST: ("declared a test tag by hand", "Nothing, unless it is an animal's."),
    rules.AMBIGUOUS: (
        "more than one animal has it at that time",
        "Agree with the other owner which tag record is right, and correct the other.",
    ),
    rules.NO_RELEASE: (
        "no project of the network has released it",
        "Nothing. When its owner sends a tag sheet, the next push matches it.",
    ),
    rules.SENSOR_UNRESOLVED: (
        "an old sensor tag whose pinger is not known",
        "Send the manufacturer's specification sheet.",
    ),
    rules.OUTSIDE_WINDOW: (
        "heard before its release or after its life",
        "Check release date, tag life and the receiver's clock.",
    ),
    rules.UNMATCHED: ("taken from its animal by hand", "Nothing."),
    rules.NO_RECEIVER: ("no deployment of that receiver at that time", "Send the deployment, with its dates."),
}


@dataclass(frozen=True)
class Attention:
    """Small tables of a push, by project."""

    outcomes: pl.DataFrame  # collectioncode (array), transmitter, outcome, detections, first_ms, last_ms
    no_receiver: pl.DataFrame  # collectioncode (who sent it), rcv_serial_no, detections, first_ms, last_ms
    near_misses: pl.DataFrame  # transmitter, known, trackercode, collectioncode (array), detections
    shared: pl.DataFrame  # trackercode, transmitter, other, detections: tags that two projects report at one time
    windows: pl.DataFrame  # trackercode, catalognumber, transmitter, window_code, matches
    findings: pl.DataFrame  # of the snapshot
    warnings: dict[str, list[str]]  # by project; those of the whole push under ""


def of_push(snapshot: Snapshot, matches: Matches, before: Matches | None = None) -> Attention:
    """All of it, in one pass over the matches. before: matches of the last real push, to see what fell."""
    counted = _counted(snapshot, matches)
    tags = snapshot.table("tags")
    windows = _windows(tags, matches)
    return Attention(
        outcomes=counted.filter(pl.col("collectioncode").is_not_null()),
        no_receiver=_no_receiver(snapshot, matches),
        near_misses=_near_misses(counted, tags),
        shared=_shared(counted, tags),
        windows=windows,
        findings=snapshot.table("findings"),
        warnings=_warnings(snapshot, matches, before, windows),
    )


def _counted(snapshot: Snapshot, matches: Matches) -> pl.DataFrame:
    """Detections by array, transmitter and outcome."""
    codes = snapshot.table("projects").select("project_key", "collectioncode")
    grouped = (
        pl.scan_parquet(matches.buckets)
        .group_by("project_key", "transmitter_key", "outcome")
        .agg(detections=pl.len(), first_ms=pl.col("time_ms").min(), last_ms=pl.col("time_ms").max())
        .collect(engine="streaming")
    )
    named = grouped.join(codes, on="project_key", how="left").join(
        snapshot.table("transmitters"), on="transmitter_key", how="left"
    )
    return named.drop("project_key", "transmitter_key").sort("collectioncode", "outcome", "transmitter")


def _no_receiver(snapshot: Snapshot, matches: Matches) -> pl.DataFrame:
    """Receivers that heard something and have no deployment then, by the project that sent the file."""
    senders = snapshot.table("submissions").select("submission_no", "collectioncode")
    grouped = (
        pl.scan_parquet(matches.buckets)
        .filter(pl.col("outcome") == rules.NO_RECEIVER)
        .group_by("submission_no", "receiver_key")
        .agg(detections=pl.len(), first_ms=pl.col("time_ms").min(), last_ms=pl.col("time_ms").max())
        .collect(engine="streaming")
    )
    named = grouped.join(senders, on="submission_no", how="left").join(
        snapshot.table("receivers"), on="receiver_key", how="left"
    )
    return (
        named.group_by("collectioncode", "rcv_serial_no")
        .agg(pl.col("detections").sum(), pl.col("first_ms").min(), pl.col("last_ms").max())
        .sort("collectioncode", "detections", "rcv_serial_no", descending=[False, True, False])
    )


def _digits(transmitter: str) -> pl.Expr:
    return pl.col(transmitter).str.extract(r"(\d+)$").str.strip_chars_start("0")


def _near_misses(counted: pl.DataFrame, tags: pl.DataFrame) -> pl.DataFrame:
    """Transmitters of nobody whose digits are a known tag's, in another code space or padding."""
    nobody = counted.filter(pl.col("outcome") == rules.NO_RELEASE, pl.col("collectioncode").is_not_null())
    often = (
        nobody.group_by("transmitter")
        .agg(total=pl.col("detections").sum())
        .filter(pl.col("total") >= LEAST_NEAR_MISSES)
    )
    unknown = (
        nobody.join(often, on="transmitter").with_columns(digits=_digits("transmitter")).filter(pl.col("digits") != "")
    )
    known = tags.select(known="transmitter", trackercode="trackercode").unique().with_columns(digits=_digits("known"))
    return (
        unknown.join(known, on="digits")
        .filter(pl.col("known") != pl.col("transmitter"))
        .select("transmitter", "known", "trackercode", "collectioncode", "detections")
        .sort("transmitter", "known", "trackercode", "collectioncode")
    )


def _shared(counted: pl.DataFrame, tags: pl.DataFrame) -> pl.DataFrame:
    """Tags that two projects report as theirs at one time: both are told, each of the other."""
    mine = tags.select(
        "trackercode", "transmitter", start="release_ms", end=pl.col("last_ms").fill_null(rules.FOREVER_MS)
    )
    other = mine.rename({"trackercode": "other", "start": "other_start", "end": "other_end"})
    both = mine.join(other, on="transmitter").filter(
        pl.col("trackercode") != pl.col("other"),
        pl.col("start") <= pl.col("other_end"),
        pl.col("other_start") <= pl.col("end"),
    )
    ambiguous = (
        counted.filter(pl.col("outcome") == rules.AMBIGUOUS).group_by("transmitter").agg(pl.col("detections").sum())
    )
    found = both.select("trackercode", "transmitter", "other").unique().join(ambiguous, on="transmitter", how="left")
    return found.with_columns(pl.col("detections").fill_null(0)).sort("trackercode", "transmitter", "other")


def _windows(tags: pl.DataFrame, matches: Matches) -> pl.DataFrame:
    """Tags of which nobody knows until when they may be heard, with how many matches hang on that."""
    marked = tags.filter(pl.col("window_code").is_not_null()).select(
        "tag_key", "trackercode", "catalognumber", "transmitter", "window_code"
    )
    if marked.is_empty():
        return marked.drop("tag_key").with_columns(matches=pl.lit(0, pl.UInt32))
    heard = (
        pl.scan_parquet(matches.buckets)
        .filter(pl.col("tag_key").is_in(marked["tag_key"].to_list()))
        .group_by("tag_key")
        .agg(matches=pl.len())
        .collect(engine="streaming")
    )
    joined = marked.join(heard, on="tag_key", how="left").with_columns(pl.col("matches").fill_null(0))
    return joined.drop("tag_key").sort("trackercode", "catalognumber", "transmitter")


def _warnings(
    snapshot: Snapshot, matches: Matches, before: Matches | None, windows: pl.DataFrame
) -> dict[str, list[str]]:
    """What a push must not say green about."""
    said: dict[str, list[str]] = {}
    for code, sentence in (
        *_left_out(snapshot),
        *_mostly_refused(snapshot),
        *_matches_fell(snapshot, matches, before),
        *_matches_nothing(snapshot, matches),
    ):
        said.setdefault(code, []).append(sentence)
    for code, group in windows.filter(pl.col("matches") > 0).group_by("trackercode", maintain_order=True):
        total = int(group["matches"].sum())
        sentence = f"{total:,} matches are of {group.height:,} tag(s) whose end is not known; send their tag life, or set their end."
        said.setdefault(str(code[0]), []).append(sentence)
    return said


def _left_out(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What is loaded and was kept out of this push."""
    said = []
    for one in snapshot.left_out:
        what = LEFT_OUT[one["scope"]]
        if "kind" in one:
            rows = f"{one['rows']:,} row{'' if one['rows'] == 1 else 's'}"
            what = f"{one['file_name']} ({one['kind']}, {rows})"
        sentence = f"Left out of this push: {what}, because {one['why']}. What the last push had of it stands."
        said.append((one["collectioncode"], sentence))
    return said


def _mostly_refused(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Projects whose sheets or exports were refused for the most part, or whole."""
    files = snapshot.table("submissions").filter(
        pl.col("state").is_in(["loaded", "refused", "held"]), pl.col("kind") != "project"
    )
    found = []
    for (code, kind), group in files.group_by(["collectioncode", "kind"], maintain_order=True):
        raw, refused = int(group["raw_rows"].fill_null(0).sum()), int(group["refused_rows"].fill_null(0).sum())
        loaded = group.filter(pl.col("state") == "loaded").height
        if raw and refused > MOSTLY * raw:
            found.append(
                (str(code), f"{refused:,} of {raw:,} rows of its {kind} were refused: most of it is not in this push.")
            )
        elif not loaded:
            found.append(
                (
                    str(code),
                    f"None of its {group.height:,} file(s) of {kind} is loaded: they are refused, or wait for an answer.",
                )
            )
    return found


def _matches_fell(snapshot: Snapshot, matches: Matches, before: Matches | None) -> list[tuple[str, str]]:
    """Projects that lost most of the matches that they had in the last push."""
    if before is None:
        return []
    codes = dict(snapshot.table("projects").select("project_key", "collectioncode").iter_rows())
    now, then = _by_tracker(matches), _by_tracker(before)
    found = []
    for key, count in sorted(then.items()):
        left = now.get(key, 0)
        if count >= LEAST_LOST and left < (1 - MOSTLY) * count and key in codes:
            found.append((codes[key], f"Its matches fell from {count:,} to {left:,} since the last push."))
    return found


def _by_tracker(matches: Matches) -> dict[int, int]:
    rows = (
        pl.scan_parquet(matches.buckets)
        .filter(pl.col("tracker_key").is_not_null())
        .group_by("tracker_key")
        .len()
        .collect(engine="streaming")
    )
    return dict(rows.iter_rows())


def _matches_nothing(snapshot: Snapshot, matches: Matches) -> list[tuple[str, str]]:
    total = sum(matches.counts.values())
    matched = matches.counts.get("matched", 0) + matches.counts.get("matched_own", 0)
    if total and not matched and snapshot.table("tags").height:
        return [
            (
                "",
                f"None of {total:,} detections matched an animal, though {snapshot.table('tags').height:,} tags are loaded.",
            )
        ]
    if total and not matched:
        return [("", f"None of {total:,} detections matched an animal: no tags are loaded.")]
    return []


FOLDER, WARNINGS_FILE = "attention", "warnings.json"
TABLES = ("outcomes", "no_receiver", "near_misses", "shared", "windows", "findings")


def write(attention: Attention, folder: Path) -> None:
    """The tables and warnings of a push into its folder. Safe to repeat: written aside and renamed whole."""
    with files.replacing_folder(folder / FOLDER) as aside:
        for name in TABLES:
            getattr(attention, name).write_parquet(aside / f"{name}.parquet", compression="zstd")
        (aside / WARNINGS_FILE).write_text(json.dumps(attention.warnings, indent=1, sort_keys=True), encoding="utf-8")


def read_warnings(folder: Path) -> dict[str, list[str]]:
    """Warnings of a push by project, those of the whole push under ""; none where it was not certified."""
    path = folder / FOLDER / WARNINGS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def in_words(warnings: dict[str, list[str]]) -> list[str]:
    """Warnings in order, each with the project that it is about: ``NSBS: its matches fell to nothing``."""
    return [f"{code or 'the whole push'}: {said}" for code, some in sorted(warnings.items()) for said in some]


def of_project(folder: Path, collectioncode: str) -> Attention | None:
    """What concerns one project, at either end; None where the push was not certified."""
    every = read(folder)
    return every and every.of(collectioncode)


def read(folder: Path) -> ByProject | None:
    """What concerns each project of a push, read once; None where the push was not certified."""
    if not (folder / FOLDER).exists():
        return None
    tables = {name: pl.read_parquet(folder / FOLDER / f"{name}.parquet") for name in TABLES}
    return ByProject(tables, read_warnings(folder))


# Which columns name the projects that a row concerns, where it is not its array alone.
_ENDS = {"near_misses": ["collectioncode", "trackercode"], "shared": ["trackercode"], "windows": ["trackercode"]}


class ByProject:
    """The tables of a push, parted by project once: what each project is told costs its own rows."""

    def __init__(self, tables: dict[str, pl.DataFrame], warnings: dict[str, list[str]]):
        """tables: by name, as ``Attention`` has them."""
        self._tables, self._warnings, self._places = tables, warnings, {}
        for name, frame in tables.items():
            rows = frame.with_row_index("row")
            ends = [rows.select("row", code=column) for column in _ENDS.get(name, ["collectioncode"])]
            places = pl.concat(ends).unique().sort("row").group_by("code").agg("row")
            self._places[name] = dict(places.iter_rows())

    def of(self, collectioncode: str) -> Attention:
        """What concerns one project, at either end."""
        mine = {name: frame[self._places[name].get(collectioncode, [])] for name, frame in self._tables.items()}
        told = [*self._warnings.get("", []), *self._warnings.get(collectioncode, [])]
        return Attention(**mine, warnings={collectioncode: told})

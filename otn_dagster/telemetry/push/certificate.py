"""The push certificate: laws that every push must keep, checked on what was written, with a hash of all that went in and out.

Belongs here: the conservation laws and the certificate's file. Does not belong here: making what they judge.

The laws count rows in the files as delivered and compare them with what was submitted and matched, so that a row lost or
doubled anywhere on the way breaks one of them.
"""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from otn_dagster import files
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push import attention, shared, unusual
from otn_dagster.telemetry.push.extracts import FILE_WORD, file_stem
from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.push.splitting import OUTCOMES_OF

CERTIFICATE = "certificate.json"
READERS = 2  # files that are hashed at once
FILES_AT_ONCE = 2_000


class BrokenLaw(RuntimeError):
    """A push whose rows do not add up: nothing of it may be delivered."""


@dataclass
class Certificate:
    """What was checked, what came of it, and the hashes."""

    push_date: str
    rehearsal: bool
    laws: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)  # by project; of the whole push under ""

    @property
    def broken(self) -> dict[str, list[dict[str, Any]]]:
        """Laws with the rows that break them."""
        return {law: rows for law, rows in self.laws.items() if rows}

    @property
    def warned(self) -> list[str]:
        """The warnings in order, each with the project that it is about: ``NSBS: its matches fell to nothing``."""
        return attention.in_words(self.warnings)

    @property
    def sha256(self) -> str:
        """One hash of all inputs and outputs."""
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.hashes.items()))
        return hashlib.sha256(listing.encode()).hexdigest()


def certify(
    snapshot: Snapshot, matches: Matches, extracts: pl.DataFrame, folder: Path, before: Matches | None = None
) -> Certificate:
    """Check every law and write ``certificate.json``; raises BrokenLaw, having written nothing, where one is broken.

    before: matches of the last real push; where they fell, the certificate says so among its warnings. What owners must hear of is
    written beside it, in ``attention/``. Safe to repeat: a pure function of the push's files, written aside and renamed.
    """
    (folder / CERTIFICATE).unlink(missing_ok=True)
    certificate = Certificate(snapshot.manifest["push_date"], snapshot.rehearsal)
    outcomes, delivered, expected = _outcomes(matches), _delivered(extracts, folder), _expected(snapshot, matches)
    expected_before = _expected(snapshot, before) if before else None
    certificate.laws = {
        "raw = loaded + duplicate + refused + waiting, per file": _files_add_up(snapshot),
        "loaded = pushed + left out, per file; pushed = matched + own + sentinel + unqualified + without receiver + sent by two "
        "projects": _outcomes_add_up(snapshot, outcomes),
        "every extract whose matches differ from those of the last push is listed": _unlisted(
            expected, expected_before, extracts
        ),
        "every extract holds the matches of its project, year and type, pair by pair": _extracts_hold(
            expected, delivered, extracts
        ),
        "qualified(array, tracker) = matched(tracker, detected by array), in the files": _two_sides(
            delivered, extracts
        ),
        "no own tag in qualified": _no_own_tags(delivered),
        "every file is the one its manifest names": _hashes(certificate, snapshot, matches, extracts, folder),
    }
    certificate.counts = {
        "by reason": matches.counts,
        "by node": _by_node(snapshot, outcomes),
        "extracts": extracts.height,
        "left out": len(snapshot.left_out),
    }
    if certificate.broken:
        law, rows = next(iter(certificate.broken.items()))
        raise BrokenLaw(f"{len(certificate.broken)} law(s) broken; the first: {law}: {rows[:3]}")
    said = attention.of_push(snapshot, matches, before)
    attention.write(said, folder)
    unusual.write(unusual.find(expected, expected_before), folder)
    certificate.warnings = said.warnings
    document = {
        "push_date": certificate.push_date,
        "rehearsal": certificate.rehearsal,
        "revision": snapshot.revision,
        "laws": {law: "kept" for law in certificate.laws},
        "counts": certificate.counts,
        "warnings": certificate.warnings,
        "sha256": certificate.sha256,
        "files": certificate.hashes,
    }
    files.write(folder / CERTIFICATE, json.dumps(document, indent=1, sort_keys=True))
    return certificate


def _outcomes(matches: Matches) -> pl.DataFrame:
    counted = pl.scan_parquet(matches.buckets).group_by("submission_no", "outcome").len("detections")
    grouped = counted.collect(engine="streaming")
    reason = pl.col("outcome").replace_strict(rules.REASONS, return_dtype=pl.String)
    kind = pl.when(pl.col("outcome").is_in(rules.UNQUALIFIED)).then(pl.lit("unqualified")).otherwise(reason)
    return grouped.with_columns(kind=kind)


def _files_add_up(snapshot: Snapshot) -> list[dict[str, Any]]:
    loaded = snapshot.table("submissions").filter(pl.col("state") == "loaded")
    parts = pl.sum_horizontal("loaded_rows", "duplicate_rows", "refused_rows", "waiting_rows")
    return loaded.filter((pl.col("raw_rows") != parts) | pl.col("raw_rows").is_null()).to_dicts()


def _outcomes_add_up(snapshot: Snapshot, outcomes: pl.DataFrame) -> list[dict[str, Any]]:
    of_detections = pl.col("kind") == "detections"
    files = snapshot.table("submissions").filter(of_detections, pl.col("state") == "loaded")
    left = [(one["submission_no"], one["rows"]) for one in snapshot.left_out if one.get("kind") == "detections"]
    left_out = pl.DataFrame(left, schema={"submission_no": pl.Int32, "left_out_rows": pl.Int64}, orient="row")
    # A row that a left-out file and another gave is the other's in this push; one that stands again is the earlier file's.
    moved = pl.DataFrame(
        snapshot.manifest.get("moved", []), schema={"submission_no": pl.Int32, "moved": pl.Int64}, orient="row"
    )
    found = outcomes.group_by("submission_no").agg(matched=pl.col("detections").sum())
    joined = files.join(found, on="submission_no", how="left")
    joined = joined.join(_sent_twice(snapshot), on="submission_no", how="left")
    joined = joined.join(left_out, on="submission_no", how="left").join(moved, on="submission_no", how="left")
    total = pl.sum_horizontal(pl.col("matched", "sent_twice", "left_out_rows").fill_null(0))
    bad = joined.filter((pl.col("loaded_rows") + pl.col("moved").fill_null(0)).ne_missing(total))
    unknown = found.join(snapshot.pushed().filter(of_detections), on="submission_no", how="anti")
    return bad.to_dicts() + unknown.to_dicts()


def _sent_twice(snapshot: Snapshot) -> pl.DataFrame:
    """Rows that were sent before, by another project or file, counted from the snapshot by itself: of each the smallest det_key stands."""
    rows = shared.rows_that_repeat(snapshot)
    stands = rows.group_by(shared.SAME).agg(stands=pl.col("det_key").min())
    again = rows.join(stands, on=shared.SAME, nulls_equal=True).filter(pl.col("det_key") != pl.col("stands"))
    return again.group_by("submission_no").agg(sent_twice=pl.len())


def _by_node(snapshot: Snapshot, outcomes: pl.DataFrame) -> dict[str, dict[str, int]]:
    nodes = snapshot.table("submissions").select("submission_no", "node")
    counted = outcomes.join(nodes, on="submission_no").group_by("node", "kind").agg(pl.col("detections").sum())
    result: dict[str, dict[str, int]] = {}
    for node, kind, detections in counted.sort("node", "kind").iter_rows():
        result.setdefault(node, {})[kind] = detections
    return result


def _each(extracts: pl.DataFrame) -> Iterable[tuple[str, int, str]]:
    yield from extracts.select("collectioncode", "year", "extract_type").iter_rows()


_PAIR = ["collectioncode", "year", "extract_type", "partner"]


def _delivered(extracts: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Rows of every extract by the project at its other end (bare code), each file read once.

    The partner of a tracker's extract is the array, of a qualified one the tracker; others have none (empty).
    """
    listed = [(code, year, letter, str(_file(folder, code, year, letter))) for code, year, letter in _each(extracts)]
    schema = {"collectioncode": pl.String, "year": pl.Int32, "extract_type": pl.String, "file": pl.String}
    where = pl.DataFrame(listed, schema=schema, orient="row")
    counted = [pl.DataFrame(schema={"file": pl.String, "partner": pl.String, "found": pl.UInt32})]
    for letter, column in {"t": "detectedBy", "q": "trackerCode", "u": None, "s": None}.items():
        paths = where.filter(pl.col("extract_type") == letter)["file"].to_list()
        counted += [
            _counted(paths[first : first + FILES_AT_ONCE], column) for first in range(0, len(paths), FILES_AT_ONCE)
        ]
    return pl.concat(counted).join(where, on="file").select(*_PAIR, "found")


def _counted(paths: list[str], column: str | None) -> pl.DataFrame:
    """Rows of files by what this column names, in one scan of all of them: opening them one by one costs ten times as much."""
    rows = pl.scan_parquet(paths, include_file_paths="file")
    if column == "detectedBy":
        rows = rows.filter(pl.col("receiver") != "release")
    partner = pl.col(column).str.split(".").list.last() if column else pl.lit("")
    return rows.group_by("file", partner.alias("partner")).agg(found=pl.len()).collect()


def _file(folder: Path, code: str, year: int, letter: str) -> Path:
    return folder / "extracts" / code / f"{file_stem(code, letter, year)}.parquet"


def _expected(snapshot: Snapshot, matches: Matches) -> pl.DataFrame:
    """Rows that every extract should hold, by the project at its other end, from the matches."""
    year = pl.from_epoch("time_ms", time_unit="ms").dt.year().alias("year")
    keys = pl.scan_parquet(matches.buckets).group_by("project_key", "tracker_key", year, "outcome").len("rows")
    codes = snapshot.table("projects").select("project_key", "collectioncode")
    trackers = codes.rename({"project_key": "tracker_key", "collectioncode": "trackercode"})
    pairs = keys.collect(engine="streaming").join(codes, on="project_key", how="left")
    pairs = pairs.join(trackers, on="tracker_key", how="left")
    sides = []
    for letter, outcomes in OUTCOMES_OF.items():
        mine, other = ("trackercode", "collectioncode") if letter == "t" else ("collectioncode", "trackercode")
        partner = pl.col(other) if letter in "tq" else pl.lit("")
        where = (
            pl.col(mine).alias("collectioncode"),
            pl.col("year").cast(pl.Int32),
            pl.lit(letter).alias("extract_type"),
        )
        of_type = pairs.filter(pl.col("outcome").is_in(outcomes)).select(*where, partner.alias("partner"), "rows")
        sides.append(of_type.group_by(_PAIR).agg(expected=pl.col("rows").sum()))
    return pl.concat(sides)


def _unlisted(now: pl.DataFrame, before: pl.DataFrame | None, extracts: pl.DataFrame) -> list[dict[str, Any]]:
    """Extracts with another number of rows for some partner than at the last push, which the list of this push has not."""
    listed = extracts.select("collectioncode", pl.col("year").cast(pl.Int32), "extract_type")
    same = [*_PAIR, "expected"]
    changed = (
        [now]
        if before is None
        else [
            now.join(before, on=same, how="anti", nulls_equal=True),
            before.join(now, on=same, how="anti", nulls_equal=True),
        ]
    )
    return pl.concat(changed).join(listed, on=_PAIR[:3], how="anti").sort(same).to_dicts()


def _extracts_hold(expected: pl.DataFrame, delivered: pl.DataFrame, extracts: pl.DataFrame) -> list[dict[str, Any]]:
    listed = extracts.select("collectioncode", pl.col("year").cast(pl.Int32), "extract_type")
    wanted = expected.join(listed, on=_PAIR[:3], how="semi")
    both = wanted.join(delivered, on=_PAIR, how="full", coalesce=True, nulls_equal=True)
    counts = pl.col("expected", "found").fill_null(0).cast(pl.Int64)
    return both.with_columns(counts).filter(pl.col("expected") != pl.col("found")).sort(_PAIR).to_dicts()


def _two_sides(delivered: pl.DataFrame, extracts: pl.DataFrame) -> list[dict[str, Any]]:
    """Qualified of an array against matched of a tracker, wherever both extracts are listed."""
    year = pl.col("year").cast(pl.Int32)
    trackers = extracts.filter(pl.col("extract_type") == "t").select(tracker="collectioncode", year=year)
    arrays = extracts.filter(pl.col("extract_type") == "q").select(array="collectioncode", year=year)
    qualified = delivered.filter(pl.col("extract_type") == "q").select(
        "year", array="collectioncode", tracker="partner", qualified="found"
    )
    matched = delivered.filter(pl.col("extract_type") == "t").select(
        "year", array="partner", tracker="collectioncode", matched="found"
    )
    pair = ["array", "tracker", "year"]
    both = qualified.join(matched, on=pair, how="full", coalesce=True).with_columns(
        pl.col("qualified", "matched").fill_null(0)
    )
    both = both.join(trackers, on=["tracker", "year"], how="semi").join(arrays, on=["array", "year"], how="semi")
    both = both.filter(pl.col("array") != pl.col("tracker"))  # a project's own tags are in its matched extract alone
    return both.filter(pl.col("matched") != pl.col("qualified")).sort("array", "tracker", "year").to_dicts()


def _no_own_tags(delivered: pl.DataFrame) -> list[dict[str, Any]]:
    own = delivered.filter(pl.col("extract_type") == "q", pl.col("collectioncode") == pl.col("partner"))
    return own.sort(_PAIR).to_dicts()


def _hashes(
    certificate: Certificate, snapshot: Snapshot, matches: Matches, extracts: pl.DataFrame, folder: Path
) -> list[dict[str, Any]]:
    """Hash every input and output again, from disk, and compare with what was noted when it was written."""
    noted = {f"snapshot/{name}": entry["sha256"] for name, entry in snapshot.manifest["files"].items()}
    noted |= {f"matches/{name}": entry["sha256"] for name, entry in matches.manifest["files"].items()}
    for code in sorted(set(extracts["collectioncode"])):
        entries = json.loads((folder / "extracts" / code / "manifest.json").read_text(encoding="utf-8"))
        noted |= {f"extracts/{code}/{name}": entry["sha256"] for name, entry in entries.items()}
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda name: _sha256(folder / name), sorted(noted)))
    broken = [
        {"file": name, "expected": noted[name], "found": digest}
        for name, digest in zip(sorted(noted), found, strict=True)
        if digest != noted[name]
    ]
    certificate.hashes = noted
    words = [FILE_WORD[extract_type] for _, _, extract_type in _each(extracts)]
    if len(words) != sum(name.startswith("extracts/") and name.endswith(".zip") for name in noted):
        broken.append(
            {
                "file": "extracts/",
                "expected": f"{len(words)} extracts",
                "found": "another number of zip files",
            }
        )
    return broken


def _sha256(path: Path) -> str | None:
    return files.sha256_of(path) if path.exists() else None

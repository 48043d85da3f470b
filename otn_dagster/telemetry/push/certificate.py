"""The push certificate: laws that every push must keep, checked on what was written, with a hash of all that went in and out.

Belongs here: the conservation laws and the certificate's file. Does not belong here: making what they judge.

The laws count rows in the files as delivered and compare them with what was submitted and matched, so that a row lost or
doubled anywhere on the way breaks one of them.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from otn_dagster import files
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push import attention
from otn_dagster.telemetry.push.extracts import FILE_WORD, OUTCOMES_OF, file_stem
from otn_dagster.telemetry.push.matching import Matches, named
from otn_dagster.telemetry.push.snapshot import Snapshot

CERTIFICATE = "certificate.json"


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
        return [f"{code or 'the whole push'}: {said}" for code, some in sorted(self.warnings.items()) for said in some]

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
    outcomes = _outcomes(matches)
    certificate.laws = {
        "raw = loaded + duplicate + refused + waiting, per file": _files_add_up(snapshot),
        "loaded = matched + own + sentinel + unqualified + without receiver + sent by two projects, per file": _outcomes_add_up(
            snapshot, outcomes
        ),
        "every extract holds the matches of its project, year and type, pair by pair": _extracts_hold(
            snapshot, matches, extracts, folder
        ),
        "qualified(array, tracker) = matched(tracker, detected by array), in the files": _two_sides(extracts, folder),
        "no own tag in qualified": _no_own_tags(extracts, folder),
        "every file is the one its manifest names": _hashes(certificate, snapshot, matches, extracts, folder),
    }
    certificate.counts = {
        "by reason": matches.counts,
        "by node": _by_node(snapshot, outcomes),
        "extracts": extracts.height,
    }
    if certificate.broken:
        law, rows = next(iter(certificate.broken.items()))
        raise BrokenLaw(f"{len(certificate.broken)} law(s) broken; the first: {law}: {rows[:3]}")
    said = attention.of_push(snapshot, matches, before)
    attention.write(said, folder)
    certificate.warnings = said.warnings
    document = {
        "push_date": certificate.push_date,
        "rehearsal": certificate.rehearsal,
        "laws": {law: "kept" for law in certificate.laws},
        "counts": certificate.counts,
        "warnings": certificate.warnings,
        "sha256": certificate.sha256,
        "files": certificate.hashes,
    }
    files.write(folder / CERTIFICATE, json.dumps(document, indent=1, sort_keys=True))
    return certificate


def _outcomes(matches: Matches) -> pl.DataFrame:
    grouped = pl.scan_parquet(matches.buckets).group_by("submission_no", "outcome").len("detections").collect()
    reason = pl.col("outcome").replace_strict(rules.REASONS, return_dtype=pl.String)
    kind = pl.when(pl.col("outcome").is_in(rules.UNQUALIFIED)).then(pl.lit("unqualified")).otherwise(reason)
    return grouped.with_columns(kind=kind)


def _files_add_up(snapshot: Snapshot) -> list[dict[str, Any]]:
    loaded = snapshot.table("submissions").filter(pl.col("state") == "loaded")
    parts = pl.sum_horizontal("loaded_rows", "duplicate_rows", "refused_rows", "waiting_rows")
    return loaded.filter((pl.col("raw_rows") != parts) | pl.col("raw_rows").is_null()).to_dicts()


def _outcomes_add_up(snapshot: Snapshot, outcomes: pl.DataFrame) -> list[dict[str, Any]]:
    files = snapshot.table("submissions").filter(pl.col("kind") == "detections", pl.col("state") == "loaded")
    found = outcomes.group_by("submission_no").agg(matched=pl.col("detections").sum())
    joined = files.join(found, on="submission_no", how="left").join(
        _sent_twice(snapshot), on="submission_no", how="left"
    )
    total = pl.col("matched").fill_null(0) + pl.col("sent_twice").fill_null(0)
    bad = joined.filter(pl.col("loaded_rows") != total)
    unknown = found.join(files, on="submission_no", how="anti")
    return bad.to_dicts() + unknown.to_dicts()


def _sent_twice(snapshot: Snapshot) -> pl.DataFrame:
    """Rows that another project sent too, counted from the snapshot by itself: of each the smallest det_key stands."""
    if len(snapshot.detections) < 2:
        return pl.DataFrame(schema={"submission_no": pl.Int32, "sent_twice": pl.UInt32})
    same = ["receiver_key", "transmitter_key", "device_ms", "sensor_value"]
    every = pl.scan_parquet(list(snapshot.detections.values()))
    shared = every.group_by("receiver_key").agg(files=pl.col("submission_no").n_unique()).filter(pl.col("files") > 1)
    copies = every.join(shared, on="receiver_key", how="semi").sort("det_key").group_by(same, maintain_order=True)
    rest = copies.agg(pl.col("submission_no").slice(1)).explode("submission_no").drop_nulls("submission_no")
    return rest.group_by("submission_no").agg(sent_twice=pl.len()).collect()


def _by_node(snapshot: Snapshot, outcomes: pl.DataFrame) -> dict[str, dict[str, int]]:
    nodes = snapshot.table("submissions").select("submission_no", "node")
    counted = outcomes.join(nodes, on="submission_no").group_by("node", "kind").agg(pl.col("detections").sum())
    result: dict[str, dict[str, int]] = {}
    for node, kind, detections in counted.sort("node", "kind").iter_rows():
        result.setdefault(node, {})[kind] = detections
    return result


def _each(extracts: pl.DataFrame) -> Iterable[tuple[str, int, str]]:
    yield from extracts.select("collectioncode", "year", "extract_type").iter_rows()


def _file(folder: Path, code: str, year: int, extract_type: str) -> Path:
    return folder / "extracts" / code / f"{file_stem(code, extract_type, year)}.parquet"


def _partner_counts(folder: Path, code: str, year: int, extract_type: str) -> dict[str, int]:
    """Rows of an extract by the project at its other end (bare code): arrays of a tracker's, trackers of an array's."""
    rows = pl.scan_parquet(_file(folder, code, year, extract_type))
    if extract_type == "t":
        rows = rows.filter(pl.col("receiver") != "release")
    partner = {"t": pl.col("detectedBy"), "q": pl.col("trackerCode")}.get(extract_type, pl.lit(""))
    counted = rows.group_by(partner.str.split(".").list.last().alias("partner")).len().collect()
    return dict(counted.iter_rows())


def _extracts_hold(snapshot: Snapshot, matches: Matches, extracts: pl.DataFrame, folder: Path) -> list[dict[str, Any]]:
    rows = named(pl.scan_parquet(matches.buckets), snapshot.table("projects"))
    pairs = rows.group_by("collectioncode", "trackercode", "year", "outcome").len("detections").collect()
    broken = []
    for code, year, extract_type in _each(extracts):
        mine, partner = ("trackercode", "collectioncode") if extract_type == "t" else ("collectioncode", "trackercode")
        rows = pairs.filter(
            pl.col(mine) == code, pl.col("year") == year, pl.col("outcome").is_in(OUTCOMES_OF[extract_type])
        )
        key = pl.col(partner) if extract_type in "tq" else pl.lit("")
        expected = dict(rows.group_by(key.alias("partner")).agg(pl.col("detections").sum()).iter_rows())
        found = _partner_counts(folder, code, year, extract_type)
        if expected != found:
            broken.append({"extract": f"{code},{year},{extract_type}", "expected": expected, "found": found})
    return broken


def _two_sides(extracts: pl.DataFrame, folder: Path) -> list[dict[str, Any]]:
    listed = set(_each(extracts))
    broken = []
    for code, year, extract_type in listed:
        if extract_type != "q":
            continue
        for tracker, qualified in _partner_counts(folder, code, year, "q").items():
            if (tracker, year, "t") not in listed:
                continue
            matched = _partner_counts(folder, tracker, year, "t").get(code, 0)
            if matched != qualified:
                broken.append(
                    {
                        "array": code,
                        "tracker": tracker,
                        "year": year,
                        "qualified": qualified,
                        "matched": matched,
                    }
                )
    return broken


def _no_own_tags(extracts: pl.DataFrame, folder: Path) -> list[dict[str, Any]]:
    return [
        {"extract": f"{code},{year},q", "own_rows": own}
        for code, year, extract_type in _each(extracts)
        if extract_type == "q" and (own := _partner_counts(folder, code, year, "q").get(code, 0))
    ]


def _hashes(
    certificate: Certificate, snapshot: Snapshot, matches: Matches, extracts: pl.DataFrame, folder: Path
) -> list[dict[str, Any]]:
    """Hash every input and output again, from disk, and compare with what was noted when it was written."""
    noted = {f"snapshot/{name}": entry["sha256"] for name, entry in snapshot.manifest["files"].items()}
    noted |= {f"matches/{name}": entry["sha256"] for name, entry in matches.manifest["files"].items()}
    for code in sorted(set(extracts["collectioncode"])):
        entries = json.loads((folder / "extracts" / code / "manifest.json").read_text(encoding="utf-8"))
        noted |= {f"extracts/{code}/{name}": entry["sha256"] for name, entry in entries.items()}
    broken = []
    for name, expected in sorted(noted.items()):
        path = folder / name
        found = files.sha256_of(path) if path.exists() else None
        if found != expected:
            broken.append({"file": name, "expected": expected, "found": found})
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

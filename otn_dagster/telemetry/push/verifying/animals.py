"""Checks of animals and tags over all projects: T8, T9, T15, T16, T19, T20, T21. Source: node manager training, tag-2 and verification."""

import polars as pl

from otn_dagster.telemetry.checks.registry import Rows, check
from otn_dagster.telemetry.push.verifying.evidence import VERIFIED, Evidence, of, outside

LONGEST, HEAVIEST, OLDEST = 20, 50_000, 600  # metres, kilograms, in whatever unit of age
UNKNOWN = ("unknown", "unk", "na", "none")


@check(
    "T8",
    VERIFIED,
    "Releases lie where the project works",
    "Correct the position, or the project's bounding box.",
    warns=True,
)
def release_positions(evidence: Evidence) -> Rows:
    return outside(evidence, "animals", "catalognumber")


@check("T9", VERIFIED, "No tag is live on two projects", "Double reporting: ask both projects.", warns=True)
def tag_on_two_projects(evidence: Evidence) -> Rows:
    tags = evidence.shared.tags
    return of("trackercode", tags.filter(pl.col("other_trackercode") != pl.col("trackercode")))


@check("T15", VERIFIED, "No tag is live twice on this project", "Give HARVEST_DATE of the first use.", warns=True)
def tag_live_twice(evidence: Evidence) -> Rows:
    same = pl.col("other_trackercode") == pl.col("trackercode")
    once = pl.col("catalognumber") < pl.col("other_catalognumber")
    return of("trackercode", evidence.shared.tags.filter(same & once))


@check("T16", VERIFIED, "One code is one serial", "Suspect serial: compare with the manufacturer's list.", warns=True)
def one_serial(evidence: Evidence) -> Rows:
    tags = (
        evidence.snapshot.table("tags")
        .select("trackercode", "transmitter", "catalognumber", "serialnumber")
        .drop_nulls()
    )
    known = tags.filter(~pl.col("serialnumber").str.to_lowercase().is_in(UNKNOWN))
    several = pl.col("serialnumber").n_unique().over("trackercode", "transmitter") > 1
    return of("trackercode", known.filter(several).sort(known.columns))


@check("T19", VERIFIED, "Every animal has a tag, and its sizes can be", "Correct the sheet, or send a fix.", warns=True)
def plausible(evidence: Evidence) -> Rows:
    animals, tags = evidence.snapshot.table("animals"), evidence.snapshot.table("tags")
    columns = ["collectioncode", "catalognumber"]
    untagged = animals.join(tags, on="animal_key", how="anti").select(*columns)
    coded = evidence.rows(
        "select distinct collectioncode as project, catalognumber from platform.tag_cache join (select * from unnest(%s::text[], %s::text[]))"
        " untagged (collectioncode, catalognumber) using (collectioncode, catalognumber) where transmitter is not null",
        *(untagged[column].to_list() for column in columns),
    )  # others have a tag that does not sound
    named = pl.DataFrame(
        [(row["project"], row["catalognumber"]) for row in coded], dict.fromkeys(columns, pl.String), orient="row"
    )
    untagged = untagged.join(named, on=columns, how="semi").with_columns(problem=pl.lit("no tag"))
    problems = [untagged]
    for column, most in (("length", LONGEST), ("weight", HEAVIEST), ("age", OLDEST)):
        odd = animals.filter((pl.col(column) <= 0) | (pl.col(column) > most))
        problems.append(odd.select(*columns, problem=pl.format("{} {}", pl.lit(column), column)))
    return of("collectioncode", pl.concat(problems).sort(columns))


@check("T20", VERIFIED, "Animals and their tags agree", "Correct the sheet, or send a fix.", warns=True)
def animals_and_tags(evidence: Evidence) -> Rows:
    animals = evidence.snapshot.table("animals").select("animal_key", released_ms="release_ms")
    tags = evidence.snapshot.table("tags").join(animals, on="animal_key")
    early = tags.filter(pl.col("release_ms") < pl.col("released_ms"))
    backwards = tags.filter(pl.col("end_ms") < pl.col("release_ms"))
    columns = ["trackercode", "catalognumber", "transmitter", "release_ms", "end_ms", "released_ms"]
    said = [(early, "the tag begins before its animal's release"), (backwards, "the tag ends before it begins")]
    return of("trackercode", pl.concat(f.select(*columns, problem=pl.lit(text)) for f, text in said).sort(columns))


@check(
    "T21", VERIFIED, "No animal is known twice", "The same serial, place and time twice: ask both projects.", warns=True
)
def known_twice(evidence: Evidence) -> Rows:
    same = ["serialnumber", "release_ms", "release_latitude", "release_longitude"]
    tags = evidence.snapshot.table("tags").select("trackercode", "catalognumber", *same).drop_nulls()
    known = tags.filter(~pl.col("serialnumber").str.to_lowercase().is_in(UNKNOWN))
    two = pl.struct("trackercode", "catalognumber").n_unique().over(same) > 1
    return of("trackercode", known.filter(two).sort(*same, "trackercode", "catalognumber"))

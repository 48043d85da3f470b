"""Checks of tag metadata: T1 to T21. Source: node manager training, tag-1, tag-1b, tag-2, and the analysts' verification."""

from otn_dagster.telemetry.checks.registry import Evidence, NotEvaluated, Rows, check
from otn_dagster.telemetry.files import positions
from otn_dagster.telemetry.files.refusals import Code, Why
from otn_dagster.telemetry.loading.staging import project_box

CACHE, LIVE = "tag_cache", "otn_transmitters"
CORRECT = "Correct the sheet and send it again."
THIS = "select submission_key, row_number, catalognumber, transmitter from platform.tag_cache where submission_key = %s"
OVERLAP = """
    select a.catalognumber, b.collectioncode as other_project, b.catalognumber as other, a.fieldnumber as transmitter,
        a.startdatetime, a.enddatetime, b.startdatetime as other_start, b.enddatetime as other_end
    from obis.moorings a join obis.moorings b on b.fieldnumber = a.fieldnumber and b.mooring_key <> a.mooring_key
    where a.relationshiptype = 'ANIMAL' and b.relationshiptype = 'ANIMAL' and a.collectioncode = %s
        and (a.startdatetime, coalesce(a.enddatetime, 'infinity')) overlaps (b.startdatetime, coalesce(b.enddatetime, 'infinity'))
"""


@check("T1", CACHE, "Columns and datatypes are those of the template", CORRECT)
def sheet_format(evidence: Evidence) -> Rows:
    return evidence.refused_because(Why.MISSING, Why.UNREADABLE) + evidence.found(
        Code.VALUE_UNREADABLE, Code.VALUE_AMBIGUOUS, Code.VALUE_OUT_OF_RANGE, Code.UNIT_UNKNOWN, Code.COLUMN_REPEATED
    )


@check(
    "T2",
    CACHE,
    "Each row has an animal id or a tag serial",
    "Give each animal an ANIMAL_ID; it is named by its transmitter now.",
    warns=True,
)
def animal_or_serial(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select row_number, catalognumber, transmitter from platform.tag_cache where submission_key = %s and animal_id is null"
        " and tag_serial_number is null order by row_number",
        evidence.submission.submission_key,
    )


@check("T3", CACHE, "Harvest is after release", "Correct whichever of the two is wrong.")
def harvest_after_release(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select row_number, catalognumber, utc_release_date_time, other->>'harvest_date' as harvest_date from platform.tag_cache"
        " where submission_key = %s and window_code = 'harvest_before_release' order by row_number",
        evidence.submission.submission_key,
    )


@check("T4", CACHE, "Animal fields follow the data dictionary", "Use the words of the dictionary.", warns=True)
def animal_fields(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select row_number, sex, wild_or_hatchery, tag_type from platform.tag_cache where submission_key = %s
           and (upper(sex) not in ('M', 'F', 'U', 'MALE', 'FEMALE', 'UNKNOWN') or upper(wild_or_hatchery) not in ('W', 'H', 'WILD', 'HATCHERY')
                or upper(tag_type) not in ('ACOUSTIC', 'FLOY', 'SATELLITE', 'PIT', 'RADIO', 'ARCHIVAL', 'CONVENTIONAL'))
           order by row_number""",
        evidence.submission.submission_key,
    )


@check(
    "T5",
    CACHE,
    "No tag is used twice in the sheet",
    "Remove the repeated row, or give HARVEST_DATE where a tag was used again.",
)
def tag_twice_in_sheet(evidence: Evidence) -> Rows:
    twice = evidence.rows(
        """select a.row_number, b.row_number as other_row, a.transmitter, a.catalognumber, b.catalognumber as other
           from platform.tag_cache a join platform.tag_cache b using (submission_key, transmitter)
           where submission_key = %s and a.utc_release_date_time <= b.utc_release_date_time and a.catalognumber <> b.catalognumber
               and (a.utc_release_date_time, a.row_number) < (b.utc_release_date_time, b.row_number)
               and coalesce(a.harvest_date, a.utc_release_date_time + coalesce(a.est_tag_life, 36500) * interval '1 day')
                   > b.utc_release_date_time order by 1""",
        evidence.submission.submission_key,
    )
    return twice + evidence.found(Code.REPEATED_DIFFERS)


@check("T6", CACHE, "Code spaces were not filled by dragging", "Retype TAG_CODE_SPACE: Excel counted it up.")
def dragged_code_space(evidence: Evidence) -> Rows:
    # Two code spaces that follow each other are real (A69-9001, A69-9002); four rows that count up are a mouse.
    return evidence.rows(
        """with spaces as (select row_number, tag_code_space, split_part(tag_code_space, '-', 2)::int as number from platform.tag_cache
               where submission_key = %s and tag_code_space ~ '^A[0-9]+-[0-9]+$'),
           steps as (select *, number - lag(number) over w = 1 as up, number - lag(number, 2) over w = 2 as up2,
               number - lag(number, 3) over w = 3 as up3 from spaces window w as (order by row_number))
           select row_number, tag_code_space from steps where up and up2 and up3 order by row_number""",
        evidence.submission.submission_key,
    )


@check("T7", CACHE, "Names are accepted by WoRMS", "Use the accepted name.")
def worms(evidence: Evidence) -> Rows:
    raise NotEvaluated("needs the WoRMS web service")


@check(
    "T8",
    CACHE,
    "Releases lie where the project works",
    "Correct the position, or the bounding box of the project.",
    warns=True,
)
def release_position(evidence: Evidence) -> Rows:
    box = project_box(evidence.connection, evidence.code)
    slips = evidence.found(Code.RELEASE_POSITION)
    if box is None:
        return slips
    rows = evidence.rows(
        "select row_number, catalognumber, release_latitude, release_longitude from platform.tag_cache where submission_key = %s"
        " and release_latitude is not null and release_longitude is not null",
        evidence.submission.submission_key,
    )
    return slips + [r for r in rows if not positions.inside(box, r["release_latitude"], r["release_longitude"])]


@check(
    "T9",
    LIVE,
    "No tag is live on another project at the same time",
    "Double reporting: agree with the other project.",
)
def on_other_projects(evidence: Evidence) -> Rows:
    return evidence.rows(OVERLAP + " and b.collectioncode <> a.collectioncode order by 1, 3", evidence.code)


@check(
    "T10",
    CACHE,
    "Codes and life agree with the vendor",
    "Ask the vendor for the specification sheet.",
    warns=True,
)
def vendor_specification(evidence: Evidence) -> Rows:
    evidence.vendor_specs()
    return evidence.rows(
        """select row_number, tag_serial_number, transmitter, v.vue_id, t.est_tag_life, v.est_tag_life as vendor_life
           from platform.tag_cache t join vendor.c_vemco_tags v on v.serial_no = t.tag_serial_number
           where submission_key = %s and (not exists (select 1 from vendor.c_vemco_tags s
                   where s.serial_no = t.tag_serial_number and s.vue_id = t.transmitter)
               or (v.vue_id = t.transmitter and abs(v.est_tag_life - t.est_tag_life) > 1)) order by row_number""",
        evidence.submission.submission_key,
    )


@check(
    "T11",
    CACHE,
    "Life stage, length type and age unit are known codes",
    "Use a code of the lookup table.",
    warns=True,
)
def lookup_codes(evidence: Evidence) -> Rows:
    return evidence.rows(
        """with said as (
               select 'LIFE_STAGE' as column_name, life_stage as found, row_number from platform.tag_cache where submission_key = %(key)s
               union all select 'LENGTH_TYPE', length_type, row_number from platform.tag_cache where submission_key = %(key)s
               union all select 'LENGTH2_TYPE', length2_type, row_number from platform.tag_cache where submission_key = %(key)s
               union all select 'AGE_UNITS', age_units, row_number from platform.tag_cache where submission_key = %(key)s),
           plain as (select *, regexp_replace(regexp_replace(upper(trim(found)), '[ _-]*LENGTH$', ''), '[ .]+$', '') as word from said
               where found is not null)
           select column_name, found, count(*) as rows, min(row_number) as first_row from plain
           where not (column_name = 'LIFE_STAGE' and word in (select code from obis.lifestage_codes))
             and not (column_name like 'LENGTH%%' and word in (select code from obis.lengthtype_codes union select upper(description)
                 from obis.lengthtype_codes union select replace(upper(description), ' LENGTH', '') from obis.lengthtype_codes))
             and not (column_name = 'AGE_UNITS' and rtrim(word, 'S') in (select rtrim(unit, 'S') from obis.control_units))
           group by 1, 2 order by 3 desc, 1, 2""",
        {"key": evidence.submission.submission_key},
    )


@check(
    "T12",
    CACHE,
    "Tags were not reported on this project before",
    "A reload or a correction; nothing to do if so.",
    warns=True,
)
def reported_before(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select t.row_number, t.catalognumber, t.transmitter, s.submission_key as earlier from platform.tag_cache t
           join platform.tag_cache s on s.collectioncode = t.collectioncode and s.transmitter = t.transmitter
               and s.catalognumber = t.catalognumber and s.submission_key <> t.submission_key
           join platform.submissions e on e.submission_key = s.submission_key and e.state = 'loaded'
           where t.submission_key = %s order by t.row_number""",
        evidence.submission.submission_key,
    )


@check(
    "T13",
    CACHE,
    "Names are those of the project's species",
    "Add the species to the project form, or correct the name.",
    warns=True,
)
def project_species(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select min(row_number) as first_row, scientific_name, count(*) as rows from platform.tag_cache where submission_key = %s
           and scientific_name is not null and exists (select 1 from obis.scientificnames n
               where n.collectioncode = tag_cache.collectioncode)
           and not exists (select 1 from obis.scientificnames n where n.collectioncode = tag_cache.collectioncode
               and lower(n.scientificname) = lower(scientific_name)) group by scientific_name order by 1""",
        evidence.submission.submission_key,
    )


@check(
    "T14",
    CACHE,
    "Tag models are known",
    "Correct TAG_MODEL, or add the model to instrument_models.",
    warns=True,
)
def tag_models(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select min(row_number) as first_row, tag_model, count(*) as rows from platform.tag_cache where submission_key = %s
           and tag_model is not null and not exists (select 1 from obis.instrument_models m where m.usage = 'trnm'
               and upper(tag_model) ~ ('^' || m.model || '([^0-9]|$)')) group by tag_model order by 1""",
        evidence.submission.submission_key,
    )


@check("T15", LIVE, "No tag is live twice on this project", "Give HARVEST_DATE of the first use.")
def live_twice(evidence: Evidence) -> Rows:
    same = " and b.collectioncode = a.collectioncode and b.relatedcatalogitem <> a.relatedcatalogitem"
    return evidence.rows(OVERLAP + same + " and a.startdatetime <= b.startdatetime order by 1, 3", evidence.code)


@check(
    "T16",
    LIVE,
    "One serial is one transmitter family",
    "Suspect serial: compare with the vendor's list.",
    warns=True,
)
def suspect_serial(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select a.serialnumber, a.fieldnumber, a.catalognumber, b.catalognumber as other from obis.moorings a join obis.moorings b
               on b.fieldnumber = a.fieldnumber and b.collectioncode = a.collectioncode and b.serialnumber <> a.serialnumber
           where a.relationshiptype = 'ANIMAL' and b.relationshiptype = 'ANIMAL' and a.collectioncode = %s and a.mooring_key < b.mooring_key
           order by 1""",
        evidence.code,
    )


@check("T17", CACHE, "Releases are not in the future or before 1980", "Check the year and the cell's format.")
def release_date(evidence: Evidence) -> Rows:
    return evidence.refused_because(Why.IMPOSSIBLE)


@check(
    "T18",
    LIVE,
    "What a corrected sheet changed",
    "Changes were applied; look that each was meant.",
    warns=True,
)
def changed_cells(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select table_name, row_key, column_name, old_value, new_value from platform.row_changes where submission_key = %s"
        " order by 1, 2, 3",
        evidence.submission.submission_key,
    )


@check("T19", CACHE, "Animals and tags fit together; sizes are plausible", CORRECT, warns=True)
def plausible(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select row_number, catalognumber, length, weight, est_tag_life from platform.tag_cache where submission_key = %s
               and (length <= 0 or length > 20 or weight <= 0 or weight > 50000 or est_tag_life <= 0 or est_tag_life > 7300)
           union all select min(row_number), catalognumber, min(length), max(length), null from platform.tag_cache
               where submission_key = %s group by catalognumber
               having count(distinct coalesce(length, -1)) > 1 or count(distinct scientific_name) > 1
                   or count(distinct utc_release_date_time) > 1 order by 1""",
        evidence.submission.submission_key,
        evidence.submission.submission_key,
    )


@check(
    "T20",
    LIVE,
    "Animals and transmitters of the schema agree",
    "Reload the sheet; if it stays, look at the rows by hand.",
)
def animals_and_transmitters(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select t.catalognumber, t.relatedcatalogitem, t.startdatetime, a.datecollected from obis.moorings t
           left join obis.otn_animals a on a.collectioncode = t.collectioncode and a.catalognumber = t.relatedcatalogitem
           where t.relationshiptype = 'ANIMAL' and t.collectioncode = %s
             and (a.catalognumber is null or a.datecollected <> t.startdatetime or t.the_geom is null) order by 1""",
        evidence.code,
    )


@check(
    "T21",
    LIVE,
    "No animal is known twice across nodes",
    "The same serial, place and time on two projects: ask both.",
    warns=True,
)
def across_nodes(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select a.catalognumber, b.collectioncode as other_project, b.catalognumber as other, a.serialnumber from obis.moorings a
           join obis.moorings b on b.serialnumber = a.serialnumber and b.startdatetime = a.startdatetime
               and b.latitude = a.latitude and b.longitude = a.longitude and b.collectioncode <> a.collectioncode
           where a.relationshiptype = 'ANIMAL' and b.relationshiptype = 'ANIMAL' and lower(a.serialnumber) <> 'unknown'
               and a.collectioncode = %s order by 1""",
        evidence.code,
    )

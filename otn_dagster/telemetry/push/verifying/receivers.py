"""Checks of projects, stations and receivers over all projects: P7, R6, R7, R11, R14, R15. Source: node manager training, deploy and
verification.
"""

import polars as pl

from otn_dagster.telemetry.checks.registry import Rows, check
from otn_dagster.telemetry.push.verifying.evidence import VERIFIED, Evidence, of, outside


@check(
    "P7",
    VERIFIED,
    "The project's code is unique across nodes",
    "One of the two projects must change its code.",
    stops=True,
)
def code_unique(evidence: Evidence) -> Rows:
    nodes = evidence.snapshot.pushed().select(project="collectioncode", node="node").unique()
    return nodes.filter(pl.len().over("project") > 1).sort("project", "node").to_dicts()


@check(
    "R6",
    VERIFIED,
    "No receiver is in two places of a project at one time",
    "Give the recovery date of the earlier one.",
    warns=True,
)
def overlapping(evidence: Evidence) -> Rows:
    same = pl.col("collectioncode") == pl.col("other_collectioncode")
    once = pl.col("rcvrcatnumber") < pl.col("other_rcvrcatnumber")
    return of("collectioncode", evidence.shared.same_receivers.filter(same & once))


@check(
    "R7",
    VERIFIED,
    "Deployments lie where the project works",
    "Correct the position, or the project's bounding box.",
    warns=True,
)
def deployment_positions(evidence: Evidence) -> Rows:
    return outside(evidence, "deployments", "rcvrcatnumber")


@check(
    "R11",
    VERIFIED,
    "Stations are whole, and no two are at one place",
    "Load the sheet again, or give the station one name.",
    warns=True,
)
def stations(evidence: Evidence) -> Rows:
    apart = evidence.rows(
        """select coalesce(s.collectioncode, m.collectioncode) as project, coalesce(s.station_name, m.catalognumber) as station_name,
               case when s.station_name is null then 'not in stations' when m.catalognumber is null then 'not in moorings'
                    when s.first_deployed > platform.now() at time zone 'UTC' then 'deployed in the future'
                    when (s.latitude, s.longitude) <> (m.latitude, m.longitude) then 'another position in moorings'
                    else 'another date in moorings' end as problem
           from platform.stations s full join (select * from obis.moorings where basisofrecord = 'STATION') m
               on m.collectioncode = s.collectioncode and m.catalognumber = s.station_name
           where s.station_name is null or m.catalognumber is null or s.first_deployed <> m.startdatetime
               or (s.latitude, s.longitude) <> (m.latitude, m.longitude)
               or s.first_deployed > platform.now() at time zone 'UTC' order by 1, 2"""
    )
    together = evidence.rows(
        """select collectioncode as project, string_agg(station_name, ', ' order by station_name) as station_name,
               'at one place: ' || latitude || ', ' || longitude as problem
           from platform.stations group by collectioncode, latitude, longitude having count(*) > 1 order by 1, 2"""
    )
    return [*apart, *together]


@check(
    "R14",
    VERIFIED,
    "Rows of moorings are whole, and none is there twice",
    "Correct the row, or add its model.",
    warns=True,
)
def moorings_whole(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select collectioncode as project, basisofrecord, catalognumber, case when collectornumber is null then 'no serial'
               when instrumenttype is null then 'no type of instrument: its model is not known'
               when enddatetime < startdatetime then 'recovered before it was deployed' end as problem
           from obis.moorings where basisofrecord = 'RECEIVER'
               and (collectornumber is null or instrumenttype is null or enddatetime < startdatetime)
           union all select d.collectioncode, 'DOWNLOAD', d.catalognumber, 'of a deployment that is not there' from obis.moorings d
           where d.basisofrecord = 'DOWNLOAD' and not exists (select 1 from obis.moorings r where r.basisofrecord = 'RECEIVER'
               and r.collectioncode = d.collectioncode and r.catalognumber = d.relatedcatalogitem)
           union all select collectioncode, basisofrecord, min(catalognumber), count(*) || ' at one time' from obis.moorings
           where basisofrecord = 'DOWNLOAD' group by collectioncode, basisofrecord, relatedcatalogitem, startdatetime having count(*) > 1
           order by 1, 2, 3"""
    )


@check("R15", VERIFIED, "No receiver is in two projects at once", "Ask both projects.", warns=True)
def receiver_on_two_projects(evidence: Evidence) -> Rows:
    return of("collectioncode", evidence.shared.receivers)

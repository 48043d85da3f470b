create index on matches (project_key, outcome);
create index on matches (tracker_key, outcome);
create index on tags (trackercode);
alter table tags add primary key (tag_key);
alter table deployments add primary key (deployment_key);
alter table transmitters add primary key (transmitter_key);
alter table projects add primary key (project_key);
create index on projects (collectioncode);
create unlogged table people as
    select collectioncode, string_agg(distinct name || ' (' || email || ')', ', ') filter (where point_of_contact = 1) as "contactPOC",
        string_agg(distinct name || ' (' || email || ')', ', ') filter (where role = 'Principal Investigator') as "contactPI"
    from contacts group by 1;
analyze;
create view detected as
    select m.det_key, m.outcome, m.project_key, m.tracker_key, m.tag_key, m.deployment_key,
        extract(year from to_timestamp(m.time_ms / 1000.0) at time zone 'UTC')::int as year,
        (to_timestamp(m.base_day * 86400.0) at time zone 'UTC')::date as "dateLastModified",
        to_timestamp(m.time_ms / 1000.0) at time zone 'UTC' as "dateCollectedUTC",
        to_timestamp(m.device_ms / 1000.0) at time zone 'UTC' as "uncorrectedDateCollectedUTC",
        d.station, d.rcv_serial_no as receiver, d.rcv_serial_no as "receiverSerial", d.rcvrcatnumber as "rcvrCatNumber",
        d.bottom_depth as "bottomDepth", d.receiver_depth as "receiverDepth",
        round(d.longitude::numeric, 5) as "decimalLongitude", round(d.latitude::numeric, 5) as "decimalLatitude",
        'EPSG:4326' as "geodeticDatum", '0101000020E6100000' || encode(float8send(d.longitude) || float8send(d.latitude), 'hex') as geometry,
        t.transmitter as "tagName", substring(t.transmitter from '^[^-]+-[^-]+') as "codeSpace",
        case when m.sensor_value is not null then t.transmitter end as "sensorName", m.sensor_value as "sensorRaw",
        case when m.sensor_value is null then 'pinger' end as "sensorType", null::float8 as "sensorValue", null::text as "sensorUnit",
        m.min_lag, (coalesce(m.min_lag <= 3600, false))::int as passed_filter, t.transmitter || '-' || m.det_key as "unique"
    from matches m join deployments d using (deployment_key) join transmitters t using (transmitter_key);
create view extract_t as
    select d.tracker_key as key, d.*, o.node || '.' || o.collectioncode as "collectionCode", g.catalognumber as "catalogNumber",
        g.catalognumber as "organismID", g.scientificname as "scientificName", g.commonname as "commonName",
        a.node || '.' || a.collectioncode as "detectedBy", a.local_area as "localArea", a.citation,
        a.collectioncode || '-' || d."unique" as "unqDetecID", p."contactPOC", p."contactPI", g.window_code as "tagWindow"
    from detected d join tags g using (tag_key) join projects o on o.project_key = d.tracker_key
    join projects a on a.project_key = d.project_key left join people p on p.collectioncode = a.collectioncode
    where d.outcome in (0, 1);
create view of_array as
    select d.project_key as key, d.*, 'MachineObservation' as "basisOfRecord", a.institutioncode as "institutionCode",
        a.node || '.' || a.collectioncode as "collectionCode", o.collectioncode as "trackerCode", d."unique" as "catalogNumber",
        g.scientificname as "scientificName", g.commonname as "commonName", p."contactPOC", p."contactPI",
        case d.outcome when 12 then 'u2_ambiguous' when 13 then 'u3_no_release' when 15 then 'u5_outside_window' end as reason
    from detected d join projects a on a.project_key = d.project_key left join tags g using (tag_key)
    left join projects o on o.project_key = d.tracker_key left join people p on p.collectioncode = o.collectioncode;
create view extract_q as select * from of_array where outcome = 0;
create view extract_u as select * from of_array where outcome in (11, 12, 13, 14, 15, 16);
create view extract_s as select * from of_array where outcome = 2;
create function releases(code text, of_year int) returns setof extract_t language sql as $$
    select (jsonb_populate_record(null::extract_t, jsonb_build_object(
        'collectionCode', o.node || '.' || o.collectioncode, 'catalogNumber', g.catalognumber, 'organismID', g.catalognumber,
        'scientificName', g.scientificname, 'commonName', g.commonname, 'detectedBy', o.node || '.' || o.collectioncode,
        'station', g.release_location, 'receiver', 'release', 'tagName', g.transmitter,
        'dateCollectedUTC', to_timestamp(g.release_ms / 1000.0) at time zone 'UTC'))).*
    from tags g join projects o on o.collectioncode = g.trackercode
    where g.trackercode = code and g.release_latitude is not null and g.release_longitude is not null
        and g.release_ms < extract(epoch from make_date(of_year + 1, 1, 1)) * 1000
        and (g.end_ms is null or g.end_ms >= extract(epoch from make_date(of_year, 1, 1)) * 1000)
$$;

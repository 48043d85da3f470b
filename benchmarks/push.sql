-- The push core in plain PostgreSQL, on the same integer keys, with the indexes that help: what the platform is compared with.
-- Statements end with a semicolon at the end of a line and run in order, each timed.

-- clean
create unlogged table cleaned as
    select distinct on (receiver_key, transmitter_key, device_ms, sensor_value) * from detections
    order by receiver_key, transmitter_key, device_ms, sensor_value, det_key;

-- assign
create unlogged table windows as
    select deployment_key, receiver_key, project_key, start_ms, modified_day,
        least(coalesce(recovered_ms + 1, 253402300800000),
              coalesce(lead(start_ms) over (partition by receiver_key order by start_ms, deployment_key), 253402300800000)) as end_ms
    from deployments;
create index on windows (receiver_key, start_ms);
create index on segments (receiver_key, start_ms);
analyze windows;
analyze cleaned;
create unlogged table placed as
    select c.det_key, c.submission_no, c.receiver_key, c.transmitter_key, c.device_ms, c.sensor_value, c.time_ms,
        w.deployment_key, w.project_key, greatest(c.loaded_day, c.clock_day, w.modified_day) as base_day
    from (select d.*, s.modified_day as clock_day,
              d.device_ms - coalesce(round(s.offset_ms + s.factor * (d.device_ms - s.start_ms)), 0)::bigint as time_ms
          from cleaned d left join segments s
              on s.receiver_key = d.receiver_key and d.device_ms >= s.start_ms and d.device_ms < s.end_ms) c
    left join windows w on w.receiver_key = c.receiver_key and c.time_ms >= w.start_ms and c.time_ms < w.end_ms;

-- min_lag
create unlogged table lagged as
    select *, least(time_ms - lag(time_ms) over w, lead(time_ms) over w - time_ms) / 1000.0::float8 as min_lag
    from placed window w as (partition by receiver_key, transmitter_key order by time_ms, det_key);

-- match
create index on tags (transmitter_key, release_ms);
analyze lagged;
create unlogged table found as
    select l.det_key, count(distinct t.animal_key) as animals, min(t.tag_key) as tag_key, min(t.tracker_key) as tracker_key
    from lagged l join tags t on t.transmitter_key = l.transmitter_key and l.time_ms >= t.release_ms and l.time_ms <= t.last_ms
    group by l.det_key;
analyze found;

-- split
create unlogged table matches as
    select l.*, case when l.deployment_key is null then 3 when f.animals > 1 then 12
            when f.animals = 1 and f.tracker_key = l.project_key then 1 when f.animals = 1 then 0
            when s.transmitter_key is not null then 2
            when exists (select 1 from tags t where t.transmitter_key = l.transmitter_key) then 15 else 13 end as outcome,
        case when f.animals = 1 and l.deployment_key is not null then f.tag_key end as tag_key,
        case when f.animals = 1 and l.deployment_key is not null then f.tracker_key end as tracker_key
    from lagged l left join found f using (det_key)
    left join (select distinct transmitter_key from station_tags) s on s.transmitter_key = l.transmitter_key;
create unlogged table extracts as
    select project_key, extract(year from to_timestamp(time_ms / 1000.0) at time zone 'UTC')::int as year,
        case outcome when 0 then 'q' when 2 then 's' else 'u' end as extract_type, count(*) as added
    from matches where outcome not in (1, 3) group by 1, 2, 3
    union all
    select tracker_key, extract(year from to_timestamp(time_ms / 1000.0) at time zone 'UTC')::int, 't', count(*)
    from matches where outcome in (0, 1) group by 1, 2;

-- summaries
create unlogged table weekly as
    select outcome, tag_key, transmitter_key, deployment_key, time_ms / 604800000 as week, count(*) as detections,
        min(time_ms) as first_ms, max(time_ms) as last_ms
    from matches where deployment_key is not null group by 1, 2, 3, 4, 5;

-- verify
create unlogged table laws as
    select submission_no, outcome, count(*) as detections, sum(min_lag) as lags from matches group by 1, 2;

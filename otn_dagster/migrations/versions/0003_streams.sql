-- A request is a record: one row each, at most one active per stream; its stream, mode and window never change.
create table platform.stream_requests (
    request_no bigint generated always as identity primary key,
    stream text not null,
    mode text not null check (mode in ('append', 'refresh')),
    window_start bigint not null,
    window_end bigint not null check (window_end > window_start),
    state text not null default 'requested'
        check (state in ('requested', 'ready', 'ingested', 'checked', 'published', 'failed', 'expired', 'skipped')),
    reason text,
    held jsonb,                          -- what a person must accept before it goes on
    accepted text[] not null default '{}', -- gates that a person opened
    asked_by text not null,
    base_snapshot text,                  -- the version of main that a refresh will replace
    snapshot text,                       -- the commit that came of it
    ingest_attempts integer not null default 0,
    next_ingest_at timestamptz not null default clock_timestamp(),
    facts jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp()
);
create unique index stream_requests_one_active on platform.stream_requests (stream)
    where state in ('requested', 'ready', 'ingested', 'checked');
create index stream_requests_by_stream on platform.stream_requests (stream, request_no);

create function platform.stream_request_is_fixed() returns trigger language plpgsql as $$
begin
    if (new.stream, new.mode, new.window_start, new.window_end)
        is distinct from (old.stream, old.mode, old.window_start, old.window_end) then
        raise exception 'stream, mode and window of a request never change';
    end if;
    if old.state in ('published', 'failed', 'expired', 'skipped') and new.state <> old.state then
        raise exception 'request % is % and stays so', old.request_no, old.state;
    end if;
    return new;
end $$;
create trigger stream_request_is_fixed before update on platform.stream_requests
    for each row execute function platform.stream_request_is_fixed();

-- The windows that a request is asked for in: one for an append, many for a long refresh.
create table platform.stream_request_parts (
    request_no bigint not null references platform.stream_requests,
    part_no integer not null,
    window_start bigint not null,
    window_end bigint not null,
    state text not null default 'to_ask' check (state in ('to_ask', 'asked', 'complete', 'ingested', 'empty', 'failed')),
    handle jsonb,
    files jsonb,
    announced bigint,
    attempts integer not null default 0,
    looks integer not null default 0,
    asked_at timestamptz,
    next_look_at timestamptz not null default clock_timestamp(),
    reason text,
    primary key (request_no, part_no)
);

create table platform.stream_request_history (
    history_no bigint generated always as identity primary key,
    request_no bigint not null references platform.stream_requests,
    at timestamptz not null default clock_timestamp(),
    state text not null,
    what text not null
);
create index stream_request_history_by_request on platform.stream_request_history (request_no, history_no);

create table platform.stream_rollbacks (
    rollback_no bigint generated always as identity primary key,
    stream text not null,
    snapshot text not null,
    left_under_tag text not null,
    rolled_back_by text not null,
    why text not null,
    at timestamptz not null default clock_timestamp()
);

create table platform.stream_schema_acceptances (
    stream text not null,
    change_key text not null,
    change text not null,
    accepted_by text not null,
    why text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (stream, change_key)
);

-- Rows of an answer that say something else of the same instant than the row that was kept.
create table platform.stream_conflicts (
    request_no bigint not null references platform.stream_requests,
    part_no integer not null,
    "time" text not null,
    variable text not null,
    kept text not null,
    dropped text not null,
    dropped_file text not null,
    primary key (request_no, part_no, "time", variable, dropped_file)
);

-- Each version of each annotation; valid_to is null for what OOINet says now.
create table platform.stream_annotations (
    refdes text not null,
    annotation_id bigint not null,
    method text,
    stream text,
    begin_at timestamptz not null,
    end_at timestamptz,
    annotation text not null,
    exclusion_flag boolean not null,
    qc_flag text,
    parameters jsonb not null,
    source text,
    valid_from timestamptz not null,
    valid_to timestamptz,
    primary key (refdes, annotation_id, valid_from)
);
create unique index stream_annotations_current on platform.stream_annotations (refdes, annotation_id) where valid_to is null;
create table platform.stream_annotation_looks (
    refdes text primary key,
    looked_at timestamptz not null,
    failed text
);

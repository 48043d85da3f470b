create schema live_data;      -- what people read: one view for each published dataset
create schema live_store;  -- every version of every record, one table for each dataset

create table platform.live_datasets (
    dataset text primary key,
    created_at timestamptz not null default clock_timestamp(),
    disabled_by text,                       -- set: pushes are refused
    disabled_why text,
    unpublished_by text,                    -- set: hidden from readers
    unpublished_why text
);

-- A version is a fact: every push names the one it was checked with.
create table platform.live_schemas (
    dataset text not null references platform.live_datasets,
    version integer not null,
    definition json not null,
    since timestamptz not null default clock_timestamp(),
    primary key (dataset, version)
);

create table platform.live_keys (
    kid text primary key,
    secret_sha256 bytea not null,
    author text not null,
    dataset text not null,
    rights text[] not null,
    made_by text not null,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    disabled_at timestamptz,
    revoked_at timestamptz
);
create index live_keys_by_dataset on platform.live_keys (dataset, author);

create table platform.live_usage (
    kid text not null,
    day date not null,
    requests bigint not null,
    records bigint not null,
    bytes bigint not null,
    last_at timestamptz not null,
    primary key (kid, day)
);

-- Records that come in pieces: chunks of a replacement, or of a fetched file.
create table platform.live_batches (
    batch_id uuid primary key,
    dataset text not null,
    author text not null,
    opened_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz
);
create table platform.live_chunks (
    batch_id uuid not null references platform.live_batches,
    chunk_no integer not null,
    records integer not null,
    schema_version integer not null,
    body_sha256 bytea not null,
    body bytea not null,
    primary key (batch_id, chunk_no)
);
alter table platform.live_chunks alter body set storage external;

-- The truth. Bodies are as they came (zstd); bytea, because jsonb refuses what JSON allows.
create table platform.live_log (
    seq bigint generated always as identity primary key,
    dataset text not null,
    author text not null,
    kid text,
    op text not null check (op in ('push', 'delete', 'replace')),
    records integer not null,               -- accepted
    refused integer not null default 0,     -- refused in partial mode
    schema_version integer not null,
    received_at timestamptz not null,
    body_kind text not null check (body_kind in ('json', 'ndjson', 'batch')),
    body_sha256 bytea not null,
    body bytea,
    batch_id uuid references platform.live_batches,
    check ((body_kind = 'batch') = (batch_id is not null) and (body is null) = (batch_id is not null))
);
alter table platform.live_log alter body set storage external;
create index live_log_by_dataset on platform.live_log (dataset, seq);
create index live_log_by_author on platform.live_log (dataset, author, received_at);

create table platform.live_idempotency (
    dataset text not null,
    author text not null,
    idempotency_key text not null,
    seq bigint not null,
    body_sha256 bytea not null,
    at timestamptz not null,
    primary key (dataset, author, idempotency_key)
);

-- What was refused, with the record where the push was partial (seq set) or the push where nothing of it was stored.
create table platform.live_refused (
    refused_no bigint generated always as identity primary key,
    dataset text not null,
    author text not null,
    at timestamptz not null default clock_timestamp(),
    seq bigint,
    index integer,
    field text,
    code text not null,
    message text not null,
    body bytea
);
create index live_refused_by_dataset on platform.live_refused (dataset, at);
create index live_refused_by_age on platform.live_refused (at) where seq is null;
create index live_refused_by_seq on platform.live_refused (seq) where seq is not null;

create table platform.live_applied (
    dataset text primary key references platform.live_datasets,
    seq bigint not null,
    schema_version integer not null,
    at timestamptz not null,
    run_id text
);
create table platform.live_outcomes (
    seq bigint primary key,
    run_id text,
    at timestamptz not null,
    inserted integer not null,
    updated integer not null,
    unchanged integer not null,
    deleted integer not null,
    refused integer not null
);

-- When each station and the like was heard last, whether or not its record said anything new.
create table platform.live_heard (
    dataset text not null,
    field text not null,
    value text not null,
    at timestamptz not null,
    primary key (dataset, field, value)
);

create table platform.live_alerts (
    alert_no bigint generated always as identity primary key,
    dataset text not null,
    kind text not null check (kind in ('silent', 'all_refused')),
    subject text not null,                  -- '' the dataset, else author=... or field=...
    level text not null check (level in ('warn', 'fail')),
    text text not null,
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);
create unique index live_alerts_one_open on platform.live_alerts (dataset, kind, subject) where ended_at is null;

create table platform.live_fetches (
    fetch_no bigint generated always as identity primary key,
    dataset text not null,
    url text not null,
    looked_at timestamptz not null default clock_timestamp(),
    outcome text not null check (outcome in ('unchanged', 'changed', 'slow', 'failed', 'refused', 'taken')),
    configuration text,                     -- digest of the dataset's file, where that decided
    etag text,
    last_modified text,
    bytes bigint,
    sha256 text,
    seq bigint,
    what text not null
);
create index live_fetches_by_dataset on platform.live_fetches (dataset, fetch_no);

-- Which receiver-days of a live dataset became submission files, and from which push on they are not up to date.
create table platform.live_submissions (
    dataset text not null,
    receiver text not null,
    day date not null,
    seq bigint not null,
    file_name text not null,
    sha256 text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (dataset, receiver, day)
);

create table platform.live_actions (
    action_no bigint generated always as identity primary key,
    dataset text not null,
    at timestamptz not null default clock_timestamp(),
    action text not null,
    by text not null,
    why text not null,
    facts jsonb not null default '{}'
);

create function platform.never_changes() returns trigger language plpgsql as $$
begin
    raise exception '% is never changed: it only grows', tg_table_name;
end $$;
create trigger live_log_only_grows before update or delete on platform.live_log
    for each statement execute function platform.never_changes();
create trigger live_schemas_only_grows before update or delete on platform.live_schemas
    for each statement execute function platform.never_changes();
create trigger live_actions_only_grows before update or delete on platform.live_actions
    for each statement execute function platform.never_changes();

-- Where a dataset stands: declared, and moved with evidence only (otn_dagster/tracker/flows.py says along which lines).
create table platform.tracker_items (
    item_id bigint generated always as identity primary key,
    flow text not null check (flow in ('submission', 'stream', 'live')),
    subject text not null,                  -- submission key, number of a stream request, name of a live dataset
    title text not null,
    node text,
    collectioncode text,
    kind text not null,
    state text,                             -- null until its first move, in the same transaction
    state_since timestamptz not null default clock_timestamp(),
    hold text check (hold in ('needs_researcher', 'waiting_metadata', 'waiting_data_files', 'push_freeze', 'quarantined')),
    hold_since timestamptz,
    hold_by text,
    hold_why text,
    hold_by_person boolean not null default false,
    blocker text,                           -- what it waits for, in words
    owner text,
    push_date date,                         -- the push that it is meant for, or went into
    sha256 text,
    version integer not null default 0,     -- lines of its history
    created_at timestamptz not null default clock_timestamp(),
    unique (flow, subject)
);
create index tracker_items_by_state on platform.tracker_items (state, state_since);
create index tracker_items_by_collection on platform.tracker_items (collectioncode);
create index tracker_items_by_push on platform.tracker_items (push_date, state);
create index tracker_items_by_bytes on platform.tracker_items (sha256);

create table platform.tracker_history (
    history_no bigint generated always as identity primary key,
    item_id bigint not null references platform.tracker_items,
    version integer not null,
    at timestamptz not null default clock_timestamp(),
    what text not null check (what in ('move', 'hold', 'release', 'sign', 'assign', 'note')),
    from_state text,
    to_state text,
    hold text,
    actor text not null,
    actor_kind text not null check (actor_kind in ('person', 'run', 'platform')),
    run_id text,
    evidence jsonb not null default '{}',
    note text,
    unique (item_id, version)
);
create index tracker_history_moves on platform.tracker_history (item_id, to_state) where what = 'move';
create trigger tracker_history_only_grows before update or delete on platform.tracker_history
    for each statement execute function platform.never_changes();
create trigger tracker_history_is_not_emptied before truncate on platform.tracker_history
    for each statement execute function platform.never_changes();
create trigger tracker_items_are_never_deleted before delete on platform.tracker_items
    for each statement execute function platform.never_changes();

-- What an item says of itself is what its history says, whoever wrote it.
create function platform.tracker_item_has_its_history() returns trigger language plpgsql as $$
declare
    item platform.tracker_items;
    lines bigint;
    newest integer;
    declared text;
    held text;
begin
    select * into item from platform.tracker_items where item_id = new.item_id;
    select count(*), coalesce(max(version), 0) into lines, newest from platform.tracker_history where item_id = item.item_id;
    select to_state into declared from platform.tracker_history
        where item_id = item.item_id and what = 'move' order by version desc limit 1;
    select hold into held from platform.tracker_history
        where item_id = item.item_id and what in ('hold', 'release') order by version desc limit 1;
    if item.version <> lines or newest <> lines or item.state is distinct from declared or item.hold is distinct from held
        or declared is null then
        raise exception 'item %: what it says of itself is not what its history says', item.item_id;
    end if;
    return null;
end $$;
create constraint trigger tracker_item_has_its_history after insert or update on platform.tracker_items
    deferrable initially deferred for each row execute function platform.tracker_item_has_its_history();
create constraint trigger tracker_line_has_its_item after insert on platform.tracker_history
    deferrable initially deferred for each row execute function platform.tracker_item_has_its_history();

-- Observed: what checks, counts and files say, whatever was declared.
create table platform.tracker_facts (
    item_id bigint not null references platform.tracker_items,
    name text not null,
    value jsonb not null,
    ok boolean,                             -- null: not evaluated
    run_id text,
    at timestamptz not null default clock_timestamp(),
    primary key (item_id, name)
);

-- People who agreed to a step that one person alone may not take.
create table platform.tracker_signatures (
    item_id bigint not null references platform.tracker_items,
    to_state text not null,
    since timestamptz not null,             -- state_since of the state that was signed
    person text not null,
    note text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (item_id, to_state, since, person)
);

-- What a table says, apart from its dress: hashes of rows and keys, eight bytes each, sorted.
create table platform.tracker_prints (
    item_id bigint primary key references platform.tracker_items,
    table_hash text,                        -- null where the file is no table
    rows bytea not null default '',
    keys bytea not null default '',
    row_count bigint not null default 0,
    about jsonb not null default '{}'       -- receivers and time range of detections
);
create index tracker_prints_by_table on platform.tracker_prints (table_hash);
alter table platform.tracker_prints alter rows set storage external;
alter table platform.tracker_prints alter keys set storage external;
create table platform.tracker_duplicates (
    item_id bigint not null references platform.tracker_items,
    other_id bigint not null references platform.tracker_items,
    verdict text not null check (verdict in ('same_bytes', 'same_table', 'subset', 'superset', 'revision', 'overlap')),
    overlap_percent numeric not null,
    dropped_keys bigint not null default 0,
    added_keys bigint not null default 0,
    differing_rows bigint not null default 0,
    difference jsonb not null default '[]',
    at timestamptz not null default clock_timestamp(),
    primary key (item_id, other_id)
);
create index tracker_duplicates_by_other on platform.tracker_duplicates (other_id);

-- People who sign in. Project people are those of the project's form, by address.
create table platform.people (
    email text primary key check (email = lower(email)),
    name text not null,
    role text not null check (role in ('reader', 'manager', 'analyst')),
    nodes text[] not null default '{}',     -- of a manager; an analyst works for all
    password text,                          -- scrypt; null until the invitation was used
    invitation_sha256 bytea,
    invitation_until timestamptz,
    made_by text not null,
    created_at timestamptz not null default clock_timestamp(),
    disabled_at timestamptz
);
create table platform.sign_ins (
    token_sha256 bytea primary key,
    email text not null references platform.people,
    at timestamptz not null default clock_timestamp(),
    until timestamptz not null
);
create index sign_ins_by_person on platform.sign_ins (email);
create table platform.failed_sign_ins (
    email_sha256 bytea not null,
    client_sha256 bytea not null,
    at timestamptz not null default clock_timestamp()
);
create index failed_sign_ins_by_person on platform.failed_sign_ins (email_sha256, at);

-- Mails: written in the transaction of what they tell of, sent by one sender.
create table platform.outbox (
    mail_no bigint generated always as identity primary key,
    dedupe_key text not null unique,        -- event, subject, push, recipient
    event text not null,
    subject text not null,
    push_date date,
    recipient text not null,
    recipient_name text,
    title text not null,
    body_text text not null,
    body_html text not null,
    message_id text not null unique,
    state text not null default 'pending'
        check (state in ('pending', 'sending', 'sent', 'off', 'simulated', 'failed', 'uncertain', 'given_up')),
    attempts integer not null default 0,
    next_at timestamptz not null default clock_timestamp(),
    reason text,
    created_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    decided_by text,
    decided_why text
);
create index outbox_due on platform.outbox (next_at) where state in ('pending', 'sending');
create index outbox_by_push on platform.outbox (push_date, event);
create trigger outbox_is_never_deleted before delete on platform.outbox
    for each statement execute function platform.never_changes();
create table platform.outbox_history (
    line_no bigint generated always as identity primary key,
    mail_no bigint not null references platform.outbox,
    at timestamptz not null default clock_timestamp(),
    state text not null,
    what text not null
);
create index outbox_history_by_mail on platform.outbox_history (mail_no);
create trigger outbox_history_only_grows before update or delete on platform.outbox_history
    for each statement execute function platform.never_changes();
create table platform.outbox_extracts (
    mail_no bigint not null references platform.outbox,
    push_date date not null,
    detection_extract text not null,
    primary key (mail_no, push_date, detection_extract)
);
create index outbox_extracts_by_extract on platform.outbox_extracts (push_date, detection_extract);
-- Pushes whose people were told (there may have been nobody).
create table platform.tracker_pushes (
    push_date date primary key, told_at timestamptz not null default clock_timestamp(), completed_as_of timestamptz);
alter table obis.detection_extracts_list add column notified_at timestamptz;
create trigger stream_request_history_only_grows before update or delete on platform.stream_request_history
    for each statement execute function platform.never_changes();

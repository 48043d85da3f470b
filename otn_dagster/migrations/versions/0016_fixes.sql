-- Fixes of what is loaded: what each sets right, the rows as they were before and after, and who took it back.
alter table platform.submissions drop constraint submissions_kind_check, add check (kind in
    ('project', 'vendor', 'tags', 'deployments', 'detections', 'events', 'fix'));
alter table platform.submissions drop constraint submissions_state_check, add check (state in
    ('received', 'loaded', 'refused', 'held', 'waiting', 'superseded', 'undone'));
alter table platform.tracker_items drop constraint tracker_items_hold_check, add check (hold in
    ('needs_researcher', 'waiting_metadata', 'waiting_data_files', 'push_freeze', 'quarantined', 'second_person'));
create table platform.fixes (
    fix_no bigint generated always as identity unique,  -- the order in which they were applied
    submission_key text not null references platform.submissions,
    line integer not null,
    collectioncode text not null,
    what text not null,
    subject text not null,
    given jsonb not null,
    applied_at timestamptz not null default platform.now(),
    undone_at timestamptz, undone_by text, undone_why text,
    primary key (submission_key, line)
);
create index fixes_in_force on platform.fixes (collectioncode) where undone_at is null;
create table platform.fixed_rows (
    submission_key text not null references platform.submissions,
    change_no integer not null,
    table_name text not null,
    row_key text not null,              -- the number of the row, or the name of a station: neither is changed by a fix
    before jsonb not null,
    after jsonb,                        -- null: the row was deleted
    primary key (submission_key, change_no)
);
-- What a fix was shown to change, when it was applied.
create table platform.fix_consequences (
    submission_key text primary key references platform.submissions,
    consequences jsonb not null
);

-- What a file was read as: enough to type its rows again, and the law of its rows and columns.
create table platform.readings (
    submission_key text primary key references platform.submissions, format text not null,
    kept jsonb not null,       -- its tables and headers, or the whole form
    situation jsonb not null,  -- what it is judged against, frozen: collection, time of receipt, where its project works
    container_rows bigint not null, not_data jsonb not null, columns jsonb not null,
    precision_us integer, read_at timestamptz not null default platform.now());

-- Things said of a file that cost no row: one line for each column and value, the most important first.
create table platform.findings (
    submission_key text not null references platform.submissions, step text not null, finding_no integer not null,
    code text not null, severity smallint not null, column_name text, found text, expected text not null, remedy text not null,
    first_rows bigint[] not null, row_count bigint not null, primary key (submission_key, step, finding_no));

alter table platform.submissions add column not_data_rows bigint, add column submitted_by text;
alter table platform.submissions drop constraint submissions_kind_check, add check (kind in
    ('project', 'vendor', 'tags', 'deployments', 'detections', 'events'));
alter table platform.refused_rows add column why text not null default 'unreadable', add column sheet smallint not null default 0;

-- Rows of several sheets of one file, and several transmitters of one row.
alter table platform.c_tag_meta add column sheet smallint not null default 0;
alter table platform.c_shortform add column sheet smallint not null default 0;
alter table platform.tag_cache add column sheet smallint not null default 0, add column part smallint not null default 0,
    add column window_code text;
alter table platform.rcvr_locations add column sheet smallint not null default 0, add column part smallint not null default 0,
    add column recover_day_only boolean not null default false;
alter table platform.c_tag_meta drop constraint c_tag_meta_pkey, add primary key (submission_key, sheet, row_number);
alter table platform.c_shortform drop constraint c_shortform_pkey, add primary key (submission_key, sheet, row_number);
alter table platform.tag_cache drop constraint tag_cache_pkey, add primary key (submission_key, sheet, row_number, part);
alter table platform.rcvr_locations drop constraint rcvr_locations_pkey, add primary key (submission_key, sheet, row_number, part);
do $$
declare child record;
begin
    for child in select n.nspname as schema_name, c.relname as table_name from pg_inherits i
        join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
        join pg_class p on p.oid = i.inhparent join pg_namespace pn on pn.oid = p.relnamespace
        where pn.nspname = 'platform' and p.relname in ('c_tag_meta', 'c_shortform', 'tag_cache', 'rcvr_locations')
    loop
        execute format('drop index if exists %I.%I', child.schema_name, child.table_name || '_key');
        execute format('create unique index %I on %I.%I (submission_key, sheet, row_number%s)', child.table_name || '_key',
            child.schema_name, child.table_name, case when child.table_name in ('tag_cache', 'rcvr_locations') then ', part' else '' end);
    end loop;
end $$;

-- Why the end of a tag's window is not known (null: it is), and an end that a person set.
alter table obis.moorings add column window_code text;
alter table obis.match_overrides add column value text;
alter table obis.match_overrides drop constraint match_overrides_action_check,
    add check (action in ('unmatch', 'test_tag', 'tag_end'));

-- What may be asked and answered is said once, in the code.
alter table platform.decisions drop constraint decisions_topic_check, drop constraint decisions_decision_check;

create index if not exists detections_submission on platform.detections (submission_no);

insert into obis.instrument_models values ('TBR', 'rcvr'), ('VR2PC', 'rcvr'), ('VRXM', 'rcvr') on conflict do nothing;

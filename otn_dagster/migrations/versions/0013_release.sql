-- Somebody looks at a push and releases it; until then its mails are written and wait.
create table platform.push_releases (
    push_date date primary key,
    released_by text not null,
    why text not null,
    released_at timestamptz not null default platform.now()
);
alter table platform.outbox drop constraint outbox_state_check;
alter table platform.outbox add constraint outbox_state_check
    check (state in ('waiting', 'pending', 'sending', 'sent', 'off', 'simulated', 'failed', 'uncertain', 'given_up'));
-- Pushes whose people were told already need nobody's release.
insert into platform.push_releases (push_date, released_by, why)
    select push_date, 'the platform', 'it was pushed before a push was released by a person'
    from (select push_date from platform.tracker_pushes union select push_date from obis.detection_extracts_list
          union select push_date from platform.push_cutoffs where finished_at is not null) pushed;

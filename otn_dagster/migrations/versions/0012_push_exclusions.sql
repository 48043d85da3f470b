-- What people leave out of a push, with their reason, and who took it in again.
create table platform.push_exclusions (
    exclusion_id bigint generated always as identity primary key,
    push_date date not null,
    scope text not null check (scope in ('submission', 'tracker', 'project')),
    subject text not null,
    why text not null,
    decided_by text not null,
    decided_at timestamptz not null default platform.now(),
    ended_at timestamptz, ended_by text, ended_why text
);
create unique index push_exclusions_stand on platform.push_exclusions (push_date, scope, subject) where ended_at is null;

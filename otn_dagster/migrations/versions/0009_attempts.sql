-- How often something was started by itself, and when for the last time: counted here, because one run takes many files.
create table platform.attempts (
    occasion text primary key,
    times int not null default 1,
    last_at timestamptz not null default clock_timestamp()
);

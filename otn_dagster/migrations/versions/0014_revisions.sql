-- What is mended during a push: files that an analyst lets in although loading is locked, and snapshots that are made again for it.
create table platform.push_admissions (
    push_date date not null,
    submission_key text not null references platform.submissions,
    admitted_by text not null,
    why text not null,
    admitted_at timestamptz not null default platform.now(),
    primary key (push_date, submission_key)
);
create table platform.push_revisions (
    push_date date not null,
    revision int not null check (revision > 1),
    asked_by text not null,
    why text not null,
    asked_at timestamptz not null default platform.now(),
    primary key (push_date, revision)
);

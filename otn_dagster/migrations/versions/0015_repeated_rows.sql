-- Rows of a file that were not loaded because another file had given them: how many, of which receiver, and whose they are.
create table platform.repeated_rows (
    submission_key text not null references platform.submissions,
    other_submission_no int not null,
    receiver_key int not null,
    row_count bigint not null,
    primary key (submission_key, other_submission_no, receiver_key)
);

-- Every file that was received, with the counts of its rows.
select
    submission_no, submission_key, node, collectioncode, kind, sha256, state, raw_rows, loaded_rows, duplicate_rows,
    refused_rows, waiting_rows
from platform.submissions
order by 1

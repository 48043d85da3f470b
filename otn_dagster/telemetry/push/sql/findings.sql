-- What was said of the sheets that are loaded.
select
    s.submission_no, s.collectioncode, s.kind, s.file_name, f.code, f.severity, f.column_name, f.found, f.expected,
    f.remedy,
    array_to_string(f.first_rows[1:5], ', ') as first_rows,
    f.row_count
from platform.findings f
join platform.submissions s using (submission_key)
where s.state = 'loaded'
order by s.submission_no, f.severity, f.step, f.finding_no

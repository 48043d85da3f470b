-- Detections that a project sent and that were not loaded, because another project had sent them: from the side of each.
with counted as (
    select s.submission_key as mine, s.collectioncode as my_code, o.submission_key as other, o.collectioncode as other_code,
        k.rcv_serial_no, r.row_count
    from platform.repeated_rows r
    join platform.submissions s on s.submission_key = r.submission_key and s.state = 'loaded'
    join platform.submissions o on o.submission_no = r.other_submission_no
    join platform.receiver_keys k on k.receiver_key = r.receiver_key
    where s.collectioncode <> o.collectioncode)
select my_code as project, rcv_serial_no, other as also_in, row_count as detections from counted
union all
select other_code, rcv_serial_no, mine, row_count from counted
order by 2, 3, 1

-- Who accepted what held a request, and why; until now a sentence: "accepted by <who>: <why>".
alter table platform.stream_request_history add column accepted_by text, add column why text;
alter table platform.stream_request_history disable trigger stream_request_history_only_grows;
update platform.stream_request_history set accepted_by = substring(what from '^accepted by (.*?): '),
    why = substring(what from '^accepted by .*?: (.*)$') where what like 'accepted by %';
alter table platform.stream_request_history enable trigger stream_request_history_only_grows;

-- Why a window failed: refused by its source, or not complete in its time.
alter table platform.stream_request_parts add column cause text check (cause in ('failed', 'expired'));
update platform.stream_request_parts set cause = case when reason like 'not complete after%' then 'expired' else 'failed' end
    where state = 'failed';

-- Which newer version took a submission's place.
alter table platform.submissions add column superseded_by text references platform.submissions;
update platform.submissions s set superseded_by = substring(reason from 4), reason = 'superseded by ' || substring(reason from 4)
    where state = 'superseded' and reason like 'by %'
        and exists (select 1 from platform.submissions n where n.submission_key = substring(s.reason from 4));

-- What an item waits for, as a word; the text beside it is for people.
alter table platform.tracker_items add column blocker_code text;
alter table platform.tracker_items disable trigger tracker_item_has_its_history;
update platform.tracker_items set blocker_code = case
    when blocker = 'it waits for a second person''s look' then 'second_look'
    when blocker like 'it waits for the%' then 'next_push' else 'other' end where blocker is not null;
alter table platform.tracker_items enable trigger tracker_item_has_its_history;
alter table platform.tracker_items add check ((blocker is null) = (blocker_code is null));

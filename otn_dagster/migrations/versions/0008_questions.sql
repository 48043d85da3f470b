-- What may be answered is known to whoever asks, and stands beside the question.
alter table platform.decisions add column answers text[] not null default array['accept', 'reject'];
update platform.decisions set answers = array['day-first', 'month-first', 'reject'] where topic = 'day_order';

-- Requests of streams that are held, and versions in quarantine, waited in tables of their own.
insert into platform.decisions (topic, subject, details, answers)
select 'stream_request', request_no::text, jsonb_build_array(stream || ': ' || coalesce(held ->> 'why', '')), array['accept', 'give-up']
from platform.stream_requests where held is not null and state in ('requested', 'ready', 'ingested', 'checked')
on conflict do nothing;
insert into platform.decisions (topic, subject, details)
select 'quarantine', subject, jsonb_build_array(hold_why)
from platform.tracker_items where flow = 'submission' and hold = 'quarantined'
on conflict do nothing;

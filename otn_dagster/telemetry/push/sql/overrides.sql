-- What people decided about single matches.
select
    action, subject, decided_by, decided_why
from obis.match_overrides
order by 1, 2

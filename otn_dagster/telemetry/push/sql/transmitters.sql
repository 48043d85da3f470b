-- Transmitters by their integer keys.
select
    transmitter_key, transmitter
from platform.transmitter_keys
order by 1

-- Receivers by their integer keys.
select
    receiver_key, rcv_serial_no
from platform.receiver_keys
order by 1

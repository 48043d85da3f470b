-- Sensors of tags as the manufacturer specifies them.
select
    vue_id as transmitter, sensor_type, sensor_unit, slope, intercept
from vendor.c_vemco_tags
where slope is not null
order by 1

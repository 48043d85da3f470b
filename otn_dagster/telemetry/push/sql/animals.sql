-- Animals as released.
select
    animal_key, collectioncode, catalognumber, scientificname, commonname,
    (extract(epoch from datecollected)*1000)::bigint as release_ms,
    latitude, longitude, stock, wild_ind, length, lengthtype, observedweight as weight, lifestage, age, sex
from obis.otn_animals
order by 1

-- Transmitters that belong to a station: sentinels and receivers that sound.
select
    m.mooring_key, k.transmitter_key, m.fieldnumber as transmitter, m.collectioncode, m.relatedcatalogitem as station,
    (extract(epoch from m.startdatetime)*1000)::bigint as start_ms,
    (extract(epoch from m.enddatetime)*1000)::bigint as end_ms
from obis.moorings m
join platform.transmitter_keys k on k.transmitter = m.fieldnumber
where m.basisofrecord = 'TRANSMITTER' and m.relationshiptype = 'STATION'
order by 1
